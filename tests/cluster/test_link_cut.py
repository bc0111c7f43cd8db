"""A cable that is pulled, a rank that is killed on another host: one line, nothing runs on, what was done is kept."""

import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from cluster.namespaces import FakeCluster

pytestmark = pytest.mark.cluster

IMAGES = 20_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cut")


@pytest.fixture(scope="module")
def hosts(folder):
    with FakeCluster(4, folder) as cluster:
        yield cluster


def ranks_on(hosts):
    """Return (host, process, words) of Python on all hosts; ssh and MPICH's proxy outlive a connection that is lost."""
    found = []
    for name in hosts.names:
        for pid in hosts.processes(name):
            try:
                words = (Path("/proc") / str(pid) / "cmdline").read_bytes().decode().split("\0")
            except FileNotFoundError:
                continue
            found += [(name, pid, words)] if Path(words[0]).name.startswith("python") else []
    return found


def wait_for_outputs(job, done):
    while not (done.exists() and done.stat().st_size > 8 * 1500):
        assert job.poll() is None, job.stderr.read()
        time.sleep(0.05)


def delivered_images(done):
    return len(np.fromfile(done, np.dtype([("image", "<i4"), ("crc32", "<u4")])))


@pytest.mark.parametrize("host", ["vta2", "vta0"])
def test_cut_link_ends_the_job_on_both_sides(hosts, folder, host):
    out = folder / f"out-{host}"
    options = ("--model", "digits", "--images", IMAGES, "--stages", "4", "--output", out)
    with hosts.started("-m", "mpi_vta.pipeline", *options, folder=folder) as job:
        done = out / "outputs" / "done"
        wait_for_outputs(job, done)
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
    assert re.match(rf"mpi_vta: error: rank \d on {named} for \d+\.\d s.*last edge .*, last image \d+", line), stderr
    assert left == []
    assert 0 < delivered_images(done) < IMAGES


def test_rank_that_is_killed_on_another_host_is_named_with_its_host(hosts, folder):
    out = folder / "out-killed"
    options = ("--model", "digits", "--images", IMAGES, "--stages", "4", "--output", out)
    with hosts.started("-m", "mpi_vta.pipeline", *options, folder=folder) as job:
        done = out / "outputs" / "done"
        wait_for_outputs(job, done)
        (rank,) = [pid for name, pid, words in ranks_on(hosts) if name == "vta2" and "mpi_vta.pipeline" in words]
        os.kill(rank, signal.SIGKILL)
        _, stderr = job.communicate(timeout=60)
    lines = [line for line in stderr.splitlines() if line.startswith("mpi_vta: error")]
    where = r"mpi_vta: error: rank \d on vta2, board pynq_z1: killed by SIGKILL, by hand or for want of memory"
    assert len(lines) == 1, stderr
    assert re.fullmatch(rf"{where}; last edge .*, last image \d+; go on with --resume \S+", lines[0]), stderr
    assert job.returncode != 0
    for _ in range(50):
        if not ranks_on(hosts):
            break
        time.sleep(0.1)
    assert ranks_on(hosts) == []
    assert 0 < delivered_images(done) < IMAGES
