"""The container in which graphs, programs and plans are saved and sent: arrays plus a JSON header.

The format is NumPy's ``.npz`` without pickles, so a file can be opened anywhere NumPy runs. The
header carries the kind, the format version and the SHA-256 of everything else.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ArtifactError, InputError
from mpi_vta.json_fields import from_json
from mpi_vta.npy import read_npy

_HEADER = "__header__"
Header = TypeVar("Header")


def content_hash(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 (hex) over a JSON-able header and named arrays, independent of dict order."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def pack(kind: str, version: int, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Serialise a header and arrays.

    Parameters
    ----------
    kind : str
        What the bytes hold, for example ``"program"``; checked by `unpack`.
    version : int
        Format version of that kind.
    header : mapping
        JSON-able values.
    arrays : mapping of str to ndarray
        Arrays of plain dtypes.
    """
    envelope = {"kind": kind, "version": version, "header": dict(header)}
    envelope["sha256"] = content_hash({"kind": kind, "version": version, "header": dict(header)}, arrays)
    stream = io.BytesIO()
    named: dict[str, Any] = {_HEADER: np.frombuffer(json.dumps(envelope).encode(), dtype=np.uint8)}
    # an array that lies column by column would be written so, and no reader takes that
    named.update({name: np.asarray(array, order="C") for name, array in arrays.items()})
    np.savez(stream, **named)
    return stream.getvalue()


def unpack(data: bytes, kind: str, version: int, where: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what `pack` wrote, checking kind, version and hash.

    Raises
    ------
    ArtifactError
        If the bytes are damaged, of another kind or of another version.
    """
    try:
        arrays = _read_members(data, kind, where)
        envelope = json.loads(bytes(arrays.pop(_HEADER)))
        found = (envelope["kind"], envelope["version"])
        stored_hash = envelope.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, InputError, *_ZIP_FAULTS) as fault:
        raise ArtifactError(
            f"not a readable {kind} file ({type(fault).__name__})", where=where, remedy="make it again"
        ) from fault
    check_version(found, kind, version, where)
    if content_hash(envelope, arrays) != stored_hash:
        raise ArtifactError("content does not match its SHA-256", where=where, remedy="make it again")
    return envelope["header"], arrays


def unpack_as(
    header_kind: type[Header], data: bytes, kind: str, version: int, where: str
) -> tuple[Header, dict[str, NDArray[Any]]]:
    """Read what `pack` wrote of a dataclass's `mpi_vta.json_fields.to_json`, as that dataclass; errors as `unpack`."""
    header, arrays = unpack(data, kind, version, where)
    try:
        return from_json(header_kind, header), arrays
    except ValueError as fault:
        raise ArtifactError(f"not a readable {kind} ({fault})", where=where, remedy="make it again") from fault


def check_version(found: tuple[Any, Any], kind: str, version: int, where: str) -> None:
    """Raise `ArtifactError` if the kind and version that a file states are not these."""
    if found != (kind, version):
        raise ArtifactError(
            f"holds {found[0]} version {found[1]}",
            where=where,
            allowed=f"{kind} version {version}",
            remedy="make it again with this release",
        )


_ZIP_FAULTS = (zipfile.BadZipFile, NotImplementedError, RuntimeError)  # damage, odd methods, encryption


def _read_members(data: bytes, kind: str, where: str) -> dict[str, NDArray[Any]]:
    """Read the arrays of an uncompressed ``.npz``, believing no size that its headers state."""
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(data):
                raise InputError(f"a {kind} is stored uncompressed", where=where)
            arrays[entry.filename.removesuffix(".npy")] = read_npy(archive.read(entry), entry.filename, where)
    return arrays
