"""An output folder has one job at a time, on whatever file system."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from mpi_vta.errors import InputError, OutputLostError
from mpi_vta.job import held_folder
from mpi_vta.job.held_folder import CLAIM_FILE, LOCK_FILE, HeldFolder, locks_are_shared

HOLDING = """
import sys
from pathlib import Path
from mpi_vta.job.held_folder import HeldFolder
held = HeldFolder(Path(sys.argv[1]), "--output out")
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    monkeypatch.setattr(held_folder, "_WAIT_S", 0.0)


@pytest.fixture
def holder(tmp_path):
    """Hold the folder in a process of its own until the test ends."""
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def local_locks(monkeypatch):
    monkeypatch.setattr(held_folder, "locks_are_shared", lambda folder: False)


def hold(folder):
    return HeldFolder(folder, "--output out")


def test_folder_of_another_job_is_refused_in_one_line_that_says_who_is_there(tmp_path, holder):
    with pytest.raises(InputError) as caught:
        hold(tmp_path)
    assert re.fullmatch(
        rf"--output out: another job is at work there: {re.escape(socket.gethostname())}, process {holder.pid}, "
        r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+\d{4}; wait for its end, or end it",
        str(caught.value),
    )


def test_job_that_was_killed_holds_nothing(tmp_path, holder):
    before = (tmp_path / LOCK_FILE).stat().st_ino
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    held = hold(tmp_path)
    assert (tmp_path / LOCK_FILE).stat().st_ino == before
    assert json.loads((tmp_path / LOCK_FILE).read_text())["process"] == os.getpid()
    held.release()
    assert (tmp_path / LOCK_FILE).stat().st_ino == before


@pytest.mark.parametrize("said", ["", "{", "[]", '{"host": 1}', '{"host": "a", "since": "b", "process": "c"}'])
def test_holder_that_has_said_nothing_readable_is_refused_too(tmp_path, holder, said):
    (tmp_path / LOCK_FILE).write_text(said)
    with pytest.raises(InputError, match="another job is at work there: it has not said who it is; wait"):
        hold(tmp_path)


def test_name_of_the_holder_is_printed_without_control_characters(tmp_path, holder):
    (tmp_path / LOCK_FILE).write_text(json.dumps({"host": "a\x1b[31m", "since": "b\n", "process": 1}))
    with pytest.raises(InputError, match=r"there: a\\x1b\[31m, process 1, since b\\n; wait"):
        hold(tmp_path)


@pytest.mark.parametrize("change", ["removed", "renamed", "replaced"])
def test_folder_that_is_gone_is_noticed(tmp_path, change):
    held = hold(tmp_path / "out")
    held.check()
    if change == "removed":
        (tmp_path / "out" / LOCK_FILE).unlink()
        (tmp_path / "out").rmdir()
    else:
        (tmp_path / "out").rename(tmp_path / "other")
    if change == "replaced":
        # the new one is another job's, and is free
        hold(tmp_path / "out").release()
    with pytest.raises(OutputLostError, match="--output out: the folder was removed or renamed while the job ran"):
        held.check()
    held.release()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (lambda path: path.symlink_to(path.parent / "target"), "a symbolic link, which is not followed"),
        (os.mkfifo, "a pipe or device, not a file"),
        (os.mkdir, "Is a directory"),
    ],
    ids=["link", "pipe", "folder"],
)
def test_lock_that_is_no_file_is_refused(tmp_path, place, reason):
    place(tmp_path / LOCK_FILE)
    with pytest.raises(InputError, match=rf"--output out: cannot write there \({reason}: \S+\.lock\)"):
        hold(tmp_path)
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("kind", "options", "shared"),
    [
        ("ext4", "rw", True),
        ("nfs4", "rw,vers=4.2,local_lock=none", True),
        ("nfs", "rw,vers=3,local_lock=all", False),
        ("nfs", "rw,vers=3,nolock", False),
        ("lustre", "rw,flock", True),
        ("lustre", "rw,localflock", False),
        ("gpfs", "rw", True),
        ("ceph", "rw", True),
        ("beegfs", "rw", False),
        ("fuse.sshfs", "rw", False),
        ("cifs", "rw,nobrl", False),
    ],
)
def test_mount_says_whether_other_hosts_know_its_locks(tmp_path, monkeypatch, kind, options, shared):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 0:1 / / rw,noatime - fuse other rw\n"
        f"23 1 {os.major(device)}:{os.minor(device)} / /home rw,noatime shared:1 - {kind} server:/home {options}\n"
    )
    monkeypatch.setattr(held_folder, "_MOUNTS", mounts)
    assert locks_are_shared(tmp_path) is shared


def test_claim_of_another_host_is_believed_where_locks_are_local(tmp_path, local_locks):
    hold(tmp_path).release()
    (tmp_path / CLAIM_FILE).write_text(json.dumps({"host": "elsewhere", "process": 7, "since": "noon"}))
    with pytest.raises(InputError) as caught:
        hold(tmp_path)
    assert str(caught.value) == (
        "--output out: another job is at work there, or was killed: elsewhere, process 7, since noon; locks of this "
        f"mount hold on one host only: if the job is gone, remove {tmp_path / CLAIM_FILE}"
    )
    assert json.loads((tmp_path / CLAIM_FILE).read_text())["host"] == "elsewhere"


def test_claim_of_a_job_that_was_killed_on_this_host_is_taken_over(tmp_path, local_locks):
    (tmp_path / CLAIM_FILE).write_text(json.dumps({"host": socket.gethostname(), "process": 7, "since": "noon"}))
    held = hold(tmp_path)
    assert json.loads((tmp_path / CLAIM_FILE).read_text())["process"] == os.getpid()
    held.release()
    assert not (tmp_path / CLAIM_FILE).exists()


def test_claim_alone_decides_where_there_are_no_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(held_folder.fcntl, "lockf", refuse)
    held = hold(tmp_path)
    with pytest.raises(InputError, match=rf"or was killed: .*, process {os.getpid()}, since .*: if the job is gone, "):
        hold(tmp_path)
    held.release()
    hold(tmp_path).release()
