"""How our own core reads memory, as times: its read channel, the fetch of instructions, and a load in progress."""

from __future__ import annotations

from collections import deque

from mpi_vta.simulator.profile import TimingProfile

NEVER = 1 << 62
_INSTRUCTION_BYTES = 16
FETCH_BURST_INSTRUCTIONS = 32
READ_AHEAD_INSTRUCTIONS = 64

# from a cycle to another that follows it
QUEUE_CYCLES = 2  # put into a queue, to at its head
GRANT_TO_ADDRESS_CYCLES = 1  # a burst is granted, to it stands at the memory
BEAT_TO_WRITE_CYCLES = 1  # a beat stands at the core, to it is written


class LoadStream:
    """The bursts of a LOAD in progress; index -1 if there is none."""

    __slots__ = ("index", "last", "position", "ready", "total")

    def __init__(self) -> None:
        self.index, self.ready = -1, NEVER
        self.position = self.last = self.total = 0


class CoreReadChannel:
    """The read channel: a grant a cycle, up to so many bursts under way, beats in the order of grants."""

    def __init__(self, profile: TimingProfile) -> None:
        self.beat_cycles = round(profile.beat_cycles)
        self._latency = profile.memory_latency_cycles + GRANT_TO_ADDRESS_CYCLES
        self._in_flight = profile.requests_in_flight
        self._last_beats: deque[int] = deque()
        self._granted, self._free = -1, 0

    def earliest(self, wanted: int) -> int:
        """Return the first cycle from `wanted` on in which a burst can be granted."""
        cycle, last_beats = max(wanted, self._granted + 1), self._last_beats
        while last_beats and last_beats[0] < cycle:
            last_beats.popleft()
        if len(last_beats) >= self._in_flight:
            cycle = last_beats.popleft() + 1
        return cycle

    def grant(self, cycle: int, beats: int) -> int:
        """Grant a burst in a cycle that `earliest` gave; return that of its first beat."""
        begin = max(cycle + self._latency, self._free)
        self._free = begin + beats * self.beat_cycles
        self._last_beats.append(self._free - self.beat_cycles)
        self._granted = cycle
        return begin


class InstructionFetch:
    """Fetch: bursts asked for while there is room for a whole one; an instruction is given when the next has come.

    `given` instructions have been handed out, at `times`; `ranks` of them to each unit.
    """

    def __init__(self, count: int, profile: TimingProfile, bus_bytes: int) -> None:
        longest = profile.burst_beats * bus_bytes // _INSTRUCTION_BYTES
        self._count, self._burst = count, min(FETCH_BURST_INSTRUCTIONS, longest)
        self._beats_each = max(1, _INSTRUCTION_BYTES // bus_bytes)
        self._beat_cycles = round(profile.beat_cycles)
        self._put: list[int] = []
        self._taken: list[int] = []
        self._asked, self._granted = 0, 0
        self.given, self.ranks = 0, [0, 0, 0]
        self.times: list[int] = []
        self.ready = 1

    @property
    def beats(self) -> int:
        """Beats of the burst that is asked for."""
        return min(self._burst, self._count - self._asked) * self._beats_each

    def arrive(self, cycle: int, begin: int) -> None:
        """Note that the burst was granted, and when its first beat comes."""
        size = self.beats // self._beats_each
        for number in range(1, size + 1):
            last = begin + (number * self._beats_each - 1) * self._beat_cycles
            self._put.append(last + BEAT_TO_WRITE_CYCLES)
        if not self._taken:
            self._taken.append(self._put[0] + QUEUE_CYCLES)
        self._asked += size
        self._granted = cycle
        self._ask()

    def _ask(self) -> None:
        """Find the cycle in which the next burst is asked for, if it is known."""
        self.ready = NEVER
        if self._asked == self._count:
            return
        # so much of what was asked for must have left the buffer that it has room for another burst
        left = self._asked - (READ_AHEAD_INSTRUCTIONS - self._burst)
        if left <= 0:
            self.ready = self._granted + 1
        elif left <= len(self._taken):
            self.ready = max(self._granted, self._taken[left - 1]) + 1

    def can_give(self) -> bool:
        """Return whether the next instruction, and the one after it, have come."""
        return self.given < self._count and (self.given + 1 < len(self._put) or self._asked == self._count > self.given)

    def give(self, unit: int, room: int) -> None:
        """Hand out the next instruction once its unit's queue has room."""
        index = self.given
        taken = self._taken[index]
        time = max(taken + 1, room)
        if index + 1 < self._count:
            time = max(time, self._put[index + 1] + QUEUE_CYCLES)
            self._taken.append(time)
        self.times.append(time)
        self.given += 1
        self.ranks[unit] += 1
        if self.ready == NEVER:
            self._ask()
