"""Files: written whole or not at all, read only if they have an end; what the disk refuses is a fault of one line.

Of a job's own files none is reached through a symbolic link: `open_own` and `open_own_folder` refuse one.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from mpi_vta.errors import InputError

_PACKAGE = Path(__file__).resolve().parent
MAKE_ROOM = "make room, or choose another folder"
DOTS_PER_INCH = 130
MOST_BYTES = 4 << 30
MOST_TEXT_BYTES = 64 << 20
# a pipe is not waited for, and no child gets the file
_AT_ONCE = os.O_NONBLOCK | os.O_CLOEXEC
# of a file system that does not lock files
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_IN_THE_WAY = (errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL)
# how HDF5 tells of the disk, in an OSError without a number or in a RuntimeError
_HDF5_REASON = re.compile(r"errno = (\d+)")


def cache_directory() -> Path:
    """Return ``MPI_VTA_CACHE``, or ``~/.cache/mpi_vta``."""
    named = os.environ.get("MPI_VTA_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "mpi_vta"


@cache
def sources_hash(rooms: tuple[str, ...]) -> str:
    """Return the SHA-256 of the source files of some rooms or modules: the version of what they compute."""
    digest = hashlib.sha256()
    for room in rooms:
        place = _PACKAGE / room
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            digest.update(f"{path.relative_to(_PACKAGE).as_posix()}|".encode() + path.read_bytes())
    return digest.hexdigest()


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; raises `OSError` for a pipe or device too, which might have no end."""
    # looked at before, as to open a device may do something, and after, as it may have become another one
    _check_regular(path.stat().st_mode, path)
    return os.fdopen(_checked(os.open(path, os.O_RDONLY | _AT_ONCE), path), "rb")


def open_own(path: str | Path, flags: int, folder: int | None = None) -> int:
    """Open a file that a job keeps; return its descriptor.

    Parameters
    ----------
    path : str or Path
        The file, or its name in `folder`.
    flags : int
        As for `os.open`.
    folder : int, optional
        Descriptor of an open folder.

    Raises
    ------
    OSError
        If it cannot be opened, or is a symbolic link, pipe, device or folder.
    """
    with _links_named(path):
        return _checked(os.open(path, flags | os.O_NOFOLLOW | _AT_ONCE, 0o666, dir_fd=folder), path)


def open_own_folder(path: str | Path) -> int:
    """Open a folder that a job has made; raises `OSError` if it is not there, no folder, or a symbolic link."""
    with _links_named(path):
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | _AT_ONCE)
    if not stat.S_ISDIR(os.fstat(file).st_mode):
        os.close(file)
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    return file


def make_own_folder(path: Path) -> None:
    """Make a folder of a job's, in one that is there; raises `OSError` if something else is in its place."""
    with suppress(FileExistsError):
        path.mkdir()
    os.close(open_own_folder(path))


def is_same_file(path: Path, file: int) -> bool:
    """Return whether a path leads to the file of a descriptor, and not to another one or nowhere."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except OSError:
        return False


def write_all(file: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of some bytes at an offset of a file, however many the system takes at once."""
    view = memoryview(data).cast("B")
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


@contextmanager
def _links_named(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        if fault.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "a symbolic link, which is not followed", str(path)) from fault


def _checked(file: int, path: str | Path) -> int:
    try:
        _check_regular(os.fstat(file).st_mode, path)
    except OSError:
        os.close(file)
        raise
    return file


def _check_regular(mode: int, path: str | Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "a pipe or device, not a file", str(path))


def read_bytes(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Return a file's content; raises `OSError` if it cannot be read, has no end or more than `most_bytes`."""
    with open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size > most_bytes:
            raise OSError(errno.EFBIG, f"larger than {most_bytes >> 20:,} MiB", str(path))
        return stream.read()


def read_text(path: Path) -> str:
    """Return a text in UTF-8 of at most `MOST_TEXT_BYTES`; raises as `read_bytes`, and `UnicodeDecodeError`."""
    return read_bytes(path, MOST_TEXT_BYTES).decode()


@contextmanager
def writing(what: str, where: str | Path, remedy: str = MAKE_ROOM) -> Iterator[None]:
    """Make what the disk refuses in the body an `InputError` that says what could not be written, where and why."""
    try:
        yield
    except (OSError, RuntimeError) as fault:
        reason = _reason(fault)
        if reason is None:
            raise
        # what is in the way is named: the user knows only of the folder
        named = getattr(fault, "filename", None)
        at = f": {named}" if isinstance(fault, OSError) and named and fault.errno in _IN_THE_WAY else ""
        raise InputError(f"cannot write {what} ({reason}{at})", where=str(where), remedy=remedy) from fault


def _reason(fault: OSError | RuntimeError) -> str | None:
    stated = _HDF5_REASON.search(str(fault))
    if stated is not None:
        return os.strerror(int(stated[1]))
    return fault.strerror if isinstance(fault, OSError) else None


def write_atomically(path: Path, data: bytes, what: str = "the file", remedy: str = MAKE_ROOM) -> None:
    """Write `data` to `path` so that a reader sees the old file, the new file, or none.

    Raises
    ------
    InputError
        If the disk refuses, naming `what` and the remedy.
    """
    with writing(what, path, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's 0600 would keep the file from everyone else
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, data: object, what: str = "the file") -> None:
    """Write JSON-able values, readably; as `write_atomically`."""
    write_atomically(path, (json.dumps(data, indent=2) + "\n").encode(), what)


@contextmanager
def replacing(path: Path, what: str) -> Iterator[Path]:
    """Give the body a path at which nothing is, for a file that gets its name once it is whole, or else is gone.

    Raises
    ------
    InputError
        If the disk refuses, naming `what`.
    """
    partial = path.with_name(path.name + ".part")
    with writing(what, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # what lies there may be a link that leads elsewhere
        partial.unlink(missing_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_picture(figure: Any, path: Path) -> None:
    """Write a matplotlib figure, in the format of the file's ending.

    Raises
    ------
    InputError
        If there is no such format, or the file cannot be written.
    """
    stream = io.BytesIO()
    try:
        figure.savefig(stream, dpi=DOTS_PER_INCH, format=path.suffix[1:] or "png")
    except ValueError as fault:
        raise InputError(f"no such picture format ({fault})", where=str(path), allowed=".png, .svg, .pdf") from fault
    write_atomically(path, stream.getvalue(), "the picture")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
