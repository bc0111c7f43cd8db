"""The read channel that all units share: requests by priority, data in request order.

The memory takes requests into a queue. Its latency is paid when a request finds the queue empty; while
requests wait, their data follow each other without a gap. A request cannot be accepted in the cycle of
another's last beat, nor while `requests_in_flight` are open; one unit asks at most every other cycle.
"""

from __future__ import annotations

from collections import deque

from mpi_vta.simulator.profile import TimingProfile

UNIT_REQUEST_INTERVAL_CYCLES = 2


class ReadChannel:
    """State of the shared read channel; `accept` must be called in order of time."""

    def __init__(self, profile: TimingProfile) -> None:
        self._latency = profile.memory_latency_cycles + 1
        self._in_flight = profile.requests_in_flight
        self._beat_cycles = profile.beat_cycles
        self._last_beats: deque[int] = deque()
        self._served = -(1 << 60)
        self._free = -(1 << 60)
        self._accepted = -1

    def earliest(self, wanted: int) -> int:
        """Return the first cycle from `wanted` on in which a request can be accepted."""
        cycle = max(wanted, self._accepted + 1)
        open_requests = len(self._last_beats)
        for last in self._last_beats:
            if last >= cycle:
                if last > cycle and open_requests < self._in_flight:
                    break
                # a request's place comes free after its last beat, and that beat's own cycle is blocked
                cycle = last + 1
            open_requests -= 1
        return cycle

    def accept_run(self, wanted: int, beats: list[int], begin: int, end: int, horizon: int) -> tuple[int, int, int]:
        """Accept one unit's requests while no other can come in between.

        Parameters
        ----------
        wanted : int
            Cycle from which the first request is there.
        beats : list of int
            Beats of every burst; those from `begin` to `end` are wanted.
        begin, end : int
            Range in `beats`.
        horizon : int
            First cycle in which another unit may ask.

        Returns
        -------
        position, ready, last_beat : int
            The first burst not accepted, the cycle from which it is there, and the cycle of the last
            beat of the last burst accepted.
        """
        last_beats, in_flight, latency = self._last_beats, self._in_flight, self._latency
        served, free, accepted = self._served, self._free, self._accepted
        beat_cycles = self._beat_cycles
        position = begin
        while position < end:
            cycle = wanted if wanted > accepted else accepted + 1
            while last_beats and cycle < horizon:
                first = last_beats[0]
                if first < cycle:
                    last_beats.popleft()
                elif first == cycle or len(last_beats) >= in_flight:
                    cycle = first + 1
                else:
                    break
            if cycle >= horizon:
                # cycles before this one were blocked for everyone
                wanted = cycle
                break
            if cycle > served:
                start = cycle + latency
                served = start if start > free else free
            else:
                served = free
            count = beats[position]
            free = served + (count if beat_cycles == 1.0 else max(1, round(count * beat_cycles)))
            last_beats.append(free)
            accepted, wanted = cycle, cycle + UNIT_REQUEST_INTERVAL_CYCLES
            position += 1
        self._served, self._free, self._accepted = served, free, accepted
        return position, wanted, free

    def accept(self, cycle: int, beats: int) -> int:
        """Accept a request in a cycle that `earliest` gave; return the cycle of its last beat."""
        last_beats = self._last_beats
        while last_beats and last_beats[0] < cycle:
            last_beats.popleft()
        served = self._free if cycle <= self._served else max(cycle + self._latency, self._free)
        busy = beats if self._beat_cycles == 1.0 else max(1, round(beats * self._beat_cycles))
        self._served = served
        self._free = last = served + busy
        last_beats.append(last)
        self._accepted = cycle
        return last
