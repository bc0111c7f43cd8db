"""Micro-op lists into the uop buffer: few loads, each bringing what the coming instructions need."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.stream import Entry
from mpi_vta.errors import CompileError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import encode_uops
from mpi_vta.isa.table import MemoryType, Opcode, Unit

UOP_SEGMENT = "const.uop"


@dataclass
class _Buffer:
    """The uop buffer while the program is walked: where each list lies, and the DRAM image so far."""

    depth: int
    resident: dict[bytes, int] = field(default_factory=dict)
    used: int = 0
    dram: list[NDArray[np.uint32]] = field(default_factory=list)
    dram_size: int = 0


def place_uops(entries: list[Entry], config: VTAConfig) -> tuple[list[Entry], NDArray[np.uint8]]:
    """Fill in the micro-op ranges, inserting a UOP load wherever a list is missing.

    A load fetches the missing lists of the rest of the layer as far as they fit; when the buffer is full
    it starts over. The compute unit runs in order, so no tokens are needed.

    Returns
    -------
    entries : list of Entry
        Program with loads inserted.
    dram : ndarray of uint8
        Content of the `UOP_SEGMENT`.
    """
    buffer = _Buffer(config.uop_depth)
    encoded = [None if e.uops is None else encode_uops(*e.uops, config) for e in entries]
    keys = [None if uops is None else uops.tobytes() for uops in encoded]
    result: list[Entry] = []
    for index, entry in enumerate(entries):
        uops, key = encoded[index], keys[index]
        if uops is not None and key is not None:
            if len(uops) > buffer.depth:
                raise CompileError(f"{len(uops)} micro-ops in one instruction", allowed=f"{buffer.depth}")
            if key not in buffer.resident:
                result.append(_fetch(entries, encoded, keys, index, buffer))
            first = buffer.resident[key]
            entry.fields["uop_bgn"], entry.fields["uop_end"] = first, first + len(uops)
        result.append(entry)
    image = np.concatenate(buffer.dram) if buffer.dram else np.zeros(0, dtype=np.uint32)
    return result, image.view(np.uint8)


def _fetch(
    entries: list[Entry],
    encoded: list[NDArray[np.uint32] | None],
    keys: list[bytes | None],
    index: int,
    buffer: _Buffer,
) -> Entry:
    """Bring the missing lists from `index` to the end of its layer; return the load."""
    needed = encoded[index]
    if needed is not None and buffer.used + len(needed) > buffer.depth:
        buffer.resident.clear()
        buffer.used = 0
    start, first = buffer.used, buffer.dram_size
    layer = entries[index].layer
    for later in range(index, len(entries)):
        uops, key = encoded[later], keys[later]
        if entries[later].layer != layer:
            break
        if uops is None or key is None or key in buffer.resident:
            continue
        if buffer.used + len(uops) > buffer.depth:
            break
        buffer.resident[key] = buffer.used
        buffer.used += len(uops)
        buffer.dram.append(uops)
        buffer.dram_size += len(uops)
    fields = {
        "memory_type": int(MemoryType.UOP),
        "sram_base": start,
        "dram_base": first,
        "y_size": 1,
        "x_size": buffer.used - start,
        "x_stride": buffer.used - start,
    }
    return Entry(Opcode.LOAD, Unit.COMPUTE, fields, UOP_SEGMENT, layer, None)
