"""Writing to disk: whole or not at all, and one line for what the disk refuses."""

import errno
import os
import resource
import stat
from contextlib import contextmanager

import pytest
from matplotlib.figure import Figure

from mpi_vta.disk import read_bytes, read_text, replacing, write_atomically, write_picture, writing
from mpi_vta.errors import InputError


@contextmanager
def no_file_above(size_bytes):
    """Let the kernel refuse to write more of a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_atomic_write_replaces_and_keeps_the_umask(tmp_path):
    path = tmp_path / "sub" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_refused_write_is_one_line_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "plan.json"
    write_atomically(path, b"old")
    with (
        no_file_above(100),
        pytest.raises(InputError, match=r"plan\.json: cannot write the plan \(File too large\); make room"),
    ):
        write_atomically(path, bytes(1000), "the plan")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]


def test_refused_picture_leaves_nothing(tmp_path):
    with no_file_above(100), pytest.raises(InputError, match=r"a\.png: cannot write the picture \(File too large\)"):
        write_picture(Figure(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_ending_decides_the_picture_format(tmp_path, name, begins):
    write_picture(Figure(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_unknown_picture_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.words: no such picture format .*allowed: \.png, \.svg, \.pdf"):
        write_picture(Figure(), tmp_path / "a.words")


def test_file_whose_making_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "run.h5"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(path, "the trace") as partial:
        partial.write_bytes(b"new", "too much")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.h5"]


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        # as HDF5 words it
        OSError("Unable to synchronously create file (file write failed: errno = 28, error message = 'No space')"),
        RuntimeError("Unable to synchronously flush file (file write failed: errno = 28, error message = 'No space')"),
    ],
)
def test_reason_is_found_in_what_libraries_raise(fault):
    with pytest.raises(InputError) as caught, writing("the trace", "x.h5", "make room on that disk"):
        raise fault
    assert str(caught.value) == "x.h5: cannot write the trace (No space left on device); make room on that disk"


def test_other_faults_pass():
    with pytest.raises(RuntimeError, match="bug"), writing("the trace", "x.h5"):
        raise RuntimeError("a bug")


def test_content_of_files_is_read(tmp_path):
    (tmp_path / "a").write_bytes("é".encode())
    assert (read_bytes(tmp_path / "a", 2), read_text(tmp_path / "a")) == ("é".encode(), "é")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)], ids=["pipe", "device"])
def test_pipe_or_device_is_not_read(tmp_path, make):
    make(tmp_path / "endless")
    with pytest.raises(OSError, match="a pipe or device, not a file"):
        read_bytes(tmp_path / "endless")


def test_folder_and_file_that_is_too_large_are_not_read(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(OSError, match="larger than 4,096 MiB"):
        read_bytes(tmp_path / "sparse")
    with pytest.raises(OSError, match="larger than 64 MiB"):
        read_text(tmp_path / "sparse")


def test_file_is_not_made_through_a_link(tmp_path):
    (tmp_path / "target").write_bytes(b"somebody else's")
    (tmp_path / "run.h5.part").symlink_to(tmp_path / "target")
    with replacing(tmp_path / "run.h5", "the trace") as partial:
        partial.write_bytes(b"new")
    assert (tmp_path / "target").read_bytes() == b"somebody else's"
    assert (tmp_path / "run.h5").read_bytes() == b"new"
