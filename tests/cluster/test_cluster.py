"""Jobs over hosts with network stacks of their own, as PYNQ boards have them, and what was predicted for them."""

import json
import os

import numpy as np
import pytest
from cluster.namespaces import FakeCluster
from summaries import only_model

from mpi_vta.hw.cluster import Cluster
from mpi_vta.trace.reader import read

pytestmark = pytest.mark.cluster

HOSTS = [int(word) for word in os.environ.get("CLUSTER_HOSTS", "4 12").split()]
RUNS = 3
TOLERANCE = 0.05


@pytest.fixture(scope="module", params=HOSTS, ids=lambda count: f"{count}-hosts")
def hosts(request, tmp_path_factory):
    # what else this machine does is not to be measured; more hosts would leave it no time at all
    undisturbed = request.param == HOSTS[0]
    with FakeCluster(request.param, tmp_path_factory.mktemp("cluster"), undisturbed) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def folder(hosts):
    return hosts.hostfile.parent


def named(hosts):
    """Give the shipped cluster with as many boards or more."""
    return next(f"pynq{boards}" for boards in (4, 12) if boards >= len(hosts.names))


@pytest.fixture(scope="module")
def calibrated(hosts, folder):
    """Give a cluster file with the links that were measured."""
    path = folder / "calibrated.toml"
    ended = hosts.job("-m", "mpi_vta.calibrate", "--cluster", named(hosts), "--output", path, "--json", folder=folder)
    assert (ended.status, ended.stderr) == (0, "")
    return path


def test_doctor_finds_the_duplicate_addresses_unless_the_interface_is_chosen(hosts, folder):
    guarded = hosts.job("-m", "mpi_vta.doctor", "--json", folder=folder)
    answer = json.loads(guarded.stdout)
    assert (guarded.status, answer["faults"]) == (0, [])
    assert [entry["host"] for entry in answer["ranks"]] == hosts.names
    assert all(entry["addresses"]["eth0:1"] == "192.168.2.99" for entry in answer["ranks"])
    program = (
        "import os, sys\n"
        "from mpi_vta.doctor import main\n"
        "for name in ('UCX_NET_DEVICES', 'FI_TCP_IFACE'): del os.environ[name]\n"
        "sys.exit(main([]))\n"
    )
    open_to_all = hosts.job("-c", program, folder=folder)
    assert open_to_all.status == 1
    assert (
        f"{len(hosts.names)} hosts have the address 192.168.2.99 (eth0:1), and MPI may choose it" in open_to_all.stdout
    )
    assert f"{len(hosts.names)} hosts have the address 192.168.3.1 (usb0), and MPI may choose it" in open_to_all.stdout


# Every host polls for messages: on two cores twelve of them would measure one another.
timed_hosts = pytest.mark.parametrize("hosts", HOSTS[:1], indirect=True, ids=lambda count: f"{count}-hosts")


@timed_hosts
def test_links_are_those_of_the_shaped_network(calibrated):
    link = Cluster.load(str(calibrated)).link
    # 1 Gb/s are 125 MB/s with every header; shared memory between the namespaces would give ten times that
    assert 40 < link.bandwidth_mb_s < 125
    assert link.latency_ns + 2 * link.per_message_ns > 20_000


def test_bits_are_those_of_one_rank(hosts, folder):
    summaries = []
    for clock in ("virtual", "wall"):
        ended = hosts.job(
            *("-m", "mpi_vta.pipeline", "--model", "digits", "--images", "16", "--clock", clock, "--json"),
            *("--output", folder / f"digits-{clock}"),
            folder=folder,
        )
        assert (ended.status, ended.stderr) == (0, "")
        summaries.append(only_model(ended.stdout))
    assert summaries[0]["output_sha256"] == summaries[1]["output_sha256"]
    assert {stage["host"] for stage in summaries[1]["stages"]} <= set(hosts.names)


# On equal boards the best fused plan is scatter-gather's; with two stages it is one of its own.
@timed_hosts
@pytest.mark.parametrize(
    "strategy", [("pipeline",), ("scatter-gather",), ("fused", "--stages", "2")], ids=lambda s: s[0]
)
def test_measured_throughput_and_latency_are_the_predicted_ones(hosts, calibrated, folder, strategy):
    def figures(clock):
        ended = hosts.job(
            *("-m", "mpi_vta.pipeline", "--model", "resnet18", "--device", "timing", "--clock", clock, "--json"),
            *("--cluster", calibrated, "--strategy", *strategy, "--images", "40", "--output", folder / clock),
            folder=folder,
        )
        assert (ended.status, ended.stderr) == (0, "")
        summary = only_model(ended.stdout)
        assert summary["time"] == ("modelled" if clock == "virtual" else "measured")
        mean_ns = read(folder / clock / "run.h5").models[0].images["latency_ns"].mean()
        return np.array([summary["throughput_images_per_s"], mean_ns / 1e6, summary["latency_ms"]["p50"]])

    predicted = figures("virtual")
    measured = np.median([figures("wall") for _ in range(RUNS)], axis=0)
    assert (abs(measured / predicted - 1) < TOLERANCE).all(), (measured, predicted)


def test_sudden_death_of_a_host_ends_the_job(hosts, folder):
    program = (
        "import os, sys, signal\n"
        "from mpi_vta.runtime.transport.mpi import MpiTransport\n"
        "rank = MpiTransport()\n"
        "os.kill(os.getpid(), signal.SIGKILL) if rank.rank == 2 else rank.barrier()\n"
    )
    ended = hosts.job("-c", program, timeout_s=60, folder=folder)
    assert ended.status != 0
