"""Sweeps under a real Slurm: arrays, and jobs that are killed or requeued and then go on where they were."""

import os
import shutil
import time

import pytest

from mpi_vta.errors import ArtifactError
from mpi_vta.trace.study_file import read_study
from slurm.cluster import REPOSITORY

pytestmark = pytest.mark.slurm

EXPERIMENT = """
name = "{name}"
models = ["digits", "residual", "depthwise", ["digits", "digits"]]
clusters = ["{cluster}"]
boards = "1..4"
strategies = ["scatter-gather", "core-assignment", "pipeline", "fused"]
objectives = ["throughput", "latency"]
images = 64
"""
POINTS = 128  # enough to be interrupted among them
CLUSTERS = {"a": "mixed4", "b": "pynq4"}


def make_folder(folder):
    """Make a folder to submit from: the project's scripts and two experiments."""
    shutil.copytree(REPOSITORY / "jobs", folder / "jobs")
    for name, cluster in CLUSTERS.items():
        (folder / f"{name}.toml").write_text(EXPERIMENT.format(name=name, cluster=cluster))
    return folder


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(slurm, tmp_path_factory):
    """The results of both experiments, swept by one array that nobody disturbs."""
    folder = make_folder(tmp_path_factory.mktemp("undisturbed"))
    array = slurm.submit(
        "--array=0-1", "jobs/sweep.sbatch", "a.toml", "b.toml", folder=folder, MPI_VTA_CACHE=str(folder / "cache")
    )
    for index in (0, 1):
        assert slurm.wait(f"{array}_{index}", 240).state == "COMPLETED", texts(folder)
    return {name: result(folder, name).read_bytes() for name in CLUSTERS}


def texts(folder):
    return "\n".join(path.read_text() for path in sorted(folder.glob("slurm-*.out")))


def result(folder, name):
    return folder / "out" / f"study-{name}.h5"


def begun_sweep(slurm, folder, **environ):
    """Submit a sweep with a cold cache and return its number once some of its points, not all, are there."""
    number = slurm.submit("jobs/sweep.sbatch", "a.toml", folder=folder, MPI_VTA_CACHE=str(folder / "cache"), **environ)
    slurm.wait_for(number, ("RUNNING",), 60)
    deadline = time.monotonic() + 120
    while not rows(folder):
        assert time.monotonic() < deadline, texts(folder)
        time.sleep(0.1)
    return number


def rows(folder):
    try:
        return len(read_study(result(folder, "a")).points)
    except ArtifactError:
        return 0


def test_an_array_sweeps_one_experiment_per_task(undisturbed, tmp_path):
    for name, data in undisturbed.items():
        path = tmp_path / f"{name}.h5"
        path.write_bytes(data)
        study = read_study(path)
        assert (study.complete, len(study.points)) == (True, POINTS)
        assert {row.cluster for row in study.points} == {CLUSTERS[name]}


@pytest.mark.parametrize("launcher", ["mpirun", "srun"])
def test_a_sweep_that_requeues_itself_ends_with_the_undisturbed_result(slurm, folder, undisturbed, launcher):
    number = begun_sweep(slurm, folder, LAUNCHER=launcher)
    # what Slurm sends a minute before the time is over
    slurm.run("scancel", "--signal=USR1", "--batch", number)
    slurm.wait_for(number, ("PENDING", "COMPLETED"), 60)
    had = rows(folder)
    assert 0 < had < POINTS
    assert "a.toml is not done; back into the queue" in texts(folder)
    slurm.begin_now(number)
    job = slurm.wait(number, 240)
    assert (job.state, job.restarts) == ("COMPLETED", 1), (
        texts(folder) + slurm.run("scontrol", "show", "job", number) + slurm.logs()
    )
    assert f"{had} of them done before" in texts(folder)
    assert result(folder, "a").read_bytes() == undisturbed["a"]


def test_a_sweep_that_is_killed_and_requeued_ends_with_the_undisturbed_result(slurm, folder, undisturbed):
    number = begun_sweep(slurm, folder)
    slurm.run("scancel", "--signal=KILL", "--full", number)
    assert slurm.wait(number, 60).state in ("FAILED", "CANCELLED")
    had = rows(folder)
    assert 0 < had < POINTS
    slurm.run("scontrol", "requeue", number)
    slurm.begin_now(number)
    job = slurm.wait(number, 240)
    assert (job.state, job.restarts) == ("COMPLETED", 1), (
        texts(folder) + slurm.run("scontrol", "show", "job", number) + slurm.logs()
    )
    assert f"{had} of them done before" in texts(folder)
    assert result(folder, "a").read_bytes() == undisturbed["a"]


def test_a_task_beyond_the_experiments_is_refused(slurm, folder):
    array = slurm.submit("--array=1", "jobs/sweep.sbatch", "a.toml", folder=folder)
    assert slurm.wait(f"{array}_1", 60).exit_code == "2:0"
    assert "sweep: task 1 of the array, but 1 experiment files" in texts(folder)
    assert not os.path.exists(folder / "out")
