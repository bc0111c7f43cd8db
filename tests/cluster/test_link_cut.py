"""A cable that is pulled while a job runs: it ends on both sides, in time, and what was done is kept."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from cluster.namespaces import FakeCluster

pytestmark = pytest.mark.cluster

LIMIT_S = 10
IMAGES = 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cut")


@pytest.fixture(scope="module")
def hosts(folder):
    with FakeCluster(4, folder) as cluster:
        yield cluster


def ranks_on(hosts):
    """Return the ranks' processes on all hosts; ssh and MPICH's proxy outlive a connection that is lost."""
    found = []
    for name in hosts.names:
        for pid in hosts.processes(name):
            try:
                words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode().split("\0")
            except FileNotFoundError:
                continue
            found += [(name, words)] if Path(words[0]).name.startswith("python") else []
    return found


@pytest.mark.parametrize("host", ["vta2", "vta0"])
def test_cut_link_ends_the_job_on_both_sides_within_the_limit(hosts, folder, host):
    out = folder / f"out-{host}"
    options = ("--model", "digits", "--images", IMAGES, "--stages", "4", "--output", out)
    with hosts.started("-m", "mpi_vta.pipeline", *options, folder=folder) as job:
        done = out / "outputs" / "done"
        while not (done.exists() and done.stat().st_size > 8 * 1500):
            assert job.poll() is None, job.stderr.read()
            time.sleep(0.05)
        cut_s = time.monotonic()
        hosts.cut(host)
        try:
            _, stderr = job.communicate(timeout=60)
            ended_s = time.monotonic() - cut_s
            while ranks_on(hosts) and time.monotonic() - cut_s < 30:
                time.sleep(0.1)
            gone_s = time.monotonic() - cut_s
            left = ranks_on(hosts)
        finally:
            hosts.mend(host)
            # a switch takes a moment to see the cable again
            time.sleep(5)
    print(f"{host} cut: mpirun ended after {ended_s:.1f} s, the last process after {gone_s:.1f} s (measured)")
    assert job.returncode != 0
    lines = [line for line in stderr.splitlines() if line.startswith("mpi_vta: error")]
    named = r"vta2, board pynq_z1: nothing heard" if host == "vta2" else r"vta\d, board pynq_z1: nothing heard"
    (line,) = lines
    assert re.match(rf"mpi_vta: error: rank \d on {named} for 6\.\d s.*last edge .*, last image \d+", line), stderr
    assert left == []
    # these are promises in seconds
    assert ended_s < LIMIT_S + 1
    assert gone_s < LIMIT_S + 1
    delivered = len(np.fromfile(done, np.dtype([("image", "<i4"), ("crc32", "<u4")])))
    assert 0 < delivered < IMAGES
