"""Cycles of an instruction stream: fetch, queues, tokens, units and the shared read channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import SimulationError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import decode_columns
from mpi_vta.isa.table import MemoryType, Unit
from mpi_vta.simulator.bursts import BurstCosts, instruction_costs
from mpi_vta.simulator.channel import UNIT_REQUEST_INTERVAL_CYCLES, ReadChannel
from mpi_vta.simulator.core_timing import CoreSimulation
from mpi_vta.simulator.decoding import Indices
from mpi_vta.simulator.profile import HLS, OWN, PROFILES, RTL, TimingProfile
from mpi_vta.simulator.rules import check_instructions, is_nop
from mpi_vta.simulator.tokens import CAUSE_OF_UNIT, Cause, Columns, TokenMatch, match_tokens, waiting_units

__all__ = ["HLS", "OWN", "PROFILES", "RTL", "Cause", "Timing", "TimingProfile", "simulate"]

# launch to the first read request; last beat of a fetch to the first start, by bus width; last dispatch to the next
FETCH_LAUNCH_CYCLES = 1
FETCH_TAIL_CYCLES = 4
FETCH_WIDE_TAIL_CYCLES = 7
FETCH_RESTART_CYCLES = 2
INSTRUCTION_BYTES = 16
_NEVER = 1 << 62


# on the read channel; fetch comes first with 0
_PRIORITY = {MemoryType.UOP: 1, MemoryType.INP: 2, MemoryType.WGT: 3, MemoryType.ACC: 4}


@dataclass(frozen=True, eq=False)
class Timing:
    """Modelled times of a program.

    Attributes
    ----------
    cycles : int
        From launch to the end of FINISH.
    start_cycle, end_cycle : ndarray of int64, shape (n,)
        When each instruction starts and ends, counted from launch.
    cause : ndarray of int8, shape (n,)
        `Cause` that decided each start.
    unit : ndarray of int64, shape (n,)
        Unit of each instruction.
    producer : ndarray of int64, shape (n, 4)
        Whose tokens each instruction takes, as in `mpi_vta.simulator.tokens.TokenMatch`.
    profile : TimingProfile
        The constants used.
    """

    cycles: int
    start_cycle: Indices
    end_cycle: Indices
    cause: NDArray[np.int8]
    unit: Indices
    producer: Indices
    profile: TimingProfile

    def busy_cycles(self, unit: Unit) -> int:
        """Return the cycles in which a unit runs an instruction."""
        rows = self.unit == unit
        return int((self.end_cycle[rows] - self.start_cycle[rows]).sum())


def simulate(config: VTAConfig, insns: NDArray[np.uint64], profile: TimingProfile = RTL) -> Timing:
    """Model the time of a program; micro-ops and data do not matter for it.

    Parameters
    ----------
    config : VTAConfig
        The build.
    insns : ndarray of uint64, shape (n, 2)
        Instructions; absolute ``dram_base``, as bursts end at aligned addresses.
    profile : TimingProfile
        Constants of the model.

    Raises
    ------
    SimulationError
        If an instruction is outside the portable subset, or the program deadlocks.
    """
    columns = decode_columns(insns, config)
    check_instructions(columns)
    nop = is_nop(columns)
    match = match_tokens(columns)
    bus_bytes = (profile.bus_bits or config.bus_bits) // 8
    run: _Run | CoreSimulation
    if profile.own_core:
        run = CoreSimulation(config, columns, match, nop, profile, bus_bytes)
    else:
        costs = instruction_costs(config, columns, nop, profile, bus_bytes)
        run = _Run(columns, match, costs, profile, bus_bytes)
    run.complete()
    start, end = np.array(run.start, dtype=np.int64), np.array(run.end, dtype=np.int64)
    return Timing(
        int(end[-1]), start, end, np.array(run.cause, dtype=np.int8), columns["unit"], match.producer, profile
    )


class _Stream:
    """Read requests in progress: a fetch, or a LOAD of the load or compute unit."""

    __slots__ = ("beats", "index", "last", "position", "priority", "ready")

    def __init__(self) -> None:
        self.ready = _NEVER
        self.position = self.last = 0
        self.priority = 0
        self.index = -1
        # first and last cycle of each burst's beats, kept for a load that pads below alone
        self.beats: list[tuple[int, int]] | None = None


class _Fetch:
    """The fetch unit: reads a burst of instructions whole, hands them out, then reads the next."""

    def __init__(self, count: int, profile: TimingProfile, bus_bytes: int) -> None:
        self.stream = _Stream()
        self.position = self.limit = 0
        self.dispatch_cycle = 0
        self.beats = 0
        self._count = count
        self._burst = max(1, profile.fetch_burst_beats * bus_bytes // INSTRUCTION_BYTES)
        self._bus_bytes = bus_bytes
        self._tail = FETCH_WIDE_TAIL_CYCLES if bus_bytes >= INSTRUCTION_BYTES else FETCH_TAIL_CYCLES

    def ask(self, cycle: int) -> None:
        """Ask for the next burst."""
        self.limit = min(self.position + self._burst, self._count)
        self.beats = -(-(self.limit - self.position) * INSTRUCTION_BYTES // self._bus_bytes)
        self.stream.ready = cycle

    def arrived(self, last_beat: int) -> None:
        """Begin to hand out what was asked for."""
        self.stream.ready = _NEVER
        self.dispatch_cycle = last_beat + self._tail - 1


class _Run:
    """One simulation. Units advance as far as what they wait for is known; only read requests need order."""

    def __init__(
        self, columns: Columns, match: TokenMatch, costs: BurstCosts, profile: TimingProfile, bus_bytes: int
    ) -> None:
        count = columns["opcode"].size
        self._columns = columns
        self._match = match
        self._queue_depth = profile.queue_depth
        self.start, self.end, self.cause = [-1] * count, [-1] * count, [0] * count
        self._available = [-1] * count
        self._unit = columns["unit"].tolist()
        self._members = [np.flatnonzero(columns["unit"] == kind).tolist() for kind in Unit]
        self._next, self._free, self._dispatched = [0, 0, 0], [-1, -1, -1], [0, 0, 0]
        self._producers = _producer_lists(match)
        self._waits_for = [-1, -1, -1]
        self._pending: set[int] = set()
        self._fixed = costs.fixed_cycles.tolist()
        self._tail, self._pads = costs.tail_cycles.tolist(), costs.pad_cycles.tolist()
        self._load_index = costs.load_index.tolist()
        self._first, self._beats = costs.loads.first.tolist(), costs.loads.beats.tolist()
        self._bottom_pads = costs.bottom_pads
        self._y_pad_0 = columns["y_pad_0"].tolist()
        self._memory = columns["memory_type"].tolist()
        self._channel = ReadChannel(profile)
        self._fetch = _Fetch(count, profile, bus_bytes)
        self._streams = [_Stream() for _ in Unit]

    def complete(self) -> None:
        """Run to the end."""
        fetch, channel = self._fetch.stream, self._channel
        load, compute = self._streams[Unit.LOAD], self._streams[Unit.COMPUTE]
        self._fetch.ask(FETCH_LAUNCH_CYCLES)
        while True:
            first, second, _ = sorted((fetch, load, compute), key=_ready)
            if first.ready == _NEVER:
                break
            if first is not fetch and self._request_alone(first, second.ready):
                continue
            cycle = channel.earliest(first.ready)
            chosen = min((s for s in (fetch, load, compute) if s.ready <= cycle), key=lambda s: s.priority)
            if chosen is fetch:
                self._fetch.arrived(channel.accept(cycle, self._fetch.beats))
                self._dispatch()
                self._settle()
            else:
                self._request(chosen, cycle)
        if -1 in self.end:
            waits = waiting_units(self._columns, self._match, self._members, self._next, self.end, self._queue_depth)
            raise SimulationError(
                "the program deadlocks: " + ", ".join(waits),
                remedy="give every pop a push that does not wait for it, and keep fewer than "
                f"{self._queue_depth} instructions of a unit ahead of what unblocks it",
            )

    def _request_alone(self, stream: _Stream, horizon: int) -> bool:
        """Issue a load's requests up to the cycle in which another unit asks; tell whether there were any."""
        if stream.beats is not None:
            return False
        begin = stream.position
        stream.position, stream.ready, last_beat = self._channel.accept_run(
            stream.ready, self._beats, begin, stream.last, horizon
        )
        accepted = stream.position > begin
        if stream.position == stream.last:
            self._loaded(stream, last_beat)
        return accepted

    def _request(self, stream: _Stream, cycle: int) -> None:
        beats = self._beats[stream.position]
        last_beat = self._channel.accept(cycle, beats)
        if stream.beats is not None:
            stream.beats.append((last_beat - beats + 1, last_beat))
        stream.position += 1
        stream.ready = cycle + UNIT_REQUEST_INTERVAL_CYCLES
        if stream.position == stream.last:
            self._loaded(stream, last_beat)

    def _loaded(self, stream: _Stream, last_beat: int) -> None:
        index, stream.ready = stream.index, _NEVER
        start = self.start[index]
        padded = start + self._pads[index]
        if stream.beats is not None:
            padded = self._bottom_pads[index].end_cycle(start, stream.beats)
        self._end(index, max(last_beat + self._tail[index], padded))
        self._pending.add(self._unit[index])
        self._settle()

    def _dispatch(self) -> None:
        """Hand fetched instructions to the units' queues, one per cycle, while there is room."""
        fetch = self._fetch
        while fetch.position < fetch.limit:
            index = fetch.position
            unit = self._unit[index]
            ahead = self._dispatched[unit] - self._queue_depth
            if ahead >= 0:
                end = self.end[self._members[unit][ahead]]
                if end < 0:
                    return
                fetch.dispatch_cycle = max(fetch.dispatch_cycle, end + 1)
            self._available[index] = fetch.dispatch_cycle + 1
            self._dispatched[unit] += 1
            self._pending.add(unit)
            fetch.position += 1
            fetch.dispatch_cycle += 1
        if fetch.limit < len(self.start):
            fetch.ask(fetch.dispatch_cycle - 1 + FETCH_RESTART_CYCLES)

    def _settle(self) -> None:
        """Start whatever can start at a known time, until only read requests can change anything."""
        fetch = self._fetch
        while self._pending:
            while self._pending:
                self._advance(self._pending.pop())
            if fetch.stream.ready == _NEVER and fetch.position < fetch.limit:
                self._dispatch()

    def _advance(self, unit: int) -> None:
        members, stream = self._members[unit], self._streams[unit]
        while stream.ready == _NEVER and self._next[unit] < len(members):
            index = members[self._next[unit]]
            if not self._try_start(index, unit):
                return
            duration = self._fixed[index]
            if duration < 0:
                self._open(stream, index)
                return
            self._end(index, self.start[index] + duration)

    def _try_start(self, index: int, unit: int) -> bool:
        start, cause = self._available[index], int(Cause.FETCH)
        if start < 0:
            return False
        if self._free[unit] >= 0 and self._free[unit] + 1 >= start:
            start, cause = self._free[unit] + 1, int(Cause.UNIT)
        for producer in self._producers[index]:
            end = self.end[producer] if producer >= 0 else -1
            if end < 0:
                self._waits_for[unit] = producer
                return False
            if end + 1 > start:
                start, cause = end + 1, CAUSE_OF_UNIT[self._unit[producer]]
        self.start[index] = start
        self.cause[index] = cause
        return True

    def _open(self, stream: _Stream, index: int) -> None:
        load = self._load_index[index]
        stream.position, stream.last = self._first[load], self._first[load + 1]
        # each padding row above costs a cycle before the first request
        stream.ready = self.start[index] + 1 + self._y_pad_0[index]
        stream.priority = _PRIORITY[self._memory[index]]
        stream.index = index
        stream.beats = [] if index in self._bottom_pads else None

    def _end(self, index: int, end: int) -> None:
        unit = self._unit[index]
        self.end[index] = self._free[unit] = end
        self._next[unit] += 1
        for other in (Unit.LOAD, Unit.COMPUTE, Unit.STORE):
            if self._waits_for[other] == index:
                self._pending.add(other)


def _ready(stream: _Stream) -> int:
    return stream.ready


def _producer_lists(match: TokenMatch) -> list[tuple[int, ...]]:
    lists: list[tuple[int, ...]] = [()] * len(match.producer)
    for index in np.flatnonzero((match.producer != -1).any(axis=1)).tolist():
        lists[index] = tuple(p for p in match.producer[index].tolist() if p != -1)
    return lists
