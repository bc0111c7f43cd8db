"""The figures of a point are those of its plan; what cannot be planned says why."""

import json
import math
from dataclasses import asdict, replace

import pytest
from schedule_cases import FakeCosts, chain, plan_with

from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.schedule.strategies import STRATEGIES
from mpi_vta.study.evaluation import division_text, evaluate
from mpi_vta.study.experiment import IllegalConfig
from mpi_vta.study.points import Point, StudyBuild
from mpi_vta.trace.study_rows import PointRow

GRAPH = chain(6)
COSTS = FakeCosts(GRAPH, {f"n{i}": 300_000 * (i + 1) for i in range(6)}, gathered_bytes=2000)


def point(**changed):
    parts = {
        "index": 4,
        "models": ("m.onnx",),
        "cluster": Cluster.load("mixed17"),
        "boards": 14,
        "build": None,
        "strategy": "fused",
        "objective": "throughput",
        "images": 40,
    }
    return Point(**{**parts, **changed})


def row_of(wanted):
    row = evaluate(wanted, {"m.onnx": COSTS, "n.onnx": COSTS})
    # as it goes from rank to rank
    assert repr(PointRow.of(json.loads(json.dumps(asdict(row))))) == repr(row)
    return row


def test_a_build_that_may_not_fit_says_why():
    builds = [StudyBuild(VTAConfig.load(find("vta_configs", name, ".json"))) for name in ("pynq_2x16", "pynq_1x16")]
    pynqs = Cluster.load("pynq4")
    doubts = [row_of(point(cluster=pynqs, boards=2, build=build)).fit_doubt for build in builds]
    assert doubts[0].endswith("of 53,200 that XC7Z020 has (modelled)")
    assert doubts[1] == ""


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_figures_are_those_of_the_plan(strategy):
    wanted = point(strategy=strategy)
    row = row_of(wanted)
    plan = plan_with(strategy, GRAPH, wanted.cluster, 14, 40, COSTS)
    assert (row.point, row.valid, row.models, row.strategy_used) == (4, True, "m", strategy)
    for key in (
        "throughput_images_per_s",
        "steady_images_per_s",
        "latency_alone_ms",
        "latency_ms",
        "latency_p99_ms",
        "makespan_ms",
        "energy_j_per_image",
        "network_j_per_image",
        "average_power_w",
        "peak_power_w",
        "images_per_s_per_w",
        "speedup",
    ):
        assert getattr(row, key) == pytest.approx(plan.predicted.get(key, math.nan), rel=0, abs=0, nan_ok=True)
    assert (row.steady_images_per_s > 0) == (strategy in ("pipeline", "core-assignment"))
    assert row.cycles == sum(stage.cycles for stage in plan.stages)


def test_busy_share_per_board_type():
    rows = row_of(point(strategy="pipeline", boards=17)).types
    assert [(row.board, row.boards) for row in rows] == [("pynq_z1", 12), ("ultra96", 5)]
    assert sum(row.boards_used for row in rows) <= 6
    assert all(0 <= row.vta_busy <= 1 for row in rows)


def test_auto_says_whose_plan_it_is():
    row = row_of(point(strategy="auto"))
    assert (row.strategy, row.strategy_used in STRATEGIES) == ("auto", True)


def test_several_models_share_the_boards():
    row = row_of(point(models=("m.onnx", "n.onnx", "m.onnx"), boards=12))
    assert row.models == "m+n+m"
    assert [entry.model for entry in row.parts] == ["m-1", "n", "m-2"]
    ranks = sorted(int(rank) for entry in row.parts for rank in entry.ranks.split(","))
    assert ranks == list(range(12))
    assert row.throughput_images_per_s == pytest.approx(3 * 40e3 / row.makespan_ms)
    assert row.latency_ms == max(entry.latency_ms for entry in row.parts)
    # equal boards, equal work
    single = row_of(point(boards=4))
    assert row.makespan_ms == single.makespan_ms
    assert row.average_power_w - 2 == pytest.approx(3 * (single.average_power_w - 2))
    assert row.peak_power_w - 2 == pytest.approx(3 * (single.peak_power_w - 2))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"boards": 18}, "cluster mixed17: 18 boards, it has 17"),
        ({"models": ("m.onnx", "n.onnx"), "boards": 1}, "boards = 1: 2 models at once need as many boards"),
        (
            {"build": StudyBuild(VTAConfig.load(find("vta_configs", "ultra96_1x16", ".json")))},
            "a build for 128-bit memory buses, pynq_z1 has 64",
        ),
        ({"build": StudyBuild(IllegalConfig("odd", "A is larger than I")), "boards": 2}, "odd: A is larger than I"),
    ],
)
def test_impossible_point_is_a_row_with_the_reason(changed, words):
    row = row_of(point(**changed))
    assert not row.valid
    assert words in row.reason
    assert (row.parts, row.types) == ((), ())


def test_model_too_large_for_every_board_is_a_row():
    large = replace(COSTS, memory_bytes=1 << 40)
    row = evaluate(point(strategy="scatter-gather"), {"m.onnx": large})
    assert not row.valid
    assert "memory" in row.reason


def test_division_in_words():
    plan = plan_with("fused", GRAPH, Cluster.load("zynq12"), 12, 40, COSTS)
    text = division_text(plan)
    assert sum(int(part.rpartition(" x")[2]) if " x" in part else 1 for part in text.split("; ")) == len(
        {rank for stage in plan.stages for rank in stage.ranks}
    )
    split = plan_with("core-assignment", GRAPH, Cluster.load("zynq12"), 4, 1, COSTS, objective="latency")
    parts = sum(stage.part is not None for stage in split.stages)
    assert (
        sum(int(part.split(" in ")[1].split()[0]) for part in division_text(split).split("; ") if " in " in part)
        == parts
    )


def test_a_split_says_what_bounds_it():
    (part,) = row_of(point(strategy="core-assignment", boards=4, images=1, objective="latency")).parts
    assert part.split_runs >= 1
    assert part.split_launches_ms > part.split_overhead_ms > 0
    assert part.split_launches_ms + part.split_waiting_ms == pytest.approx(part.latency_alone_ms)
    (whole,) = row_of(point(strategy="pipeline")).parts
    assert whole.split_runs == -1
