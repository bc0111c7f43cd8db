"""The PBS scripts' bodies under bash, with the variables that PBS would set: there is no PBS here."""

import json
import shutil
from pathlib import Path

import pytest
from mpi.conftest import run_command

from mpi_vta.trace.study_file import read_study

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


EXPERIMENT = """
name = "{name}"
models = ["digits"]
clusters = ["pynq4"]
boards = [1, 2]
strategies = ["pipeline"]
objectives = ["throughput"]
images = 8
"""


@pytest.mark.parametrize("variable", ["PBS_ARRAY_INDEX", "PBS_ARRAYID"])
def test_a_task_of_an_array_sweeps_its_own_experiment(pbs, tmp_path, variable):
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(EXPERIMENT.format(name=name))
    files = " ".join(str(tmp_path / f"{name}.toml") for name in ("a", "b"))
    ended, folder = pbs("sweep.pbs", **{variable: "1"}, EXPERIMENTS=files)
    assert ended.status == 0, ended.stderr
    assert [path.name for path in (folder / "out").iterdir()] == ["study-b.h5"]
    study = read_study(folder / "out" / "study-b.h5")
    assert (study.complete, len(study.points)) == (True, 2)


def test_a_task_beyond_the_experiments_is_refused(pbs):
    ended, _ = pbs("sweep.pbs", PBS_ARRAY_INDEX="2", EXPERIMENTS="a.toml b.toml")
    assert ended.status == 2
    assert ended.error_lines == ["sweep: task 2 of the array, but 2 experiment files"]
