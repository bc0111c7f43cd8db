"""Core assignment: splits where they shorten one image's way, whole layers where they do not."""

from dataclasses import replace
from itertools import pairwise

import pytest
from schedule_cases import FakeCosts, chain, plan_with

from mpi_vta.errors import PlanError
from mpi_vta.hw.board import Board
from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import Plan
from mpi_vta.schedule.predict import predict
from mpi_vta.schedule.split.grid import Grid, useful_grids
from mpi_vta.schedule.strategies import STRATEGIES
from mpi_vta.schedule.validate import validate

GRAPH = chain(4)


def costs_of(cycles):
    return FakeCosts(GRAPH, {node.name: cycles for node in GRAPH.nodes}, start_cycles=100)


def plan_for(cycles, ranks=4, cluster=None, strategy="core-assignment", objective="latency", images=3, stages=None):
    cluster = cluster or Cluster.default(ranks)
    return plan_with(strategy, GRAPH, cluster, ranks, images, costs_of(cycles), stages, objective=objective)


def test_long_layers_are_split_over_all_boards():
    plan = plan_for(10_000_000)
    assert plan.ranks == (0, 1, 2, 3)
    assert all(stage.part is not None for stage in plan.stages)
    assert plan.predicted["latency_ms"] < 400 / 3
    assert "times as long (modelled)" in str(plan.notes[0])
    assert str(plan.notes[1]).startswith("what bounds it: the slowest parts of ")


def test_plan_is_valid_and_its_prediction_is_repeated():
    plan = plan_for(10_000_000)
    validate(plan, GRAPH, 4, Cluster.default(4).boards[0].config)
    again = predict(Plan.from_json(plan.to_json()), NetworkModel.of(Cluster.default(4)), 3)
    assert again.figures.latency_p50_ms == plan.predicted["latency_ms"]


def test_short_layers_stay_whole_and_it_says_why():
    plan = plan_for(1000)
    assert [stage.part for stage in plan.stages] == [None] * len(plan.stages)
    assert plan.ranks == (0,)
    assert str(plan.notes[0]).startswith(
        "no layer is split: the longest, n0, takes 10.0 us, a part of it on another board"
    )


def test_consecutive_runs_exchange_nothing_when_no_row_is_needed_from_a_neighbour():
    plan = plan_for(10_000_000)
    between = [edge for edge in plan.edges if edge.producer >= 0 and edge.consumer >= 0]
    assert all(plan.rank_of(edge.producer, 0) == plan.rank_of(edge.consumer, 0) for edge in between)


def test_faster_boards_get_larger_shares():
    fast = replace(Board.load("pynq_z1"), clock_mhz=300.0)
    slow = Board.load("pynq_z1")
    cluster = replace(Cluster.default(2), boards=(slow, fast))
    plan = plan_for(40_000_000, 2, cluster)
    rows = {stage.ranks[0]: stage.share.rows[1] - stage.share.rows[0] for stage in plan.stages if stage.share}
    assert rows == {0: 2, 1: 6}


@pytest.mark.parametrize("cycles", [1000, 300_000, 3_000_000])
@pytest.mark.parametrize("images", [1, 2, 30])
@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_auto_is_never_below_the_best_strategy(cycles, images, objective):
    key, sign = {"latency": ("latency_ms", -1), "throughput": ("throughput_images_per_s", 1)}[objective]
    options = {"objective": objective, "images": images}
    each = [plan_for(cycles, strategy=name, **options).predicted[key] for name in STRATEGIES]
    assert sign * plan_for(cycles, strategy="auto", **options).predicted[key] >= max(sign * value for value in each)


def test_fused_splits_for_latency():
    assert plan_for(10_000_000, strategy="fused").predicted == plan_for(10_000_000).predicted


def test_more_boards_are_never_slower():
    latencies = [plan_for(5_000_000, ranks).predicted["latency_ms"] for ranks in range(1, 9)]
    assert all(after <= before for before, after in pairwise(latencies))


def test_number_of_stages_is_refused():
    with pytest.raises(PlanError, match="--stages: 2 stages with core-assignment; allowed: none: every part"):
        plan_for(1000, stages=2)


def test_grid_divides_rows_and_blocks_by_speed():
    shares = dict(Grid(2, 2).shares((1, 40, 9, 5), 16, [1.0, 1.0, 2.0, 2.0]))
    assert {board: (window.rows, window.channels) for board, window in shares.items()} == {
        0: ((0, 3), (0, 32)),
        1: ((0, 3), (32, 40)),
        2: ((3, 9), (0, 32)),
        3: ((3, 9), (32, 40)),
    }


def test_board_too_slow_for_a_row_is_left_out():
    assert [board for board, _ in Grid(3, 1).shares((1, 16, 4, 4), 16, [4.0, 0.1, 4.0])] == [0, 2]


def test_useful_grids_have_no_smaller_equal():
    assert {grid.bands for grid in useful_grids(7, 1, 12)} == {1, 2, 3, 4, 7}
    assert all(grid.boards <= 12 for grid in useful_grids(56, 8, 12))
