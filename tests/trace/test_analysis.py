"""Activity, critical path, bottleneck and summary of a run whose times are known by hand."""

from dataclasses import replace
from itertools import pairwise

import h5py
import numpy as np
import pytest
from trace_cases import IMAGES, PLAN, US, image_rows, provenance, run_record, write_ranks, write_run

from mpi_vta.errors import ArtifactError, InputError
from mpi_vta.trace.activity import COMMUNICATION, COMPUTE, HOST, ITSELF, NO_MORE_WORK, WAIT, activity
from mpi_vta.trace.bottleneck import bottleneck
from mpi_vta.trace.critical_path import critical_path
from mpi_vta.trace.energy import power_kinds, run_energy
from mpi_vta.trace.merge import merge
from mpi_vta.trace.reader import read
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import MEASURED, POWER_DTYPE, EventKind
from mpi_vta.trace.seal import seal
from mpi_vta.trace.summary import difference_lines, summarize, summary_lines, to_json


@pytest.fixture
def run(tmp_path):
    return Run(read(write_run(tmp_path)))


def test_spans_of_every_rank_cover_the_run_without_gaps(run):
    for spans in activity(run).spans.values():
        assert spans[0].start_ns == 0
        assert spans[-1].end_ns == run.end_ns == 140 * US
        assert all(a.end_ns == b.start_ns for a, b in pairwise(spans))


def test_wait_is_laid_to_the_sender_then_to_the_link(run):
    waits = [(s.start_ns // US, s.end_ns // US, s.kind, s.cause) for s in activity(run).spans[1] if s.end_ns <= 18 * US]
    # rank 0 begins to send at 12, the first byte comes at 16, the data can be used at 18
    assert waits == [(0, 12, WAIT, "rank 0"), (12, 16, WAIT, "link 0-1"), (16, 18, COMMUNICATION, "")]


def test_shares_of_a_rank(run):
    found = activity(run)
    assert found.totals_ns[1][COMPUTE, ""] == 4 * 30 * US
    assert found.share(0, HOST) == pytest.approx(4 * 2 / 140)
    assert found.share(0, COMPUTE) == pytest.approx(4 * 10 / 140)
    assert found.causes(1)[0] == ("rank 0", 12 * US)
    assert found.causes(0)[0][0] == NO_MORE_WORK


def test_last_wait_is_the_end_of_the_work(run):
    assert activity(run).spans[0][-1].kind == COMMUNICATION
    assert activity(run).spans[1][-1].end_ns == run.end_ns


@pytest.mark.parametrize("image", range(IMAGES))
def test_steps_of_the_critical_path_add_up_to_the_latency(run, image):
    steps = critical_path(run, image)
    assert steps[0].start_ns == run.images["start_ns"][image]
    assert sum(step.end_ns - step.start_ns for step in steps) == run.images["latency_ns"][image]
    assert all(a.end_ns == b.start_ns for a, b in pairwise(steps))


def test_critical_path_tells_queues_from_work(run):
    steps = [(step.kind, step.rank, (step.end_ns - step.start_ns) // US) for step in critical_path(run, 2)]
    # image 2 waits for rank 0's processor until 24, and at rank 1 from 42 to 78
    assert steps == [
        ("queue", 0, 24),
        ("host", 0, 2),
        ("compute", 0, 10),
        ("message", 1, 6),
        ("queue", 1, 36),
        ("compute", 1, 30),
        ("message", 0, 2),
    ]


def test_path_of_an_image_that_was_not_finished_is_refused(run):
    with pytest.raises(InputError, match="image 9 was not finished; allowed: 0 to 3"):
        critical_path(run, 9)


def test_path_over_a_rank_that_is_missing_is_refused(tmp_path):
    files = write_ranks(tmp_path)
    merge(tmp_path / "run.h5", files[:1], run_record(PLAN.to_json(), image_rows(), provenance()))
    with pytest.raises(InputError, match="the trace lacks the launch of stage 1 for image 0"):
        critical_path(Run(read(tmp_path / "run.h5")), 0)


def test_bottleneck_and_what_one_more_board_gives(run):
    found = bottleneck(run)
    assert (found.rank, found.resource, found.stage) == (1, "vta", 1)
    assert found.period_ns == 30 * US
    # stage 1 on two boards takes 15 µs a group, rank 0 only 10
    assert found.next_period_ns == 15 * US
    assert found.gain == 2
    assert found.best_gain == pytest.approx(30 * 3 / 40)
    assert found.loads_ns[0, "cpu"] == (2 + 1 + 1) * US
    assert found.loads_ns[0, "nic_out"] == US


def test_network_bottleneck_is_not_helped_by_a_board(tmp_path):
    path = write_run(tmp_path)
    with h5py.File(path, "a") as file:
        file.attrs["network"] = '{"bytes_per_s": 1000000, "latency_ns": 0, "per_message_ns": 0, "per_byte_ps": 0}'
    seal(path)
    run = Run(read(path))
    found = bottleneck(run)
    assert (found.rank, found.resource, found.gain) == (0, "nic_out", 1)
    assert any("one more board would not raise the rate" in line for line in summary_lines(run))


def test_figures_of_the_summary(run):
    found = summarize(run)
    assert found.figures["makespan, ms"] == pytest.approx(0.14)
    assert found.figures["throughput, images/s"] == pytest.approx(4 / 140e-6)
    assert "steady rate, images/s" not in found.figures
    assert found.figures["latency p50, ms"] == pytest.approx(0.095)
    assert found.figures["messages per image"] == 2
    assert found.figures["sent, bytes/image"] == 1100
    assert found.predicted == {"throughput, images/s": 30_000.0, "latency p50, ms": 0.05}


def test_energy_is_split_by_the_state_of_vta(run):
    board = run_energy(run).boards[1]
    assert board.running_j == pytest.approx(120e-6 * 2.5)
    assert board.idle_j == pytest.approx(20e-6 * 1.5)


def test_energy_of_the_network(run):
    # each of the 4 images takes 1000 bytes out of one port and into the other, and 100 bytes back, at 1 byte a ns
    energy = run_energy(run)
    assert [board.port_j for board in energy.boards] == pytest.approx([4 * 1100e-9 * 0.5] * 2)
    assert energy.switch_j == pytest.approx((3.0 + 2 * 0.25) * 140e-6)
    assert summarize(run).figures["energy, J/image"] == energy.total_j / IMAGES
    assert summarize(run).figures["of it network, J/image"] == energy.network_j / IMAGES


def test_trace_that_states_no_network_power_has_the_boards_alone(run):
    attributes = {name: value for name, value in run.trace.attributes.items() if name != "network_power"}
    run.trace = replace(run.trace, attributes=attributes)
    assert run_energy(run).network_j == 0


def test_summary_text_and_json_say_the_same(run):
    text, data = "\n".join(summary_lines(run)), to_json(run)
    assert data["bottleneck"]["rank"] == 1
    assert "bottleneck  VTA of rank 1, mostly stage 1: b..c" in text
    assert f"{data['figures']['latency p50, ms']:.6g}" in text
    assert data["warnings"] == []


def test_warnings_name_lost_and_backward_messages(tmp_path):
    files = write_ranks(tmp_path, shift_ns=20 * US)
    merge(tmp_path / "run.h5", files, run_record(PLAN.to_json(), image_rows(), provenance()))
    assert f"warning     {IMAGES} messages usable before being sent" in summary_lines(Run(read(tmp_path / "run.h5")))


def test_difference_of_a_run_and_itself_is_nothing(run):
    assert all(line.endswith("+0.0 %") for line in difference_lines(run, run)[3:])


def test_run_without_a_finished_image_is_refused(tmp_path):
    merge(tmp_path / "run.h5", write_ranks(tmp_path), run_record(PLAN.to_json(), image_rows(0), provenance()))
    with pytest.raises(ArtifactError, match="no image was finished in this run"):
        Run(read(tmp_path / "run.h5"))


def test_unknown_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"run\.h5: --model: it holds no model 1; allowed: 0 to 0"):
        Run(read(write_run(tmp_path)), 1)


def test_late_launch_is_laid_to_the_rank_itself(tmp_path):
    run = Run(read(write_run(tmp_path)))
    rows = run.ranks[1].events
    launches = rows["kind"] == EventKind.LAUNCH
    rows["start_ns"][launches] += 5 * US
    first = next(span for span in activity(run).spans[1] if span.cause == ITSELF)
    assert (first.start_ns, first.end_ns) == (18 * US, 23 * US)


def test_measured_power_is_integrated_over_the_launches(run):
    # the sensor saw 1 W until 33 µs, in the middle of the first launch, then 3 W
    steps = np.array([(0, 33 * US, 1.0), (33 * US, 140 * US, 3.0)], POWER_DTYPE)
    run.ranks = {**run.ranks, 1: replace(run.ranks[1], power=steps, power_kind=MEASURED)}
    board = run_energy(run).boards[1]
    assert board.running_j == pytest.approx(15e-6 * 1 + 105e-6 * 3)
    assert board.idle_j == pytest.approx(18e-6 * 1 + 2e-6 * 3)
    assert board.port_j == 0
    assert power_kinds(run) == "measured and modelled"
