"""Test vectors: a raw program, its initial DRAM and the DRAM that it must leave, in one ``.npz`` file.

Keys: ``config`` (JSON bytes), ``insns`` (n, 2) uint64; initial DRAM as segments ``dram_addr``,
``dram_size`` (k,) int64 and ``dram`` uint8, the segments' bytes one after another, all other bytes 0;
the expected DRAM likewise as ``out_addr``, ``out_size``, ``out``; ``rtl_cycles`` int64 (-1 if unknown);
``agreed``, the models that gave this result; ``modelled_cycles`` int64, what the model of time says (absent or -1 if
it was not asked).
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import open_regular, write_atomically
from mpi_vta.errors import InputError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import decode_columns
from mpi_vta.isa.table import Opcode
from mpi_vta.npy import read_npy
from mpi_vta.simulator.decoding import move_extent
from mpi_vta.simulator.rules import is_nop

MAX_FILE_BYTES = 1 << 30
MAX_DRAM_BYTES = 1 << 31

_REMEDY = "write it with `inspect export`"
# key -> (dtype, shape with None for any extent); `agreed` is text and read apart
_ARRAYS: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "config": ("u1", (None,)),
    "insns": ("u8", (None, 2)),
    "dram_addr": ("i8", (None,)),
    "dram_size": ("i8", (None,)),
    "dram": ("u1", (None,)),
    "out_addr": ("i8", (None,)),
    "out_size": ("i8", (None,)),
    "out": ("u1", (None,)),
    "rtl_cycles": ("i8", ()),
    "modelled_cycles": ("i8", ()),
}
_OPTIONAL = ("agreed", "modelled_cycles")


@dataclass(frozen=True, eq=False)
class Extent:
    """A segment of DRAM: its byte address and contents."""

    address: int
    content: NDArray[np.uint8]

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.address + self.content.size


@dataclass(frozen=True, eq=False)
class Vector:
    """A program with its initial and expected DRAM.

    Attributes
    ----------
    config : VTAConfig
        The build it was made for.
    insns : ndarray of uint64, shape (n, 2)
        Instructions, absolute addresses.
    initial, expected : tuple of Extent
        DRAM before, and the parts of it that are compared after.
    rtl_cycles : int
        Cycles from launch to FINISH on the RTL, -1 if unknown.
    agreed : str
        The models that gave the expected bytes, separated by commas.
    modelled_cycles : int
        The same by the profile ``rtl`` of `mpi_vta.simulator.timing` when the vector was made, -1 if unknown.
    """

    config: VTAConfig
    insns: NDArray[np.uint64]
    initial: tuple[Extent, ...]
    expected: tuple[Extent, ...]
    rtl_cycles: int = -1
    agreed: str = ""
    modelled_cycles: int = -1

    def image(self) -> NDArray[np.uint8]:
        """Return the initial DRAM as one array, index = byte address.

        Raises
        ------
        InputError
            If an address is beyond `MAX_DRAM_BYTES`.
        """
        columns = decode_columns(self.insns, self.config)
        moves = np.flatnonzero(np.isin(columns["opcode"], [Opcode.LOAD, Opcode.STORE]) & ~is_nop(columns))
        reach = int(move_extent(self.config, columns, moves)[2].max(initial=0))
        size = max([reach, *(extent.end for extent in (*self.initial, *self.expected))])
        if size > MAX_DRAM_BYTES:
            raise InputError(f"the program reaches DRAM byte {size}", allowed=f"at most {MAX_DRAM_BYTES}")
        image = np.zeros(size, dtype=np.uint8)
        for extent in self.initial:
            image[extent.address : extent.end] = extent.content
        return image

    def mismatched_bytes(self, image: NDArray[np.uint8]) -> int:
        """Return how many expected bytes a final DRAM image gets wrong."""
        return sum(
            int(np.count_nonzero(image[extent.address : extent.end] != extent.content)) for extent in self.expected
        )

    def save(self, path: Path) -> None:
        """Write the vector to a file."""
        stream = io.BytesIO()
        arrays: dict[str, Any] = {
            "config": np.frombuffer(json.dumps(self.config.to_dict()).encode(), dtype=np.uint8),
            "insns": self.insns,
            "rtl_cycles": np.int64(self.rtl_cycles),
            "agreed": np.array(self.agreed),
            "modelled_cycles": np.int64(self.modelled_cycles),
            **_flatten("dram", self.initial),
            **_flatten("out", self.expected),
        }
        np.savez_compressed(stream, **arrays)
        write_atomically(path, stream.getvalue(), "the vector")

    @classmethod
    def load(cls, path: Path) -> Vector:
        """Read a vector file, trusting none of its headers.

        Raises
        ------
        InputError
            If the file cannot be read, is damaged, or its arrays do not fit together.
        ConfigError
            If the configuration in it is illegal.
        """
        where = str(path)
        arrays = _read_arrays(path, where)
        try:
            config_data = json.loads(arrays["config"].tobytes())
        except ValueError as fault:
            raise InputError("its config is not JSON", where=where, remedy=_REMEDY) from fault
        return cls(
            VTAConfig.from_dict(config_data, where=f"{where}: config"),
            arrays["insns"],
            _extents("dram", arrays, where),
            _extents("out", arrays, where),
            int(arrays["rtl_cycles"]),
            str(arrays["agreed"]) if "agreed" in arrays else "",
            int(arrays["modelled_cycles"]) if "modelled_cycles" in arrays else -1,
        )


def _flatten(name: str, extents: Sequence[Extent]) -> dict[str, NDArray[Any]]:
    contents = [extent.content for extent in extents]
    return {
        f"{name}_addr": np.array([extent.address for extent in extents], dtype=np.int64),
        f"{name}_size": np.array([extent.content.size for extent in extents], dtype=np.int64),
        name: np.concatenate([np.zeros(0, dtype=np.uint8), *contents]),
    }


def _extents(name: str, arrays: dict[str, NDArray[Any]], where: str) -> tuple[Extent, ...]:
    addresses, sizes, content = arrays[f"{name}_addr"].tolist(), arrays[f"{name}_size"].tolist(), arrays[name]
    if len(addresses) != len(sizes) or min(sizes, default=0) < 0 or sum(sizes) != content.size:
        raise InputError(f"its {name} segments do not add up", where=where, remedy=_REMEDY)
    if any(not 0 <= address <= MAX_DRAM_BYTES - size for address, size in zip(addresses, sizes, strict=True)):
        raise InputError(f"a {name} segment lies outside DRAM", where=where, allowed=f"0..{MAX_DRAM_BYTES}")
    extents, begin = [], 0
    for address, size in zip(addresses, sizes, strict=True):
        extents.append(Extent(address, content[begin : begin + size]))
        begin += size
    return tuple(extents)


def _read_arrays(path: Path, where: str) -> dict[str, NDArray[Any]]:
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            present = set(archive.namelist())
            missing = [key for key in _ARRAYS if f"{key}.npy" not in present and key not in _OPTIONAL]
            if missing:
                raise InputError(f"it has no {', '.join(missing)}", where=where, remedy=_REMEDY)
            names = [key for key in dict.fromkeys((*_ARRAYS, *_OPTIONAL)) if f"{key}.npy" in present]
            arrays, left = {}, MAX_FILE_BYTES
            for name in names:
                with archive.open(f"{name}.npy") as member:
                    raw = member.read(left + 1)
                left -= len(raw)
                if left < 0:
                    raise InputError("it is too large", where=where, allowed=f"{MAX_FILE_BYTES} bytes unpacked")
                arrays[name] = _array(name, raw, where)
    except OSError as fault:
        raise InputError(
            f"cannot read the vector ({fault.strerror or fault})", where=where, allowed="a file that can be read"
        ) from fault
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as fault:
        raise InputError(f"not a readable vector file ({fault})", where=where, remedy=_REMEDY) from fault
    return arrays


def _array(name: str, raw: bytes, where: str) -> NDArray[Any]:
    """Read one member and check its type and shape."""
    array = read_npy(raw, f"its {name}", where)
    if name == "agreed":
        if array.dtype.kind != "U" or array.shape:
            raise InputError(f"its agreed is {array.dtype} of shape {array.shape}", where=where, allowed="one text")
        return array
    want_dtype, want_shape = _ARRAYS[name]
    fits = array.ndim == len(want_shape) and all(
        want in (None, extent) for want, extent in zip(want_shape, array.shape, strict=True)
    )
    if array.dtype != np.dtype(f"<{want_dtype}") or not fits:
        wanted = ", ".join("any" if extent is None else str(extent) for extent in want_shape)
        raise InputError(
            f"its {name} is {array.dtype} of shape {array.shape}",
            where=where,
            allowed=f"{np.dtype(want_dtype)} of shape ({wanted})",
        )
    return array
