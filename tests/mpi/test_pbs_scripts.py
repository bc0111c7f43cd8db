"""The PBS scripts' bodies under bash, with the variables that PBS would set: there is no PBS here."""

import json
import shutil
from pathlib import Path

import pytest
from mpi.conftest import run_command

pytestmark = pytest.mark.mpi

JOBS = Path(__file__).resolve().parents[2] / "jobs"
SOURCES = str(JOBS.parent)


@pytest.fixture
def pbs(tmp_path):
    """Run a script in a job of some tasks; PBS starts it at home, not where it was submitted."""
    submitted, home = tmp_path / "submitted", tmp_path / "home"
    home.mkdir()
    shutil.copytree(JOBS, submitted / "jobs")
    (tmp_path / "nodes").write_text("localhost\n" * 3)

    def run(script, **environ):
        job = {"PBS_O_WORKDIR": str(submitted), "PBS_NODEFILE": str(tmp_path / "nodes"), "PYTHONPATH": SOURCES}
        return run_command(["bash", str(submitted / "jobs" / script)], 120, job | environ, home), submitted

    return run


def test_pipeline_runs_a_rank_per_line_of_the_node_file(pbs):
    ended, folder = pbs("pipeline.pbs", OPTIONS="--model digits --images 12")
    assert ended.status == 0, ended.stderr
    found = json.loads((folder / "out" / "digits-pipeline" / "summary.json").read_text())
    assert (found["ranks"], found["images"]) == (3, 12)


def test_a_job_outside_pbs_says_so(pbs):
    ended, _ = pbs("pipeline.pbs", PBS_NODEFILE="")
    assert ended.status == 2
    assert ended.error_lines[-1].endswith("no job of Slurm or PBS here; start mpirun yourself")
