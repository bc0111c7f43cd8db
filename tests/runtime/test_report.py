"""The summary of a run and its table."""

import io
import json

import numpy as np
import pytest

from mpi_vta.graph.ir import array_sha256
from mpi_vta.graph.window import Window
from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.plan import SINK, SOURCE, Edge, Part, Plan, Stage
from mpi_vta.runtime.report import figure_lines, output_sha256, own_ranks, print_plan, print_report, summarize
from mpi_vta.trace.reader import ModelPart, RankRecord, Trace
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import (
    CLOCK_DTYPE,
    EVENT_DTYPE,
    IMAGE_DTYPE,
    LINK_DTYPE,
    POWER_DTYPE,
    PROFILE_DTYPE,
    EventKind,
)

MS = 1_000_000
PREDICTED = {
    "throughput_images_per_s": 200.0,
    "one_board_images_per_s": 100.0,
    "ideal_images_per_s": 250.0,
    "bound_images_per_s": 300.0,
    "latency_alone_ms": 7.5,
}
PLAN = Plan(
    "net",
    "pipeline",
    1,
    (Stage(0, ("a",), (0,), 400, (4 * MS,), (0,)), Stage(1, ("b", "c"), (1, 2), 600, (6 * MS, 6 * MS), (0, 0))),
    (Edge("x", SOURCE, 0, 8), Edge("y", 0, 1, 8), Edge("z", 1, SINK, 8)),
    2,
    PREDICTED,
    ("a note",),
)


ABOUT = {
    "model": "net",
    "strategy": "pipeline",
    "network": json.dumps({"bytes_per_s": 1_000_000_000, "latency_ns": 0, "per_message_ns": 0, "per_byte_ps": 0}),
    "network_power": json.dumps({"port_w": 1.0, "switch_w": 4.0, "switch_port_w": 2.0, "source": "a switch"}),
}


def record(rank, stage, cycles, spans):
    events = np.zeros(len(spans), EVENT_DTYPE)
    for event, (start_ms, end_ms) in zip(events, spans, strict=True):
        event["start_ns"], event["end_ns"] = start_ms * MS, end_ms * MS
        event["kind"], event["stage"] = EventKind.LAUNCH, stage
    power = {"idle_watts": 2.0, "busy_watts": 5.0, "power_source": "a data sheet"}
    work = {"stages": np.array([stage]), "cycles": np.array([cycles])}
    attributes = {"rank": rank, "host": "here", "board": "b", **power, **work}
    return RankRecord(attributes, events, np.zeros(0, POWER_DTYPE), np.zeros(0, PROFILE_DTYPE), ())


@pytest.fixture
def trace():
    images = np.array([(0, 0, 10 * MS, 10 * MS), (1, 0, 20 * MS, 20 * MS)], IMAGE_DTYPE)
    ranks = {
        0: record(0, 0, 400, [(0, 4), (4, 8)]),
        1: record(1, 1, 600, [(4, 10)]),
        2: record(2, 1, 600, [(8, 14)]),
    }
    model = ModelPart(PLAN.to_json(), images, {"name": "m", "ranks": np.arange(3)})
    return Trace({"time": "modelled", **ABOUT}, np.zeros(0, LINK_DTYPE), np.zeros(0, CLOCK_DTYPE), ranks, (model,))


@pytest.fixture
def outputs():
    return {"z": np.arange(4, dtype=np.int8).reshape(2, 2, 1, 1), "y": np.arange(2, dtype=np.int8).reshape(2, 1, 1, 1)}


@pytest.fixture
def summary(trace, outputs):
    host_ops = [{"name": "softmax", "op": "softmax", "why": "no exponential on VTA", "timed": False}]
    return summarize(Run(trace), host_ops=host_ops, outputs=outputs, output_order=["z", "y"])


def test_figures_come_from_the_trace(summary):
    assert summary["images"] == 2
    assert summary["throughput_images_per_s"] == pytest.approx(100.0)
    assert summary["latency_ms"]["p50"] == pytest.approx(15.0)
    assert summary["speedup"] == pytest.approx(1.0)
    assert summary["ideal_fraction"] == pytest.approx(0.4)
    assert (summary["name"], summary["on_ranks"]) == ("m", [0, 1, 2])


def test_energy_is_that_of_boards_and_network(summary):
    # three boards idle at 2 W for 20 ms, 20 ms of running at 3 W more, and 10 W of switch
    assert summary["energy"]["energy_j_per_image"] == pytest.approx((3 * 2 * 20e-3 + 3 * 20e-3 + 10 * 20e-3) / 2)
    assert summary["energy"]["network_j_per_image"] == pytest.approx(0.1)
    line = next(line for line in figure_lines(summary, "modelled") if line.startswith("energy"))
    assert line == "energy      0.19 J an image, 52.6 % of it the network's; 19.0 W, 5.263 images/s per W (modelled)"


def test_every_replica_has_its_row(summary):
    rows = summary["stages"]
    assert [(row["stage"], row["replica"], row["rank"]) for row in rows] == [(0, 0, 0), (1, 0, 1), (1, 1, 2)]
    assert [row["busy_percent"] for row in rows] == pytest.approx([40.0, 30.0, 30.0])
    assert [row["cycles"] for row in rows] == [400, 600, 600]
    assert rows[2]["layers"] == ["b", "c"]


def test_hash_takes_images_first_then_outputs(outputs):
    rows = [outputs["z"][0], outputs["y"][0], outputs["z"][1], outputs["y"][1]]
    assert output_sha256(outputs, ["z", "y"]) == array_sha256(rows)


def test_summary_is_plain_json(summary):
    assert json.loads(json.dumps(summary)) == summary


def test_report_shows_stages_figures_host_operators_and_notes(summary):
    stream = io.StringIO()
    print_report(summary, "modelled", stream)
    text = stream.getvalue()
    for part in (
        "all times modelled",
        "2: b .. c",
        "40.0",
        "100.000 images/s",
        "; one image alone 7.500 ms (modelled)",
        "no exponential on VTA; not in the modelled time",
        "a note",
    ):
        assert part in text
    assert summary["output_sha256"] in text


def test_run_without_data_has_no_hash(trace):
    summary = summarize(Run(trace), host_ops=[], outputs=None, output_order=["z"])
    assert summary["output_sha256"] is None
    assert any("models time only" in line for line in figure_lines(summary, "modelled"))


def test_measured_run_says_so_and_shows_the_prediction_beside_it(summary):
    text = "\n".join(figure_lines(summary, "measured"))
    assert "(measured; predicted 200.000, modelled)" in text
    with_rate = figure_lines({**summary, "steady_images_per_s": 123.0}, "modelled")
    assert "(steady 123.000, modelled)" in with_rate[0]
    assert "boards (measured against modelled)" in text
    assert "predicted" not in "\n".join(figure_lines(summary, "modelled"))


def test_parts_of_one_run_of_layers_are_one_line():
    share = [Window((0, 3), (0, 16)), Window((3, 8), (0, 16))]
    stages = tuple(
        Stage(i, ("a", "b"), (i,), 100 * (i + 1), (1000 * (i + 1),), (0,), part=Part(share[i], {})) for i in range(2)
    )
    whole = Stage(2, ("c",), (0,), 7, (70,), (0,))
    plan = Plan("m", "core-assignment", 1, (*stages, whole), (), 1, {"latency_ms": 1.5})
    stream = io.StringIO()
    print_plan(plan, Cluster.default(2), stream, (0, 1))
    rows = [line for line in stream.getvalue().splitlines() if line.startswith("│")]
    assert len(rows) == 2
    assert all(text in rows[0] for text in ("0-1", "0,1", "2: a .. b in 2 parts", "rows 3..7", "200", "0.002"))
    assert " c " in rows[1]


def test_notes_that_number_ranks_say_whose():
    notes = ("the port out of rank 3 sets the pace",)
    told = ("ranks in the notes are the model's own: its rank 0 is rank 5 of the job",)
    assert own_ranks(notes, (5, 6, 7)) == told
    assert own_ranks(notes, (0, 1, 2)) == own_ranks(("no rank",), (5,)) == ()


def test_plan_shows_the_cycles_of_every_build():
    cluster = Cluster.load("ultrascale5")
    times = tuple(board.compute_ns(4636) for board in cluster.boards[:2])
    assert cluster.boards[0].config != cluster.boards[1].config
    stream = io.StringIO()
    plan = Plan("m", "fused", 1, (Stage(0, ("a",), (0, 1), 4636, times, (0, 0)),), (), 1, {})
    print_plan(plan, cluster, stream, (0, 1))
    rows = [line for line in stream.getvalue().splitlines() if line.startswith("│")]
    assert [row.split("│")[6].strip() for row in rows] == ["4,636", "4,636"]
