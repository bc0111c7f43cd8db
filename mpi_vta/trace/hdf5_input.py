"""Parts of an HDF5 file that somebody else may have written: types and sizes are checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

# what h5py raises for a file that is damaged or lacks a part
HDF5_FAULTS = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError, MemoryError)
# A dataset may be larger in memory than in the file by so much: far more than traces compress
_FREE_BYTES = 1 << 26
_MOST_RATIO = 64

_KINDS: Mapping[str, tuple[str, int]] = {
    "int": ("iub", 0),
    "float": ("iubf", 0),
    "ints": ("iu", 1),
    "floats": ("iuf", 1),
}


def read_rows(group: h5py.Group, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a table of records.

    Raises
    ------
    ValueError
        If it is something else, lies outside of the file, or claims to be far larger than the file.
    """
    data = _dataset(group, name)
    if data.ndim != 1 or data.dtype.names != dtype.names:
        raise ValueError(f"{name} is not a table of {', '.join(dtype.names or ())}")
    for field in dtype.names or ():
        if not np.can_cast(data.dtype[field], dtype[field], "safe"):
            raise ValueError(f"{field} of {name} is of type {data.dtype[field]}, not {dtype[field]}")
    rows: NDArray[Any] = data[:].astype(dtype, copy=False)
    return rows


def read_text(group: h5py.Group, name: str) -> str:
    """Return a single text; raises as `read_rows`."""
    data = _dataset(group, name)
    if data.ndim != 0 or h5py.check_string_dtype(data.dtype) is None:
        raise ValueError(f"{name} is not a text")
    return str(data.asstr()[()])


def members(group: h5py.Group, name: str) -> Iterable[h5py.Group]:
    """Yield the groups in a group."""
    outer = _member(group, name, h5py.Group)
    for each in outer:
        yield _member(outer, each, h5py.Group)


def read_attributes(owner: Any, wanted: Mapping[str, str], what: str) -> dict[str, Any]:
    """Return all attributes of a group or dataset, of which some must be there.

    Parameters
    ----------
    owner : h5py.Group or h5py.Dataset
        Whose attributes.
    wanted : mapping of str to str
        Kind of each that must be there: ``int``, ``float``, ``str``, or several as ``ints``, ``floats``, ``strs``.
    what : str
        The owner, for messages.

    Raises
    ------
    ValueError
        If one is missing or of another kind.
    """
    found = dict(owner.attrs)
    for name, kind in wanted.items():
        if name not in found:
            raise ValueError(f"{what} lacks its attribute {name}")
        if not _is_of_kind(found[name], kind):
            raise ValueError(f"attribute {name} of {what} is not of kind {kind}")
    return found


def _is_of_kind(value: Any, kind: str) -> bool:
    if kind == "str":
        return isinstance(value, str)
    array = np.asarray(value)
    if kind == "strs":
        # an empty list of texts is stored as one of numbers
        return array.ndim == 1 and (not array.size or all(isinstance(each, str) for each in array.tolist()))
    kinds, ndim = _KINDS[kind]
    return array.ndim == ndim and (array.dtype.kind in kinds or not array.size) and bool(np.isfinite(array).all())


def _member(group: h5py.Group, name: str, kind: type) -> Any:
    """Return a member that lies in this very file: no link to elsewhere is followed."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is not there, or a link to elsewhere")
    found = group[name]
    if not isinstance(found, kind):
        raise ValueError(f"{name} is not a {kind.__name__.lower()}")
    return found


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    data = _member(group, name, h5py.Dataset)
    if data.external or data.is_virtual:
        raise ValueError(f"{name} keeps its data in another file")
    if data.shape is None:
        raise ValueError(f"{name} is empty")
    stored = data.id.get_storage_size()
    if data.size * data.dtype.itemsize > _FREE_BYTES + _MOST_RATIO * stored:
        raise ValueError(f"{name} claims {data.size} rows, and the file holds {stored} bytes of them")
    return data
