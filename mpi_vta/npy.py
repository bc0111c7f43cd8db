"""``.npy`` data read without believing its header: nothing is evaluated, nothing allocated by its word."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import InputError

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    r"\{'descr': '(?P<descr>[<>|=][a-zA-Z]\d*)', 'fortran_order': (?P<fortran>False|True), "
    r"'shape': \((?P<shape>[\d, ]*)\), \}\s*"
)


def read_npy(raw: bytes, what: str, where: str) -> NDArray[Any]:
    """Return the array in the bytes of an ``.npy`` file, read-only.

    Parameters
    ----------
    raw : bytes
        The whole file.
    what, where : str
        What the array is and the file it came from, for messages.

    Raises
    ------
    InputError
        If the header is not what `numpy.save` writes for plain data in row order, or does not fit the
        bytes that follow.
    """
    length_bytes = 2 if raw[6:7] == b"\x01" else 4
    begin = len(_MAGIC) + 2 + length_bytes
    body_begin = begin + int.from_bytes(raw[begin - length_bytes : begin], "little")
    header = _HEADER.fullmatch(raw[begin:body_begin].decode("latin-1"))
    if not raw.startswith(_MAGIC) or header is None:
        raise InputError(f"{what} is not a NumPy array", where=where, remedy="write it with numpy.save")
    shape = tuple(int(extent) for extent in header["shape"].split(",") if extent.strip())
    if header["descr"][1] not in "biufU" or (header["fortran"] == "True" and len(shape) > 1):
        raise InputError(f"{what} is not of plain numbers in row order", where=where, remedy="write it with numpy.save")
    try:
        dtype = np.dtype(header["descr"])
    except TypeError as fault:
        raise InputError(
            f"{what} is of the unknown type {header['descr']}", where=where, remedy="write it with numpy.save"
        ) from fault
    body = raw[body_begin:]
    if prod(shape) * dtype.itemsize != len(body):
        raise InputError(f"{what} is cut short or has bytes left over", where=where, remedy="write it again")
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype=dtype)
    return np.frombuffer(body, dtype=dtype).reshape(shape)


# damage, odd methods, encryption
ZIP_FAULTS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError)


def read_npz(raw: bytes, what: str, where: str, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays in the bytes of an ``.npz`` file by name, read-only.

    Parameters
    ----------
    raw : bytes
        The whole file.
    what, where : str
        What it holds and the file it came from, for messages.
    most_bytes : int
        Most bytes that all arrays together may take, whatever their headers say.

    Raises
    ------
    InputError
        If it is damaged, larger than that, or an array is not as `read_npy` wants it.
    """
    arrays: dict[str, NDArray[Any]] = {}
    left = most_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as member:
                    content = member.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise InputError(f"{what} are too large", where=where, allowed=f"{most_bytes} bytes unpacked")
                name = entry.filename.removesuffix(".npy")
                arrays[name] = read_npy(content, f"the array {name[:40]}", where)
    except ZIP_FAULTS as fault:
        raise InputError(
            f"cannot read {what} ({fault})",
            where=where,
            allowed="arrays by name",
            remedy="write it with numpy.savez",
        ) from fault
    return arrays
