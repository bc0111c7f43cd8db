"""Files from outside are imported in a process that may crash."""

import sys

import numpy as np
import onnx
import pytest
from onnx_nets import Net

from mpi_vta.errors import ModelError
from mpi_vta.job import import_process, ready_model
from mpi_vta.quantize.__main__ import main as quantize


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MPI_VTA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def network(tmp_path, cache):
    net = Net((1, 3, 8, 8))
    path = tmp_path / "net.onnx"
    onnx.save(net.model(net.conv("input", 3, 4)), path)
    return path


def load(path):
    return ready_model.ready_model(str(path), seed=0, weights=None)


def child_that(code, monkeypatch):
    monkeypatch.setattr(import_process, "COMMAND", (sys.executable, "-c", code))


def test_model_is_made_by_the_child_alone(network, monkeypatch):
    def nobody(*_, **__):
        raise AssertionError("imported here")

    monkeypatch.setattr(ready_model, "load_model", nobody)
    made = load(network)
    monkeypatch.undo()
    here = ready_model.import_and_keep(str(network), 0, None, ready_model.DEFAULTS, None)
    assert made.graph.sha256 == here.graph.sha256


def test_fault_in_the_child_is_the_fault_here(tmp_path, cache):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: not an ONNX model; allowed: a file written by an ONNX exporter"


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "by SIGSEGV"),
        ("import os; os.abort()", "by SIGABRT"),
        ("import sys; sys.exit(3)", r"\(3\)"),
    ],
)
def test_crash_of_the_import_is_one_line(network, monkeypatch, capsys, code, how):
    child_that(code, monkeypatch)
    with pytest.raises(ModelError, match=rf"net\.onnx: the import was ended {how}: the file crashes TVM or ONNX, or"):
        load(network)
    assert quantize(["--model", str(network), "--report"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_bug_in_the_import_is_told_as_one(network, monkeypatch):
    code = 'import os, sys; os.write(int(sys.argv[1]), b\'{"bug": "x.py:3: KeyError: 1"}\')'
    child_that(code, monkeypatch)
    with pytest.raises(RuntimeError, match=r"x\.py:3: KeyError: 1"):
        load(network)


def test_our_own_models_need_no_child(cache, monkeypatch):
    child_that("import os; os.abort()", monkeypatch)
    assert load("digits").graph.inputs


def test_weights_from_outside_go_through_the_child(tmp_path, cache):
    path = tmp_path / "w.npz"
    np.savez(path, a=np.zeros(1, np.float32))
    with pytest.raises(ModelError, match="conv1"):
        ready_model.ready_model("digits", seed=0, weights=path)
