"""The fake hosts themselves: real ssh between them, cables that can be pulled, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster.namespaces import NETNS, REPOSITORY, FakeCluster, missing

# one write, so that the ranks' lines do not mix
WHERE = (
    "import os, socket\n"
    "who = socket.gethostname(), os.environ.get('SSH_CONNECTION', 'here').split()[0]\n"
    "os.write(1, f'{who[0]} {who[1]}\\n'.encode())\n"
)
OWNER = "import sys, time, pathlib; from cluster.namespaces import FakeCluster\n" + (
    "with FakeCluster(2, pathlib.Path(sys.argv[1])) as hosts:\n"
    "    print(*map(hosts.namespace, hosts.names), flush=True)\n"
    "    time.sleep(600)\n"
)


def namespaces():
    return {path.name for path in Path("/run/netns").glob("*")}


@pytest.mark.cluster
def test_ranks_start_over_ssh_and_each_host_has_its_name(tmp_path):
    with FakeCluster(3, tmp_path) as hosts:
        ended = hosts.job("-c", WHERE, folder=tmp_path)
        assert (ended.status, ended.stderr) == (0, "")
        # Hydra starts the ranks of its own host without ssh
        assert sorted(ended.stdout.split("\n")[:-1]) == ["vta0 here", "vta1 10.77.0.1", "vta2 10.77.0.1"]


@pytest.mark.cluster
def test_a_cut_host_is_out_of_reach_until_mended(tmp_path):
    def reachable(host):
        return hosts.on("vta0", "ssh", "-o", "ConnectTimeout=1", host, "true").status == 0

    with FakeCluster(3, tmp_path) as hosts:
        hosts.cut("vta2")
        assert (reachable("vta1"), reachable("vta2")) == (True, False)
        hosts.mend("vta2")
        assert reachable("vta2")


@pytest.mark.cluster
def test_two_clusters_stand_side_by_side(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with FakeCluster(2, first) as one, FakeCluster(2, second) as other:
        one.cut("vta1")
        assert other.on("vta0", "ssh", "vta1", "hostname").stdout == "vta1\n"


@pytest.mark.cluster
def test_a_job_that_is_left_is_killed_on_every_host(tmp_path):
    with FakeCluster(2, tmp_path) as hosts:
        with hosts.started("-c", "import time; print('up', flush=True); time.sleep(600)", folder=tmp_path) as job:
            assert [job.stdout.readline() for _ in hosts.names] == ["up\n"] * 2
            assert all(hosts.processes(host) for host in hosts.names)
            job.kill()
        assert [hosts.processes(host) for host in hosts.names] == [[], []]


@pytest.mark.cluster
@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_owner_is_killed(tmp_path, deadly):
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")}
    command = [sys.executable, "-c", OWNER, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ) as owner:
        made = set(owner.stdout.readline().split())
        assert len(made & namespaces()) == 2
        owner.send_signal(deadly)
    deadline = time.monotonic() + 30
    while made & namespaces() or any((NETNS / name).exists() for name in made) or (tmp_path / "keys").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_is_missing_is_said_in_one_line(monkeypatch, tmp_path):
    for tool in ("ip", "tc", "ssh", "ssh-keygen", "unshare", "chrt"):
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("cluster.namespaces.SYSTEM_PATH", "")
    lack = missing()
    assert (
        lack
        == "a cluster of network namespaces needs hostname, openssh-server: apt-get install hostname openssh-server"
    )


def test_another_user_than_root_is_told_so(monkeypatch):
    monkeypatch.setattr("cluster.namespaces.TOOLS", {})
    monkeypatch.setattr("cluster.namespaces.os.geteuid", lambda: 1000)
    assert missing() == "a cluster of network namespaces needs root: run this as root"
