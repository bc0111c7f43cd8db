"""Files from outside are imported in a process that may crash."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_nets import Net

from mpi_vta.compile import main as compile_model
from mpi_vta.errors import InputError, ModelError
from mpi_vta.job import import_process, ready_model
from mpi_vta.plan import main as plan_model
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
    with pytest.raises(ModelError, match=rf"net\.onnx: the import was ended {how}: the file crashes ONNX, or"):
        load(network)
    assert quantize(["--model", str(network), "--report"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_crash_names_what_reads_such_a_file(tmp_path, cache, monkeypatch):
    path = tmp_path / "net.pt2"
    path.write_bytes(b"PK")
    child_that("import os; os.abort()", monkeypatch)
    with pytest.raises(
        ModelError, match=r"net\.pt2: the import was ended by SIGABRT: the file crashes PyTorch or TVM, or"
    ):
        load(path)


def test_bug_in_the_import_is_told_as_one(network, monkeypatch):
    code = 'import os, sys; os.write(int(sys.argv[1]), b\'{"bug": "x.py:3: KeyError: 1"}\')'
    child_that(code, monkeypatch)
    with pytest.raises(RuntimeError, match=r"x\.py:3: KeyError: 1"):
        load(network)


@pytest.mark.parametrize("command", [compile_model, plan_model, quantize])
def test_bug_in_the_import_is_one_line_of_every_command(network, monkeypatch, capsys, command):
    child_that('import os, sys; os.write(int(sys.argv[1]), b\'{"bug": "x.py:3: KeyError: 1"}\')', monkeypatch)
    assert command(["--model", str(network), "--json"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "internal error at " in line
    assert "x.py:3: KeyError: 1" in line


def test_import_that_hangs_is_ended(network, monkeypatch):
    child_that("import signal; signal.pause()", monkeypatch)
    monkeypatch.setenv(import_process.SECONDS_VARIABLE, "0.5")
    with pytest.raises(
        ModelError, match=r"net\.onnx: the import takes too long; allowed: 0.5 s .*, or set MPI_VTA_IMPORT_S"
    ):
        load(network)


def test_import_may_take_so_much_memory(network, monkeypatch):
    monkeypatch.setenv(import_process.GIB_VARIABLE, "0.03")
    with pytest.raises(ModelError, match=r"net\.onnx: the import (takes too much memory|was ended) .*0\.03 GiB"):
        load(network)


def test_limits_grow_with_the_files(network, tmp_path, monkeypatch):
    small = import_process._limits(str(network), None)
    with (tmp_path / "net.onnx.data").open("wb") as stream:
        stream.truncate(10**9)
    memory_bytes, limit_s = import_process._limits(str(network), None)
    assert memory_bytes == small[0] + 8 * 10**9
    assert limit_s == small[1] + 2000


@pytest.mark.parametrize("text", ["x", "-1", "0", "nan", "inf"])
@pytest.mark.parametrize("variable", [import_process.SECONDS_VARIABLE, import_process.GIB_VARIABLE])
def test_limit_that_is_no_number_is_refused(network, monkeypatch, variable, text):
    monkeypatch.setenv(variable, text)
    with pytest.raises(InputError, match=f"{variable}: is '{text}'; allowed: a number above 0"):
        load(network)


def test_long_answer_is_heard(network, monkeypatch):
    code = "import os, sys; os.write(int(sys.argv[1]), b'{\"bug\": \"' + b'x' * 200_000 + b'\"}')"
    child_that(code, monkeypatch)
    with pytest.raises(RuntimeError, match=r"x{200000}"):
        load(network)


PARENT = """
import os, sys
from mpi_vta.job import import_process
child = "import os, sys; from mpi_vta.child_process import end_with; end_with(int(sys.argv[2])); "
child += "open({began!r}, 'w').write(str(os.getpid())); import signal; signal.pause()"
import_process.COMMAND = (sys.executable, "-c", child)
from mpi_vta.job.ready_model import ready_model
ready_model({model!r}, seed=0, weights=None)
"""


def test_import_ends_with_its_parent(network, tmp_path):
    began = tmp_path / "began"
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(began=str(began), model=str(network))])
    while not (began.exists() and began.read_text()):
        assert parent.poll() is None
        time.sleep(0.05)
    child = int(began.read_text())
    parent.kill()
    parent.wait()
    while is_running(child):
        time.sleep(0.05)


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_our_own_models_need_no_child(cache, monkeypatch):
    child_that("import os; os.abort()", monkeypatch)
    assert load("digits").graph.inputs


def test_weights_from_outside_go_through_the_child(tmp_path, cache):
    path = tmp_path / "w.npz"
    np.savez(path, a=np.zeros(1, np.float32))
    with pytest.raises(ModelError, match="conv1"):
        ready_model.ready_model("digits", seed=0, weights=path)
