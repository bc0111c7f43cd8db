"""A bare Python made into a board's by ``jobs/provision.sh`` over ssh; then a job on it, without TVM."""

import json
import os
import subprocess
import sys

import pytest
from cluster.namespaces import REPOSITORY, FakeCluster
from summaries import only_model

pytestmark = pytest.mark.cluster

NEEDED = ("mpi4py>=4.0", "mpich>=4.2", "h5py>=3.10", "matplotlib>=3.7", "pillow>=10", "rich>=13", "tomli>=2", "numpy<2")
DIGITS = ("-m", "mpi_vta.pipeline", "--model", "digits", "--images", "16", "--json", "--output")


@pytest.fixture(scope="module")
def venv(tmp_path_factory):
    """Give a bare environment whose pip looks into a folder, as the hosts have no way to the package index."""
    folder = tmp_path_factory.mktemp("board")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    # packages are installed here, which other tests may not
    environ = {name: value for name, value in os.environ.items() if name != "PIP_NO_INDEX"}
    subprocess.run(
        [*pip, "download", "--dest", folder / "wheels", *NEEDED], check=True, stdout=subprocess.DEVNULL, env=environ
    )
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    (folder / "venv" / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {folder / 'wheels'}\n")
    return folder / "venv"


def provision(hosts, venv, *files, host="vta1"):
    target = venv.parent / "target"
    # what would come from the package index comes from the folder
    fetch = [f"PIP={sys.executable} -m pip", "PIP_NO_INDEX=1", f"PIP_FIND_LINKS={venv.parent / 'wheels'}"]
    environ = ["env", f"MPI_VTA_BOARD_VENV={venv}", f"MPI_VTA_BOARD_TARGET={target}", "MPI_VTA_BOARD=pynq_z1", *fetch]
    return hosts.on("vta0", *environ, REPOSITORY / "jobs" / "provision.sh", host, *files, timeout_s=300)


def test_a_provisioned_board_runs_jobs_without_tvm(venv, tmp_path):
    for suffix in ("bit", "hwh", "json"):
        (tmp_path / f"1x16_i8w8a32_15_15_18_17.{suffix}").write_text(suffix)
    cache = str(tmp_path / "cache")
    alone = subprocess.run(
        [sys.executable, *DIGITS, tmp_path / "one"],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "MPI_VTA_CACHE": cache},
    )
    plan = [sys.executable, "-m", "mpi_vta.plan", "--model", "digits", "--images", "16", "--cluster", "pynq4"]
    subprocess.run(
        [*plan, "--ranks", "2", "--output", tmp_path / "plan.json"],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "MPI_VTA_CACHE": cache},
    )
    python = str(venv / "bin" / "python")
    with FakeCluster(2, tmp_path, python=python) as hosts:
        ended = provision(hosts, venv, tmp_path / "1x16_i8w8a32_15_15_18_17.bit")
        # all is there but the board itself and a manifest, and the selftest, which comes last, says so
        assert (ended.status, ended.stderr) == (1, "")
        assert "rank 0: pynq_z1, device pynq: 0 of 0 right\n" in ended.stdout
        assert "wrong       rank 0: not a manifest (" in ended.stdout
        bitstreams = venv.parent / "target" / "bitstreams"
        assert {path.suffix for path in bitstreams.iterdir()} == {".bit", ".hwh", ".json"}
        assert subprocess.run([python, "-c", "import tvm"], capture_output=True).returncode == 1
        again = provision(hosts, venv)
        assert (again.status, again.stderr) == (1, "")
        assert "wrong       rank 0: pynq is not installed\n" in again.stdout
        options = {"folder": tmp_path, "MPI_VTA_CACHE": cache, "PYTHONPATH": ""}
        examined = hosts.job("-m", "mpi_vta.doctor", "--json", **options)
        assert (examined.status, json.loads(examined.stdout)["faults"]) == (0, [])
        job = hosts.job(*DIGITS, tmp_path / "two", "--cluster", "pynq4", "--plan", tmp_path / "plan.json", **options)
        assert (job.status, job.stderr) == (0, "")
        summary = only_model(job.stdout)
        assert {stage["host"] for stage in summary["stages"]} == set(hosts.names)
        assert summary["output_sha256"] == only_model(alone.stdout)["output_sha256"]


def test_a_board_without_its_python_is_said_so(venv, tmp_path):
    with FakeCluster(2, tmp_path) as hosts:
        ended = provision(hosts, venv.parent / "nowhere" / "venv")
        assert ended.status == 2
        assert ended.stderr == f"no Python in {venv.parent / 'nowhere' / 'venv'}: set MPI_VTA_BOARD_VENV\n"
