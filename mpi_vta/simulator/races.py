"""Race detection: two units that touch the same bytes, one of them writing, with no chain of tokens between.

Hardware would then give one result or another, depending on memory timing. A vector clock per instruction
counts how many instructions of each unit are surely over when it starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.isa.table import MemoryType, Opcode, Unit
from mpi_vta.simulator.decoding import Decoded, Indices, element_bytes, move_extent
from mpi_vta.simulator.tokens import Columns, breach, describe


def order_clocks(decoded: Decoded) -> Indices:
    """Return how many instructions of each unit are over before each instruction starts.

    Returns
    -------
    ndarray of int64, shape (n, 3)
        Columns by `Unit`; what tokens and the order within units guarantee, whatever the timing.
    """
    unit = decoded.columns["unit"].tolist()
    producers = [[p for p in row if p >= 0] for row in decoded.tokens.producer.tolist()]
    before: list[tuple[int, int, int]] = [(0, 0, 0)] * len(unit)
    after: list[tuple[int, int, int]] = [(0, 0, 0)] * len(unit)
    latest = [(0, 0, 0)] * len(Unit)
    for index in decoded.order.tolist():
        own = unit[index]
        clock = latest[own]
        for producer in producers[index]:
            other = after[producer]
            clock = (max(clock[0], other[0]), max(clock[1], other[1]), max(clock[2], other[2]))
        before[index] = clock
        done = list(clock)
        done[own] += 1
        after[index] = latest[own] = (done[0], done[1], done[2])
    return np.array(before, dtype=np.int64).reshape(-1, len(Unit))


class _Region:
    """The last access of each unit to each place of a memory, as 1 + the position within the unit."""

    def __init__(self, name: str, size: int, readers: tuple[Unit, ...], writer: Unit) -> None:
        self.name = name
        self.writer = writer
        self.written = np.zeros(size, dtype=np.int32)
        self.read = {reader: np.zeros(size, dtype=np.int32) for reader in readers}


class _Detector:
    def __init__(self, decoded: Decoded) -> None:
        self._decoded = decoded
        self._before = order_clocks(decoded)
        unit = decoded.columns["unit"]
        self._members = [np.flatnonzero(unit == kind) for kind in Unit]
        self._position = np.zeros(unit.size, dtype=np.int64)
        for members in self._members:
            self._position[members] = np.arange(members.size)

    def writes(self, region: _Region, index: int, select: Any) -> None:
        """Check a write against earlier reads of other units, and record it."""
        for reader, last in region.read.items():
            self._check(region, index, reader, last, select, "written", "read")
        region.written[select] = self._position[index] + 1

    def reads(self, region: _Region, index: int, reader: Unit, select: Any) -> None:
        """Check a read against earlier writes of the other unit, and record it."""
        self._check(region, index, region.writer, region.written, select, "read", "written")
        region.read[reader][select] = self._position[index] + 1

    def _check(
        self, region: _Region, index: int, other: Unit, last: NDArray[np.int32], select: Any, now: str, then: str
    ) -> None:
        latest = int(last[select].max())
        if latest > self._before[index, other]:
            culprit = int(self._members[other][latest - 1])
            raise breach(
                self._decoded.columns,
                index,
                f"race: {region.name} {now} here is {then} by {describe(self._decoded.columns, culprit)}, "
                "and no chain of tokens orders the two",
                remedy="make one wait for a token that the other pushes",
            )


def check_races(decoded: Decoded) -> None:
    """Refuse programs in which two units touch the same bytes unordered, one of them writing.

    Raises
    ------
    SimulationError
        Naming both instructions.
    """
    detector = _Detector(decoded)
    _check_buffers(decoded, detector)
    _check_dram(decoded, detector)


def _check_buffers(decoded: Decoded, detector: _Detector) -> None:
    config, columns = decoded.config, decoded.columns
    inp = _Region("inp", config.inp_depth, (Unit.COMPUTE,), Unit.LOAD)
    wgt = _Region("wgt", config.wgt_depth, (Unit.COMPUTE,), Unit.LOAD)
    out = _Region("out", config.acc_depth, (Unit.STORE,), Unit.COMPUTE)
    loaded = {int(MemoryType.INP): inp, int(MemoryType.WGT): wgt}
    extent = move_extent(config, columns, np.arange(decoded.nop.size))[0].tolist()
    names = ("opcode", "memory_type", "sram_base", "reset")
    table = np.stack([columns[name] for name in names], axis=1).tolist()
    nop = decoded.nop.tolist()
    for index in decoded.order.tolist():
        if nop[index]:
            continue
        opcode, memory, base, reset = table[index]
        operands = decoded.operands[index]
        if opcode == Opcode.LOAD and memory in loaded:
            detector.writes(loaded[memory], index, slice(base, base + extent[index]))
        elif opcode == Opcode.STORE:
            detector.reads(out, index, Unit.STORE, slice(base, base + extent[index]))
        elif operands is not None and not reset:
            if opcode == Opcode.GEMM:
                detector.reads(inp, index, Unit.COMPUTE, operands.sources)
                detector.reads(wgt, index, Unit.COMPUTE, operands.weights)
            detector.writes(out, index, operands.written)


def _check_dram(decoded: Decoded, detector: _Detector) -> None:
    """Only bytes between the first and the last that a STORE touches can race."""
    config, columns = decoded.config, decoded.columns
    moves = np.isin(columns["opcode"], [Opcode.LOAD, Opcode.STORE]) & ~decoded.nop
    _, begin, end = move_extent(config, columns, np.arange(decoded.nop.size))
    stores = moves & (columns["opcode"] == Opcode.STORE)
    if not stores.any():
        return
    low, high = int(begin[stores].min()), int(end[stores].max())
    # no move begins or ends within a granule
    granule = min(config.uop_bytes, config.out_bytes)
    low -= low % granule
    dram = _Region("DRAM", -(-(high - low) // granule), (Unit.LOAD, Unit.COMPUTE), Unit.STORE)
    near = moves & (begin < high) & (end > low)
    size_of = np.ones(8, dtype=np.int64)
    for kind, size in element_bytes(config).items():
        size_of[kind] = size
    for index in decoded.order[near[decoded.order]].tolist():
        per_element = int(size_of[columns["memory_type"][index]]) // granule
        select = _granules(columns, index, per_element, low // granule, dram.written.size)
        if stores[index]:
            detector.writes(dram, index, select)
        elif select.size:
            detector.reads(dram, index, Unit(int(columns["unit"][index])), select)


def _granules(columns: Columns, index: int, per_element: int, low: int, count: int) -> Indices:
    """Return the granules that a move touches within a region of `count` that begins at granule `low`."""
    fields = ("dram_base", "y_size", "x_size", "x_stride")
    base, rows, width, stride = (int(columns[name][index]) for name in fields)
    first = (base + np.arange(rows) * stride) * per_element - low
    granules = (first[:, None] + np.arange(width * per_element)).reshape(-1)
    return granules[(granules >= 0) & (granules < count)]
