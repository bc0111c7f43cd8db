"""Starting jobs under the mpirun that lies beside this python."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
LAUNCHER_VARIABLES = ("PMI_", "OMPI_", "SLURM_", "HYDI_", "MPI_", "PMIX_")


@dataclass(frozen=True)
class Ended:
    """How a job ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def error_lines(self):
        return [line for line in self.stderr.splitlines() if line.strip()]


def run_command(command, timeout_s, environ, folder):
    env = {key: value for key, value in os.environ.items() if not key.startswith(LAUNCHER_VARIABLES)}
    env |= {"OPENBLAS_NUM_THREADS": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environ}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, env=env, cwd=folder, stdin=subprocess.DEVNULL
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def start(tmp_path):
    """Run ``python *arguments`` on some ranks, or without mpirun for 0; one that hangs fails the test, late."""

    def run(ranks, *arguments, timeout_s=600, **environ):
        launcher = [str(BIN / "mpirun"), "-n", str(ranks)] if ranks else []
        return run_command([*launcher, sys.executable, *map(str, arguments)], timeout_s, environ, tmp_path)

    return run


@pytest.fixture
def start_program(start):
    """Run one of the programs beside the tests."""

    def run(ranks, name, *arguments, **options):
        return start(ranks, Path(__file__).parent / "programs" / name, *arguments, **options)

    return run
