from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from mpi_vta import artifact
from mpi_vta.errors import ArtifactError

ARRAYS = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "b": np.zeros(0, np.uint8), "f": np.ones(3, np.float32)}


def packed() -> bytes:
    return artifact.pack("thing", 3, {"name": "x"}, ARRAYS)


def test_unpack_returns_what_was_packed() -> None:
    header, arrays = artifact.unpack(packed(), "thing", 3, "here")
    assert header == {"name": "x"}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_hash_does_not_depend_on_order() -> None:
    backwards = dict(reversed(ARRAYS.items()))
    assert artifact.content_hash({"k": 1}, ARRAYS) == artifact.content_hash({"k": 1}, backwards)
    assert artifact.content_hash({"k": 2}, ARRAYS) != artifact.content_hash({"k": 1}, ARRAYS)


@pytest.mark.parametrize(
    ("kind", "version", "message"),
    [
        ("other", 3, "here: holds thing version 3; allowed: other version 3; make it again with this release"),
        ("thing", 4, "here: holds thing version 3; allowed: thing version 4; make it again with this release"),
    ],
)
def test_another_kind_or_version_is_refused(kind: str, version: int, message: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        artifact.unpack(packed(), kind, version, "here")
    assert str(caught.value) == message


def test_a_changed_byte_is_found() -> None:
    data = bytearray(packed())
    data[data.index(ARRAYS["a"].tobytes())] ^= 1
    with pytest.raises(ArtifactError, match=r"here: (not a readable thing file|content does not match)"):
        artifact.unpack(bytes(data), "thing", 3, "here")


def test_every_truncation_is_one_error() -> None:
    data = packed()
    for length in range(0, len(data), 37):
        with pytest.raises(ArtifactError, match="here: not a readable thing file"):
            artifact.unpack(data[:length], "thing", 3, "here")


def test_stated_sizes_are_not_believed() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }"
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ArtifactError, match="not a readable thing file"):
        artifact.unpack(stream.getvalue(), "thing", 3, "here")


def test_compressed_members_are_refused() -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.zeros(10_000_000, np.uint8))
    with pytest.raises(ArtifactError, match="not a readable thing file"):
        artifact.unpack(stream.getvalue(), "thing", 3, "here")
