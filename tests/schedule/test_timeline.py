"""The order of one rank's steps, and that no order of the ranks can make them wait for ever."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import chain, plans

from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import SINK, SOURCE, Plan, Stage
from mpi_vta.schedule.timeline import (
    Finish,
    Host,
    Launch,
    RankTimeline,
    Receive,
    Send,
    Start,
    rank_steps,
    stage_offsets,
)
from mpi_vta.schedule.validate import edges_between

CONFIG = Cluster.default(1).boards[0].config
NETWORK = NetworkModel(bytes_per_s=1_000_000_000, latency_ns=500, per_message_ns=10, per_byte_ps=0)


def three_stages(ranks=((0,), (1,), (2,)), in_flight_groups=2, skips=None):
    graph = chain(3, skips)
    parts = [("n0",), ("n1",), ("n2",)]
    stages = tuple(
        Stage(i, part, r, 10, (1000,) * len(r), (0,) * len(r))
        for i, (part, r) in enumerate(zip(parts, ranks, strict=True))
    )
    return Plan("chain", "by hand", 1, stages, edges_between(graph, parts, CONFIG), in_flight_groups)


def test_middle_rank_receives_launches_and_sends_group_by_group():
    steps = list(rank_steps(three_stages(), 1, 2))
    assert [type(step) for step in steps] == [Receive, Launch, Send] * 2
    assert [step.group for step in steps] == [0, 0, 0, 1, 1, 1]
    assert (steps[0].peer, steps[2].peer) == (0, 2)


def test_rank_0_lets_the_limit_in_before_it_waits_for_the_first_result():
    steps = [step for step in rank_steps(three_stages(in_flight_groups=2), 0, 4) if isinstance(step, Start | Finish)]
    assert steps == [Start(0), Start(1), Finish(0), Start(2), Finish(1), Start(3), Finish(2), Finish(3)]


def test_places_on_one_rank_exchange_no_messages():
    steps = list(rank_steps(three_stages(((0,), (0,), (0,))), 0, 1))
    assert steps == [Start(0), Launch(0, 0), Launch(1, 0), Launch(2, 0), Finish(0)]


def test_skip_edge_goes_directly():
    plan = three_stages(skips={2: 0})
    receives = [step for step in rank_steps(plan, 2, 1) if isinstance(step, Receive)]
    assert [(plan.edges[step.edge].value, step.peer) for step in receives] == [("v1", 1), ("v0", 0)]


def test_replicas_take_turns():
    plan = three_stages(((0,), (1, 2), (3,)))
    assert [step.group for step in rank_steps(plan, 1, 5) if isinstance(step, Launch)] == [0, 2, 4]
    assert [step.group for step in rank_steps(plan, 2, 5) if isinstance(step, Launch)] == [1, 3]


def test_fast_replica_may_have_more_turns():
    plan = three_stages(((0,), (1, 2), (3,)))
    plan = replace(plan, stages=(plan.stages[0], replace(plan.stages[1], turns=(1, 0, 1)), plan.stages[2]))
    assert [step.group for step in rank_steps(plan, 1, 6) if isinstance(step, Launch)] == [1, 4]
    assert [step.group for step in rank_steps(plan, 2, 6) if isinstance(step, Launch)] == [0, 2, 3, 5]


def test_host_step_comes_before_the_launch_where_there_is_work():
    plan = three_stages()
    plan = replace(plan, stages=(replace(plan.stages[0], host_ns=(700,)), *plan.stages[1:]))
    assert [type(step) for step in rank_steps(plan, 0, 1)][:3] == [Start, Host, Launch]


def test_unused_rank_has_no_steps():
    assert list(rank_steps(three_stages(), 7, 3)) == []


def test_offsets_grow_along_the_edges_and_stay_below_the_limit():
    assert stage_offsets(three_stages(in_flight_groups=1)) == (0, 0, 0)
    assert stage_offsets(three_stages(in_flight_groups=6)) == (0, 2, 4)


def test_times_of_two_ranks_by_hand():
    plan = three_stages(((0,), (1,), (1,)), in_flight_groups=1)
    size_bytes = 16 * 8 * 8
    first, second = RankTimeline(plan, 0, NETWORK), RankTimeline(plan, 1, NETWORK)
    assert first.start(Start(0)) == 0
    assert first.launch(Launch(0, 0)).end_ns == 1000
    out = next(i for i, edge in enumerate(plan.edges) if edge.producer == 0)
    back = next(i for i, edge in enumerate(plan.edges) if edge.consumer == SINK)
    depart_ns = first.send(Send(out, 0, 1, 0)).end_ns
    assert depart_ns == 1000 + 10 + size_bytes
    assert second.receive(Receive(out, 0, 0, 1), depart_ns).end_ns == depart_ns + 500 + 10
    assert second.launch(Launch(1, 0)).start_ns == depart_ns + 510
    assert second.launch(Launch(2, 0)).start_ns == depart_ns + 1510
    back_ns = second.send(Send(back, 0, 0, 2)).end_ns
    assert back_ns == depart_ns + 2510 + 10 + size_bytes
    first.receive(Receive(back, 0, 1, SINK), back_ns)
    assert first.finish(Finish(0)) == back_ns + 510
    assert first.start(Start(1)) == back_ns + 510


@settings(deadline=None, max_examples=150)
@given(plans(), st.integers(1, 12), st.randoms(use_true_random=False))
def test_any_plan_ends_in_any_order_of_the_ranks_within_its_send_buffers(drawn, groups, random):
    plan, ranks = drawn
    walkers = {rank: iter(rank_steps(plan, rank, groups)) for rank in range(ranks)}
    current = {rank: next(walker, None) for rank, walker in walkers.items()}
    under_way, launched = Counter(), Counter()
    while any(step is not None for step in current.values()):
        ready = [
            rank
            for rank, step in current.items()
            if step is not None and not (isinstance(step, Receive) and not under_way[step.edge, step.group])
        ]
        assert ready, "every rank waits"
        rank = random.choice(ready)
        step = current[rank]
        if isinstance(step, Receive):
            under_way[step.edge, step.group] -= 1
        elif isinstance(step, Send):
            under_way[step.edge, step.group] += 1
            open_sends = sum(count for (edge, _), count in under_way.items() if edge == step.edge)
            assert open_sends <= plan.in_flight_groups
        elif isinstance(step, Launch):
            launched[step.place, step.group] += 1
        current[rank] = next(walkers[rank], None)
    assert not +under_way
    assert launched == Counter((stage.index, group) for stage in plan.stages for group in range(groups))


def test_source_and_sink_are_rank_0():
    plan = three_stages()
    assert (plan.rank_of(SOURCE, 3), plan.rank_of(SINK, 3)) == (0, 0)
