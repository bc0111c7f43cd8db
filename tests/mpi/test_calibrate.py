"""Calibration under mpirun: a cluster file that loads, and faults as one line."""

import json

import pytest

from mpi_vta.hw.cluster import Cluster

pytestmark = pytest.mark.mpi


def test_measured_link_lands_in_a_cluster_file(start, tmp_path):
    path = tmp_path / "here.toml"
    ended = start(3, "-m", "mpi_vta.calibrate", "--cluster", "pynq4", "--output", path, "--rounds", "1", "--json")
    assert (ended.status, ended.stderr) == (0, "")
    answer = json.loads(ended.stdout)
    assert len(answer["peers"]) == 2
    cluster = Cluster.load(str(path))
    assert cluster.link.latency_ns == answer["link"]["latency_ns"]
    assert cluster.boards == Cluster.load("pynq4").boards


@pytest.mark.parametrize(
    ("ranks", "options", "line"),
    [
        (0, ("--cluster", "pynq4"), "one rank has no link; start with mpirun -n 2 or more"),
        (2, ("--cluster", "pynq4", "--rounds", "0"), "--rounds: 0 rounds; allowed: 1 or more"),
    ],
)
def test_fault_is_one_line(start, tmp_path, ranks, options, line):
    ended = start(ranks, "-m", "mpi_vta.calibrate", *options, "--output", tmp_path / "x.toml")
    (found,) = ended.error_lines
    assert line in found
    assert ended.status == 2
    assert not (tmp_path / "x.toml").exists()
