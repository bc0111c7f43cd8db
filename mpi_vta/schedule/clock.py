"""The virtual clocks of one rank: when its processor, its VTA and its two network ports are busy."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from mpi_vta.plans.network import NetworkModel

# Gaps older than this many busy intervals are forgotten, so that a reservation stays cheap in a long run
MAX_INTERVALS = 256


@dataclass(frozen=True)
class TimeInterval:
    """A piece of virtual time, [start_ns, end_ns)."""

    start_ns: int
    end_ns: int


class Resource:
    """Something that does one thing at a time; work takes the first time that is free.

    Work that is asked for later but ready earlier may so go first, as on a host that serves whatever
    is ready. The outcome depends only on the sequence of reservations, never on real time.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._floor_ns = 0
        self.busy_ns = 0

    def reserve(self, ready_ns: int, duration_ns: int) -> TimeInterval:
        """Occupy the first gap of `duration_ns` that begins at `ready_ns` or later, without a break.

        Raises
        ------
        ValueError
            If a time is negative.
        """
        start, index = self._first_free(ready_ns, duration_ns)
        if duration_ns == 0:
            return TimeInterval(start, start)
        while index < len(self._starts) and self._starts[index] < start + duration_ns:
            start = max(start, self._ends[index])
            index += 1
        self._insert(index, start, start + duration_ns)
        return TimeInterval(start, start + duration_ns)

    def share(self, ready_ns: int, duration_ns: int) -> TimeInterval:
        """Occupy free time from `ready_ns` on, in pieces, until they add up to `duration_ns`.

        So a processor interrupts later work for earlier work, and a port lets packets of several
        messages through; see `reserve` for errors.

        Returns
        -------
        TimeInterval
            From the first piece's start to the last piece's end.
        """
        at, index = self._first_free(ready_ns, duration_ns)
        if duration_ns == 0:
            return TimeInterval(at, at)
        pieces: list[tuple[int, int]] = []
        left = duration_ns
        while left:
            if index < len(self._starts) and self._starts[index] <= at:
                at = max(at, self._ends[index])
                index += 1
                continue
            until = min(at + left, self._starts[index]) if index < len(self._starts) else at + left
            pieces.append((at, until))
            left -= until - at
            at = until
        for start, end in pieces:
            self._insert(bisect_right(self._ends, start), start, end)
        return TimeInterval(pieces[0][0], pieces[-1][1])

    def _first_free(self, ready_ns: int, duration_ns: int) -> tuple[int, int]:
        if ready_ns < 0 or duration_ns < 0:
            raise ValueError(f"ready {ready_ns} ns, duration {duration_ns} ns: times cannot be negative")
        start = max(ready_ns, self._floor_ns)
        return start, bisect_right(self._ends, start)

    def _insert(self, index: int, start: int, end: int) -> None:
        self.busy_ns += end - start
        joins_before = index > 0 and self._ends[index - 1] == start
        joins_after = index < len(self._starts) and self._starts[index] == end
        if joins_before and joins_after:
            self._ends[index - 1] = self._ends.pop(index)
            self._starts.pop(index)
        elif joins_before:
            self._ends[index - 1] = end
        elif joins_after:
            self._starts[index] = start
        else:
            self._starts.insert(index, start)
            self._ends.insert(index, end)
            if len(self._starts) > MAX_INTERVALS:
                self._starts.pop(0)
                self._floor_ns = self._ends.pop(0)


class RankClock:
    """Virtual time of one rank, in integer nanoseconds from the start of the job.

    The same calls in the same order give the same times, so the prediction of a plan and its run in
    virtual time agree exactly. `mpi_vta.schedule.timeline.RankTimeline` makes the calls for both.
    The processor and the ports are shared by what is under way, earlier calls first; a launch of VTA
    is never interrupted.

    Attributes
    ----------
    cpu, vta, nic_out, nic_in : Resource
        What the rank owns.
    """

    def __init__(self) -> None:
        self.cpu = Resource()
        self.vta = Resource()
        self.nic_out = Resource()
        self.nic_in = Resource()

    def send(self, ready_ns: int, size_bytes: int, network: NetworkModel) -> TimeInterval:
        """Send a message that is ready at `ready_ns` to another rank.

        Returns
        -------
        TimeInterval
            From the start of the processor's work to ``end_ns``, when the last byte leaves the port:
            the departure that travels with the message.
        """
        host = self.cpu.share(ready_ns, network.host_ns(size_bytes))
        wire = self.nic_out.share(host.end_ns, network.wire_ns(size_bytes))
        return TimeInterval(host.start_ns, wire.end_ns)

    def receive(self, depart_ns: int, size_bytes: int, network: NetworkModel) -> TimeInterval:
        """Take in a message whose last byte left its sender's port at `depart_ns`.

        Returns
        -------
        TimeInterval
            From the first byte's entering the port in to the time at which the program can use the
            data.
        """
        wire_ns = network.wire_ns(size_bytes)
        wire = self.nic_in.share(depart_ns + network.latency_ns - wire_ns, wire_ns)
        host = self.cpu.share(wire.end_ns, network.host_ns(size_bytes))
        return TimeInterval(wire.start_ns, host.end_ns)

    def host(self, ready_ns: int, duration_ns: int) -> TimeInterval:
        """Occupy the processor."""
        return self.cpu.share(ready_ns, duration_ns)

    def launch(self, ready_ns: int, compute_ns: int) -> TimeInterval:
        """Occupy VTA for one launch; the polling driver is taken to run on a core of its own."""
        return self.vta.reserve(ready_ns, compute_ns)
