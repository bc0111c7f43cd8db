"""The front over throughput, latency and energy."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import FakeCosts, chain, plan_with

from mpi_vta.errors import PlanError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.energy import NetworkPower
from mpi_vta.plans.plan import Plan
from mpi_vta.schedule.pareto import Choice, board_counts, find_pareto, front_of
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.strategies import STRATEGIES


def choice(boards, throughput, latency_ms, energy_j):
    figures = {
        "throughput_images_per_s": float(throughput),
        "latency_ms": float(latency_ms),
        "energy_j_per_image": float(energy_j),
    }
    return Choice(boards, Plan("m", "s", 1, (), (), 1, figures))


SMALL = st.integers(0, 3)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.builds(choice, st.integers(1, 5), SMALL, SMALL, SMALL), min_size=1, max_size=12))
def test_front_is_what_nothing_dominates(choices):
    front = front_of(choices)
    best = {c.merits for c in choices if not any(other.dominates(c) for other in choices)}
    assert {c.merits for c in front} == best
    assert len(front) == len(best)
    for member in front:
        assert member.boards == min(c.boards for c in choices if c.merits == member.merits)
    assert [c.merits for c in front] == sorted((c.merits for c in front), reverse=True)


def test_board_counts_end_with_the_largest():
    assert board_counts(1) == (1,)
    assert board_counts(4) == (1, 2, 3, 4)
    assert board_counts(17) == (1, 2, 3, 4, 5, 6, 8, 10, 13, 17)


def test_no_plan_of_a_strategy_beats_the_front():
    graph = chain(5)
    costs = FakeCosts(graph, {node.name: 1_000_000 * (i + 1) for i, node in enumerate(graph.nodes)})
    # without a switch, which costs the less the sooner the job is done, few boards save energy
    cluster = replace(Cluster.load("pynq4"), power=NetworkPower(0.0, 0.0, 0.0, "none"))
    found = find_pareto(Problem(graph, cluster, 30, costs))
    assert found.considered + len(found.left_out) == 4 * len(STRATEGIES) * 2
    plans = [plan_with(name, graph, cluster, n, 30, costs) for name in ("pipeline", "fused") for n in (1, 3, 4)]
    for plan in plans:
        rival = Choice(1, plan)
        assert not any(rival.dominates(member) for member in found.front)
    assert len({member.merits for member in found.front}) == len(found.front) > 1


def test_plans_that_do_not_fit_are_left_out_with_the_reason():
    graph = chain(4)
    costs = FakeCosts(graph, {node.name: 1000 for node in graph.nodes}, memory_bytes=1 << 30)
    with pytest.raises(PlanError, match="cluster pynq1: no strategy has a plan: pipeline on 1 board for throughput: "):
        find_pareto(Problem(graph, Cluster.load("pynq1"), 4, costs))
