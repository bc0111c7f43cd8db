"""Every benchmark still runs, on the smallest case that it takes; what it prints is no matter of a test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
SMALL = {
    "accuracy": ("--model", "digits"),
    "compiler": ("--model", "digits"),
    "pipeline": ("--model", "digits", "--ranks", "2"),
    "resource_fit": (),
    "screening": ("--model", "digits", "--builds", "11"),
    "simulator": ("--model", "digits"),
    "strategies": ("--model", "digits", "--cluster", "pynq4", "--boards", "2", "--images", "8"),
    "trace": ("--model", "digits", "--events", "1000"),
    "zoo": ("digits",),
}
# minutes at least, as they fit or compile resnet18, compile cores or run many jobs; network needs hosts, load and
# documents have tests of their own
LARGE = {"builds", "core_counts", "cores", "documents", "faults", "hls_fit", "load", "network", "pairs"}


def test_every_benchmark_is_known():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*SMALL, *LARGE}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_benchmark_runs_on_a_small_case(name, tmp_path):
    environ = {**os.environ, "MPI_VTA_CACHE": str(tmp_path / "cache"), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(FOLDER / f"{name}.py"), *SMALL[name]]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout
