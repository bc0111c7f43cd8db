"""The batch scripts under a real Slurm: pipelines, sweeps, requeues, and the boards' script on simulated boards."""

import os
import shutil

import pytest
from summaries import only_model

from slurm.cluster import REPOSITORY

pytestmark = pytest.mark.slurm

DIGITS = ("--model", "digits", "--images", "24")


@pytest.fixture
def folder(tmp_path):
    """A folder to submit from, with the project's scripts."""
    shutil.copytree(REPOSITORY / "jobs", tmp_path / "jobs")
    return tmp_path


def output(folder, number):
    return (folder / f"slurm-{number}.out").read_text()


def summary(folder):
    return only_model((folder / "out" / "digits-pipeline" / "summary.json").read_text())


def test_pipeline_runs_a_rank_per_task_and_the_launcher_does_not_matter(slurm, folder):
    found = []
    for launcher in ("mpirun", "srun"):
        number = slurm.submit("jobs/pipeline.sbatch", *DIGITS, folder=folder, LAUNCHER=launcher)
        job = slurm.wait(number, 180)
        assert job.state == "COMPLETED", output(folder, number)
        found.append(summary(folder))
        shutil.rmtree(folder / "out")
    assert (found[0]["ranks"], found[0]["images"]) == (4, 24)
    assert found[0]["accuracy"]["vta"] > 0.9
    for key in ("output_sha256", "throughput_images_per_s", "latency_ms", "stages"):
        assert found[0][key] == found[1][key]


def test_an_unknown_launcher_is_refused(slurm, folder):
    number = slurm.submit("jobs/pipeline.sbatch", *DIGITS, folder=folder, LAUNCHER="prun")
    assert slurm.wait(number, 60).exit_code == "2:0"
    assert "LAUNCHER is prun; allowed: mpirun, srun" in output(folder, number)


def test_a_fault_of_the_request_ends_the_job_with_its_status(slurm, folder):
    number = slurm.submit("jobs/pipeline.sbatch", "--model", "nosuch", folder=folder)
    job = slurm.wait(number, 120)
    assert job.state == "FAILED"
    assert "mpi_vta: error:" in output(folder, number)
    assert not list(folder.glob("out/*/summary.json"))


def test_boards_script_runs_on_simulated_boards(slurm, folder):
    number = slurm.submit("jobs/boards.slurm", *DIGITS, folder=folder, DEVICE="timing")
    job = slurm.wait(number, 180)
    assert job.state == "COMPLETED", output(folder, number)
    assert "everything is in order" in output(folder, number)
    assert summary(folder)["ranks"] == 4
    assert summary(folder)["time"] == "measured"


def test_boards_script_ends_where_there_are_no_boards(slurm, folder):
    number = slurm.submit("jobs/boards.slurm", folder=folder)
    assert slurm.wait(number, 120).state == "FAILED"
    assert "pynq" in output(folder, number)
    assert not os.path.exists(folder / "out")


def test_ranks_that_srun_starts_without_mpi_say_that_they_are_alone(slurm, folder):
    command = "srun --mpi=none -n 2 python -m mpi_vta.pipeline --model digits --images 4"
    number = slurm.submit("--ntasks=2", "--wrap", command, folder=folder)
    assert slurm.wait(number, 120).state == "FAILED"
    assert "mpi_vta: error:" in output(folder, number)
    assert not (folder / "out" / "digits-pipeline" / "summary.json").exists()
