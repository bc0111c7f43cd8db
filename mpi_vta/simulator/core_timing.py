"""Cycles of our own core, exact: what `mpi_vta.gateware` does, as times instead of states.

Times are cycles after that of the start. A pass of the compute unit takes one slot a cycle; tokens and FINISH follow
its last slot down the pipeline. Loads ask for a burst a cycle; a memory that is always ready answers in order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import SimulationError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import AluOpcode, MemoryType, Opcode, Unit
from mpi_vta.simulator.bursts import split_rows
from mpi_vta.simulator.core_memory import (
    BEAT_TO_WRITE_CYCLES,
    NEVER,
    QUEUE_CYCLES,
    CoreReadChannel,
    InstructionFetch,
    LoadStream,
)
from mpi_vta.simulator.decoding import Indices, element_bytes
from mpi_vta.simulator.profile import TimingProfile
from mpi_vta.simulator.tokens import CAUSE_OF_UNIT, Cause, Columns, TokenMatch, waiting_units

_MOST_CLIPS = 2

# from a cycle to another that follows it
TAKE_TO_REQUEST_CYCLES = 2  # a LOAD is taken, to its first burst is asked for
TAKE_TO_BEAT_CYCLES = 4  # a STORE is taken, to its first beat stands at the memory
ANSWER_TO_END_CYCLES = 2  # the last burst is answered, to the STORE ends


class CoreSimulation:
    """One simulation.

    Parameters
    ----------
    config : VTAConfig
        The build.
    columns, match, nop
        The program, decoded.
    profile : TimingProfile
        The memory's latency and bandwidth, and the depths of the core's queues.
    bus_bytes : int
        Width of the bus.

    Attributes
    ----------
    start, end, cause : list of int
        By instruction: the cycle in which its unit takes it, the last one before the unit can take another, and the
        `Cause` of its start. Of instructions that share a pass, the last one is given the pass.
    """

    def __init__(
        self,
        config: VTAConfig,
        columns: Columns,
        match: TokenMatch,
        nop: NDArray[np.bool_],
        profile: TimingProfile,
        bus_bytes: int,
    ) -> None:
        count = columns["opcode"].size
        self._columns, self._match, self._profile = columns, match, profile
        self.start, self.end, self.cause = [-1] * count, [-1] * count, [0] * count
        # the first cycle in which its token can be taken
        self._given = [-1] * count
        self._unit = columns["unit"].tolist()
        self._opcode, self._nop = columns["opcode"].tolist(), nop.tolist()
        self._memory = columns["memory_type"].tolist()
        self._slots = _slots(columns).tolist()
        self._clips = _clips(columns).tolist()
        self._members = [np.flatnonzero(columns["unit"] == kind).tolist() for kind in Unit]
        self._producers = [tuple(p for p in row if p != -1) for row in match.producer.tolist()]
        self._next, self._free, self._waits_for = [0, 0, 0], [0, 0, 0], [-1, -1, -1]
        self._drained = 0
        self._pending: set[int] = set()
        self._load_index, self._first, self._beats = _load_bursts(config, columns, nop, bus_bytes, profile)
        self._padding = _padding_steps(columns).tolist()
        lanes = np.maximum(1, config.out_bytes // bus_bytes)
        self._store_beats = (columns["x_size"] * columns["y_size"] * lanes).tolist()
        self._write_free = 0
        self._channel = CoreReadChannel(profile)
        self._fetch = InstructionFetch(count, profile, bus_bytes)
        self._streams = [LoadStream() for _ in Unit]

    def complete(self) -> None:
        """Run to the end; raises `SimulationError` if the program deadlocks."""
        fetch, channel = self._fetch, self._channel
        load, compute = self._streams[Unit.LOAD], self._streams[Unit.COMPUTE]
        while True:
            first = min(fetch.ready, compute.ready, load.ready)
            if first == NEVER:
                break
            cycle = channel.earliest(first)
            if fetch.ready <= cycle:
                fetch.arrive(cycle, channel.grant(cycle, fetch.beats))
                self._dispatch()
                self._settle()
                continue
            unit = Unit.COMPUTE if compute.ready <= cycle else Unit.LOAD
            stream = self._streams[unit]
            begin = channel.grant(cycle, self._beats[stream.position])
            last = begin + (self._beats[stream.position] - 1) * channel.beat_cycles
            stream.total += self._beats[stream.position]
            stream.position += 1
            stream.ready = cycle + 1
            if stream.position == stream.last:
                stream.ready = NEVER
                self._loaded(unit, stream, last + BEAT_TO_WRITE_CYCLES)
        if -1 in self.end:
            waits = waiting_units(self._columns, self._match, self._members, self._next, self.end, self._depth)
            raise SimulationError(
                "the program deadlocks: " + ", ".join(waits),
                remedy="give every pop a push that does not wait for it, and keep fewer than "
                f"{self._depth} instructions of a unit ahead of what unblocks it",
            )

    @property
    def _depth(self) -> int:
        return self._profile.queue_depth

    def _loaded(self, unit: int, stream: LoadStream, last_write: int) -> None:
        """End a load: zeros are written in the cycles without data."""
        index, padding = stream.index, self._padding[stream.index]
        done = last_write
        if padding:
            done = max(done, self.start[index] + TAKE_TO_REQUEST_CYCLES - 1 + stream.total + padding)
        self._finish(index, done + 1, done + 1)
        self._pending.add(unit)
        self._settle()

    def _dispatch(self) -> None:
        """Hand out instructions while the next one has come and the unit's queue has room."""
        fetch = self._fetch
        while fetch.can_give():
            index = fetch.given
            unit = self._unit[index]
            room, ahead = 0, fetch.ranks[unit] - self._depth
            if ahead >= 0:
                taken = self.start[self._members[unit][ahead]]
                if taken < 0:
                    return
                room = taken + 1
            fetch.give(unit, room)
            self._pending.add(unit)

    def _settle(self) -> None:
        """Take and end whatever can at a known time, until only bursts can change anything."""
        while self._pending:
            while self._pending:
                self._advance(self._pending.pop())
            self._dispatch()

    def _advance(self, unit: int) -> None:
        members, stream = self._members[unit], self._streams[unit]
        while stream.index < 0 and self._next[unit] < len(members):
            index = members[self._next[unit]]
            if not self._try_start(index, unit):
                return
            self._execute(index, unit, stream)

    def _try_start(self, index: int, unit: int) -> bool:
        clips = self._clips[index]
        if index + clips >= self._fetch.given:
            return False
        start, cause = self._fetch.times[index] + QUEUE_CYCLES, int(Cause.FETCH)
        free = self._free[unit]
        if self._opcode[index] == Opcode.LOAD and self._memory[index] == MemoryType.ACC and not self._nop[index]:
            free = max(free, self._drained)
        if free >= start:
            start, cause = free, int(Cause.UNIT)
        for producer in self._producers[index]:
            given = self._given[producer] if producer >= 0 else -1
            if given < 0:
                self._waits_for[unit] = producer
                return False
            if given > start:
                start, cause = given, CAUSE_OF_UNIT[self._unit[producer]]
        self.start[index], self.cause[index] = start, cause
        return True

    def _execute(self, index: int, unit: int, stream: LoadStream) -> None:
        start, opcode = self.start[index], self._opcode[index]
        if opcode in (Opcode.GEMM, Opcode.ALU):
            clips = self._clips[index]
            for _ in range(clips):
                self._finish(index, start, start, is_last=False)
                index += 1
                start = max(start + 1, self._fetch.times[index] + QUEUE_CYCLES)
                self.start[index] = start
            last = start + self._slots[index]
            self._finish(index, last, last)
            # what is clipped is written later: one cycle between it and the next pass
            self._free[unit] += clips > 0
        elif opcode == Opcode.FINISH:
            self._finish(index, start + self._profile.pipeline_cycles, start)
        elif self._nop[index]:
            # outside the compute unit it takes the state in which a move ends
            end = start if unit == Unit.COMPUTE else start + 1
            self._finish(index, end, end)
        elif unit == Unit.STORE:
            beat_cycles = self._channel.beat_cycles
            first = max(start + TAKE_TO_BEAT_CYCLES, self._write_free)
            last = first + (self._store_beats[index] - 1) * beat_cycles
            self._write_free = last + beat_cycles
            end = last + self._profile.write_latency_cycles + ANSWER_TO_END_CYCLES
            self._finish(index, end, end)
        else:
            load = self._load_index[index]
            stream.index, stream.total = index, 0
            stream.position, stream.last = self._first[load], self._first[load + 1]
            stream.ready = start + TAKE_TO_REQUEST_CYCLES

    def _finish(self, index: int, end: int, last_slot: int, is_last: bool = True) -> None:
        """Note an end, and when the tokens are there that follow the last slot."""
        unit = self._unit[index]
        self.end[index] = end
        self._free[unit] = end + 1
        self._given[index] = last_slot + 1
        if unit == Unit.COMPUTE:
            self._given[index] += self._profile.pipeline_cycles
            self._drained = self._given[index]
        self._streams[unit].index = -1
        self._next[unit] += 1
        if is_last:
            for other in (Unit.LOAD, Unit.COMPUTE, Unit.STORE):
                if self._waits_for[other] == index:
                    self._pending.add(other)


def _slots(columns: Columns) -> Indices:
    """Return the slots of each GEMM and ALU instruction."""
    uops = columns["uop_end"] - columns["uop_bgn"]
    trips = columns["iter_out"] * columns["iter_in"] * uops
    register = (columns["opcode"] == Opcode.ALU) & (columns["use_imm"] == 0)
    pairs = (
        (columns["opcode"] == Opcode.GEMM)
        & (columns["reset"] == 1)
        & (uops == 1)
        & (columns["iter_out"] == 1)
        & (columns["dst_factor_in"] == 1)
    )
    slots: Indices = np.where(register, 2 * trips, np.where(pairs, (trips + 1) // 2, trips))
    return slots


def _clips(columns: Columns) -> Indices:
    """Return how many of the instructions behind each one are done in its pass.

    They are MIN and MAX with an immediate on the same distinct rows, with no token in between.
    """
    if columns["opcode"].size < 2:
        return np.zeros(columns["opcode"].size, dtype=np.int64)
    alu = (columns["opcode"] == Opcode.ALU) & (columns["use_imm"] == 1)
    distinct = (columns["uop_end"] - columns["uop_bgn"] == 1) & (columns["iter_out"] == 1)
    distinct = distinct & (columns["dst_factor_in"] != 0)
    silent = (columns["push_prev"] == 0) & (columns["push_next"] == 0)
    clip = np.isin(columns["alu_opcode"], [AluOpcode.MIN, AluOpcode.MAX])
    unasked = (columns["pop_prev"] == 0) & (columns["pop_next"] == 0)
    joins = (alu & distinct & silent)[:-1] & (alu & clip & unasked)[1:]
    loops = ("reset", "uop_bgn", "uop_end", "iter_out", "iter_in")
    factors = ("dst_factor_out", "dst_factor_in", "src_factor_out", "src_factor_in")
    for name in (*loops, *factors):
        joins = joins & (columns[name][:-1] == columns[name][1:])
    counts = [0] * alu.size
    index, found = 0, joins.tolist()
    while index < len(found):
        while index + counts[index] < len(found) and counts[index] < _MOST_CLIPS and found[index + counts[index]]:
            counts[index] += 1
        index += counts[index] + 1
    return np.array(counts, dtype=np.int64)


def _padding_steps(columns: Columns) -> Indices:
    """Return the steps of a load's zeros: runs above, between, below the rows; of the outer ones an empty one too."""
    x, sides = columns["x_size"], columns["x_pad_0"] + columns["x_pad_1"]
    above = columns["y_pad_0"] * (x + sides) + columns["x_pad_0"]
    below = columns["y_pad_1"] * (x + sides) + columns["x_pad_1"]
    steps = np.maximum(above, 1) + (columns["y_size"] - 1) * sides + np.maximum(below, 1)
    padding: Indices = np.where(above + below > 0, steps, 0)
    return padding


def _load_bursts(
    config: VTAConfig, columns: Columns, nop: NDArray[np.bool_], bus_bytes: int, profile: TimingProfile
) -> tuple[list[int], list[int], list[int]]:
    """Return each load's number, where its bursts begin among those of all loads, and their beats.

    Rows without a gap between them are one run; a beat is an element where that is narrower than the bus.
    """
    loads = np.flatnonzero((columns["opcode"] == Opcode.LOAD) & ~nop)
    memory = columns["memory_type"][loads]
    sizes = np.ones(8, dtype=np.int64)
    for kind, element in element_bytes(config).items():
        sizes[kind] = element
    size = sizes[memory]
    is_uop = memory == MemoryType.UOP
    beat_bytes = np.where(is_uop, bus_bytes, np.minimum(size, bus_bytes))
    x, y, stride = (columns[name][loads] for name in ("x_size", "y_size", "x_stride"))
    together = (x == stride) | (y == 1)
    begin = columns["dram_base"][loads] * size
    run_bytes = np.where(together, x * y, x) * size
    first = begin // beat_bytes
    beats = (begin + run_bytes - 1) // beat_bytes - first + 1
    pieces = split_rows(first, beats, stride * size // beat_bytes, np.where(together, 1, y), profile.burst_beats)
    counts = np.bincount(pieces[0].astype(np.intp), minlength=loads.size)
    index = np.full(columns["opcode"].size, -1, dtype=np.int64)
    index[loads] = np.arange(loads.size)
    return index.tolist(), np.concatenate([[0], np.cumsum(counts)]).tolist(), pieces[2].tolist()
