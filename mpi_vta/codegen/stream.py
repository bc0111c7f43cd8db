"""The instruction stream under construction: accesses are declared, dependence tokens follow from them.

An instruction names the SRAM and DRAM ranges that it touches. Where it must wait for an earlier
instruction of another unit, the pair gets one push and one pop on the queue between the two units.
Both sides are taken in rising order, so the k-th pop always meets the k-th push, and every wait
points backwards in program order, so a fetched stream cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import Instruction
from mpi_vta.isa.table import MemoryType, Opcode, Unit, unit_of

UopList = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Access:
    """A range of elements [low, high) of a tracked space: ``inp``, ``wgt``, ``out`` or ``dram``."""

    space: str
    low: int
    high: int


@dataclass
class Entry:
    """An emitted instruction whose token flags and micro-op range are still open."""

    opcode: Opcode
    unit: Unit
    fields: dict[str, int]
    segment: str
    layer: int
    uops: UopList | None


_FLAGS: Mapping[tuple[Unit, Unit], tuple[str, str]] = {
    # (producer, consumer) -> (producer's push flag, consumer's pop flag)
    (Unit.LOAD, Unit.COMPUTE): ("push_next", "pop_prev"),
    (Unit.COMPUTE, Unit.LOAD): ("push_prev", "pop_next"),
    (Unit.COMPUTE, Unit.STORE): ("push_next", "pop_prev"),
    (Unit.STORE, Unit.COMPUTE): ("push_prev", "pop_next"),
}


class Stream:
    """Collects instructions in program order and synchronises the three units.

    Parameters
    ----------
    config : VTAConfig
        Sizes of the tracked buffers.
    dram_elements : int
        Size of the tracked (re-used) DRAM, in inp elements.
    """

    def __init__(self, config: VTAConfig, dram_elements: int) -> None:
        self.config = config
        self.entries: list[Entry] = []
        self.layer = -1
        sizes = {"inp": config.inp_depth, "wgt": config.wgt_depth, "out": config.acc_depth, "dram": dram_elements}
        self._writer = {space: np.full(size, -1, dtype=np.int64) for space, size in sizes.items()}
        self._reader = {space: np.full(size, -1, dtype=np.int64) for space, size in sizes.items()}
        self._synced = dict.fromkeys(_FLAGS, -1)
        # (store, compute) pairs: from that compute instruction on, that store is known to be complete
        self._store_seen: list[tuple[int, int]] = []

    def emit(
        self,
        opcode: Opcode,
        fields: Mapping[str, int],
        *,
        segment: str = "",
        uops: UopList | None = None,
        reads: Sequence[Access] = (),
        writes: Sequence[Access] = (),
    ) -> int:
        """Append an instruction and return its index.

        Parameters
        ----------
        opcode, fields
            The instruction, without token flags and micro-op range.
        segment : str
            DRAM segment that ``dram_base`` counts from, for LOAD and STORE.
        uops : tuple of ndarray, optional
            (dst, src, wgt) of the micro-op list; the range is filled in later.
        reads, writes : sequence of Access
            Ranges that other units may touch too.
        """
        unit = unit_of(opcode, fields.get("memory_type", 0))
        waits = [(self._writer, access) for access in reads]
        waits += [(table, access) for access in writes for table in (self._writer, self._reader)]
        needed = {other: -1 for other in Unit if other != unit}
        for table, access in waits:
            latest = int(table[access.space][access.low : access.high].max())
            if latest >= 0:
                other = self.entries[latest].unit
                if other != unit:
                    needed[other] = max(needed[other], latest)
        if unit == Unit.LOAD and needed[Unit.STORE] >= 0:
            needed[Unit.COMPUTE] = max(needed[Unit.COMPUTE], self._relay(needed[Unit.STORE]))
        index = len(self.entries)
        self.entries.append(Entry(opcode, unit, dict(fields), segment, self.layer, uops))
        for other, producer in needed.items():
            if (other, unit) in _FLAGS:
                self._wait(producer, index)
        for access in reads:
            self._reader[access.space][access.low : access.high] = index
        for access in writes:
            self._writer[access.space][access.low : access.high] = index
            self._reader[access.space][access.low : access.high] = -1
        return index

    def _wait(self, producer: int, consumer: int) -> None:
        """Make `consumer` wait for `producer` unless an earlier token already orders them."""
        if producer < 0:
            return
        queue = (self.entries[producer].unit, self.entries[consumer].unit)
        if producer <= self._synced[queue]:
            return
        push, pop = _FLAGS[queue]
        self.entries[producer].fields[push] = 1
        self.entries[consumer].fields[pop] = 1
        self._synced[queue] = producer
        if queue == (Unit.STORE, Unit.COMPUTE):
            self._store_seen.append((producer, consumer))

    def _relay(self, store: int) -> int:
        """Return a compute instruction that runs after `store`: no queue joins store and load directly."""
        for seen, compute in self._store_seen:
            if seen >= store:
                return compute
        relay = self.emit(Opcode.LOAD, {"memory_type": MemoryType.UOP})
        self._wait(store, relay)
        return relay

    def finish(self) -> None:
        """Append FINISH, waiting for the last store."""
        index = self.emit(Opcode.FINISH, {})
        stores = [i for i, entry in enumerate(self.entries) if entry.unit == Unit.STORE]
        if stores:
            self._wait(stores[-1], index)

    def instructions(self) -> list[Instruction]:
        """Return the finished instructions."""
        return [Instruction(entry.opcode, entry.fields) for entry in self.entries]
