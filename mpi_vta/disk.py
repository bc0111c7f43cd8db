"""Files: written whole or not at all, read only if they have an end; what the disk refuses is a fault of one line."""

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
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from mpi_vta.errors import InputError

_PACKAGE = Path(__file__).resolve().parent
MAKE_ROOM = "make room, or choose another folder"
DOTS_PER_INCH = 130
MOST_BYTES = 4 << 30
MOST_TEXT_BYTES = 64 << 20
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
    mode = path.stat().st_mode
    # a folder is refused by the system itself
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "a pipe or device, not a file", str(path))
    return path.open("rb")


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
        raise InputError(f"cannot write {what} ({reason})", where=str(where), remedy=remedy) from fault


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
    """Give the body a file to write, which gets its name once it is whole; if the body fails, it is gone.

    Raises
    ------
    InputError
        If the disk refuses, naming `what`.
    """
    partial = path.with_name(path.name + ".part")
    with writing(what, path):
        path.parent.mkdir(parents=True, exist_ok=True)
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
