"""The SHA-256 of a finished file, kept in front of it where HDF5 leaves room and checked before HDF5 reads a byte.

The HDF5 library may crash or loop for ever on a damaged file, so damage has to be found without it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from mpi_vta.disk import open_regular
from mpi_vta.errors import ArtifactError

SEAL_BYTES = 512  # the least user block that HDF5 allows
_MAGIC = b"mpi_vta sha256 "
_HDF5 = b"\x89HDF\r\n\x1a\n"
_BLOCK_BYTES = 1 << 20


def seal(path: Path) -> None:
    """Write the hash of everything behind the user block into it; the file was made with `SEAL_BYTES` of that."""
    with path.open("r+b") as stream:
        digest = _digest(stream)
        stream.seek(0)
        stream.write(_head(digest))


def sealed(data: bytes) -> bytes:
    """Return the content of a file, made with `SEAL_BYTES` of user block, with its hash; see `seal`."""
    return _head(hashlib.sha256(data[SEAL_BYTES:]).hexdigest()) + data[SEAL_BYTES:]


def check_seal(path: Path, what: str = "trace") -> bool:
    """Return whether a file has a seal, which is then right; False for an HDF5 file without one.

    Raises
    ------
    ArtifactError
        If the file is not what its seal says, or neither sealed nor HDF5.
    OSError
        If it cannot be read.
    """
    with open_regular(path) as stream:
        head = stream.read(SEAL_BYTES)
        if head.startswith(_HDF5):
            return False
        stated = head[len(_MAGIC) :].rstrip(b"\0").decode("latin-1")
        if not head.startswith(_MAGIC):
            raise ArtifactError(
                f"not a readable {what} (not an HDF5 file)", where=str(path), remedy="run the job again"
            )
        if stated != _digest(stream) + "\n":
            raise ArtifactError(
                "content does not match its SHA-256: the file was changed or damaged",
                where=str(path),
                remedy="take another copy, or run the job again",
            )
    return True


def _head(digest: str) -> bytes:
    return (_MAGIC + digest.encode() + b"\n").ljust(SEAL_BYTES, b"\0")


def _digest(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    stream.seek(SEAL_BYTES)
    while block := stream.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()
