"""The main command with ``--device pynq --clock wall`` on the register-level board, in this process."""

import sys
import threading

import numpy as np
import pytest
from summaries import only_model

from mpi_vta import pipeline
from mpi_vta.graph.reference import execute
from mpi_vta.hw.board import Board
from mpi_vta.job.inputs import read_inputs
from mpi_vta.job.ready_model import ready_model
from mpi_vta.runtime.report import output_sha256
from mpi_vta.trace.reader import read

pytestmark = pytest.mark.board


@pytest.fixture
def bitstream(make_bitstream):
    return make_bitstream(Board.load("pynq_z1").config)


@pytest.fixture
def run(bitstream, tmp_path, monkeypatch, capsys):
    # the command makes uncaught errors end all ranks of a job; this process is the test's
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def start(*options):
        arguments = ["--model", "digits", "--device", "pynq", "--json", "--output", str(tmp_path / "out"), *options]
        status = pipeline.main(arguments)
        return status, capsys.readouterr()

    return start


@pytest.mark.parametrize("clock", ["wall", "virtual"])
def test_job_on_a_board_gives_the_reference_s_bits(run, fake, bitstream, tmp_path, clock):
    status, shown = run("--images", "5", "--clock", clock, "--bitstream", str(bitstream))
    assert status == 0
    summary = only_model(shown.out)
    model = ready_model("digits", seed=0, weights=None)
    integers = read_inputs(model, "5", 0, with_data=True).integers
    wanted = execute(model.graph, {model.graph.inputs[0]: integers})
    assert summary["output_sha256"] == output_sha256(wanted, model.graph.outputs)
    assert summary["time"] == ("measured" if clock == "wall" else "modelled")
    assert fake.chip.launches == 5
    trace = read(tmp_path / "out" / "run.h5")
    assert trace.ranks[0].attributes["device"] == "pynq"
    assert np.all(trace.models[0].images["latency_ns"] > 0)
