"""Traces as data frames."""

import pytest
from trace_cases import IMAGES, US, write_run

from mpi_vta.trace.energy import run_energy
from mpi_vta.trace.frames import (
    activity_frame,
    energy_frame,
    events_frame,
    images_frame,
    layers_frame,
    messages_frame,
    runs_frame,
)
from mpi_vta.trace.reader import read
from mpi_vta.trace.run import Run


@pytest.fixture
def run(tmp_path):
    return Run(read(write_run(tmp_path)))


def test_events_have_ranks_and_names(run):
    counts = events_frame(run).groupby(["rank", "kind"]).size()
    assert counts[0, "host"] == counts[1, "launch"] == counts[0, "start"] == IMAGES


def test_images_and_messages(run):
    assert images_frame(run).loc[1, "latency_ns"] == 80 * US
    assert len(messages_frame(run)) == 2 * IMAGES


def test_activity_adds_up_to_the_run(run):
    sums = activity_frame(run).groupby("rank")["ms"].sum()
    assert sums.tolist() == pytest.approx([0.14, 0.14])


def test_frames_take_a_trace_too(tmp_path):
    trace = read(write_run(tmp_path))
    assert energy_frame(trace).equals(energy_frame(Run(trace)))
    assert events_frame(trace).equals(events_frame(Run(trace)))


def test_energy_is_per_image(run):
    frame = energy_frame(run)
    assert frame.loc[1, "running"] == pytest.approx(120e-6 * 2.5 / IMAGES)
    assert frame.to_numpy().sum() == pytest.approx(run_energy(run).total_j / IMAGES)


def test_layers_lie_under_their_roofs(run):
    layers = layers_frame(run).set_index("name")
    assert layers.loc["a", "operations"] == 300 * 512
    assert layers.loc["a", "bytes"] == 4500
    assert layers.loc["a", "gops"] == pytest.approx(300 * 512 / 800 * 0.1)
    assert (layers["peak_gops"] == 51.2).all()
    assert (layers["bus_gb_s"] == 0.8).all()


def test_runs_are_a_row_each(tmp_path):
    paths = [write_run(tmp_path / str(images), images) for images in (2, 4)]
    frame = runs_frame(paths)
    assert frame["images"].tolist() == [2, 4]
    assert frame["ranks"].tolist() == [2, 2]
