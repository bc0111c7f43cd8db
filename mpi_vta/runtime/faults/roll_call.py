"""Every rank tells rank 0 that it is there, rank 0 tells every rank; whoever falls silent is named, once.

A thread of each rank sends small messages beside the job's own, from the first words between ranks to the last. So a
rank that computes for long is not taken for one that is gone, and a link that is cut is noticed although MPI itself
would wait for ever. Faults go to rank 0, which prints the first and ends the job; the other ranks first close their
traces. If rank 0 is silent, rank 1 does so, and if that one is silent too, each on its own.

Silence is counted only while whoever listens gets a processor, and a silent rank on the same host is looked at: while
its process gets on, it is only slow. So more ranks than cores raise no false alarm.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mpi_vta.runtime.faults.attended_clock import AttendedClock
from mpi_vta.runtime.faults.blame import AT_LAST, PROCESS_OR_LINK, Blame, Heard, judge, patience_s
from mpi_vta.runtime.faults.handler import BEAT, BYE, END, FAULT, FaultHandler, Occurrence
from mpi_vta.runtime.faults.process import Neighbour
from mpi_vta.runtime.faults.rank_position import RankPosition
from mpi_vta.runtime.faults.transitions import Event
from mpi_vta.runtime.faults.watchdog import LOADING, Watchdog

EXIT_STATUS = 17
_BEATS_PER_PATIENCE = 8
_LONGEST_TICK_S = 0.2
# MPI may take in one message per poll and show it at a later one only
_EMPTY_POLLS = 4
_CLOSING_TICK_S = 0.001
# a silent neighbour is looked at from this part of the patience on, and may do nothing for that part
_LOOK_FROM, _IDLE_FOR = 0.25, 0.5
# how much longer a silence is borne while the process gets on
_SLOW = 10
# before a rank other than 1 takes rank 0's place
_DEPUTY_S = 1.5


class RollCall:
    """One rank's part in it.

    Parameters
    ----------
    handler : FaultHandler
        Of this rank: what is found is an event to it.
    watchdog : Watchdog
        What this rank is at.
    limit_s : float
        Within which the job has to have ended after a fault; 0 for no roll call.
    hosts : mapping of int to str
        Name of each rank's host, of those ranks that have said so.
    neighbours : mapping of int to Neighbour
        Those ranks' processes that are on this host.
    """

    def __init__(
        self,
        handler: FaultHandler,
        watchdog: Watchdog,
        limit_s: float,
        hosts: Mapping[int, str] | None = None,
        neighbours: Mapping[int, Neighbour] | None = None,
    ) -> None:
        self._handler, self._transport, self.watchdog = handler, handler.transport, watchdog
        self._rank, self._size = self._transport.rank, self._transport.size
        self._active = limit_s > 0
        handler.rank_0_listens = (lambda: not self._fault(0)) if self._active else None
        self._neighbours = neighbours or {}
        self._patience_s = patience_s(limit_s) if limit_s > 0 else 0.0
        self._tick_s = min(_LONGEST_TICK_S, self._patience_s / _BEATS_PER_PATIENCE / 2)
        named = [RankPosition(rank, (hosts or {}).get(rank, "its host")) for rank in range(self._size)]
        self._heard = {who.rank: Heard(0.0, LOADING, "", 0.0, 0, 0.0, who) for who in named}
        self._empty_polls = _EMPTY_POLLS + (self._size if self._rank == 0 else 0)
        self._now_s, self._next_beat_s, self._attended = 0.0, 0.0, AttendedClock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._call, name="roll call", daemon=True)

    def start(self) -> None:
        """Call the roll until `close`, in a thread."""
        if self._active:
            self._attended = AttendedClock()
            self._thread.start()

    def announce(self) -> None:
        """Tell at once what this rank is at: the others know who it is, should it fall silent."""
        if self._active:
            self._beat()

    @contextmanager
    def unless_faulty(self) -> Iterator[None]:
        """Look no more at the others once the body has failed: this rank has a fault of its own to report."""
        try:
            yield
        except BaseException:
            self._stopped.set()
            raise

    def close(self) -> None:
        """End the roll call: rank 0 has written everything, and its last word to each rank is under way."""
        if not self._active:
            return
        if self._rank:
            self._thread.join()
        else:
            self._stopped.set()
            self._thread.join()
            self._handler.post_all(BYE)
            self._hear_out()
        self._transport.flush()

    def _hear_out(self) -> None:
        """Take every rank's last note: MPI may not be left with messages that nobody has received."""
        to_come, attended = set(range(1, self._size)), AttendedClock()
        while to_come and attended.now_s() < self._patience_s:
            found = self._transport.poll()
            if found is None:
                time.sleep(_CLOSING_TICK_S)
            elif json.loads(found[1])["kind"] == BYE:
                to_come.discard(found[0])

    def _call(self) -> None:
        while not self._stopped.wait(self._tick_s):
            if self.step():
                return

    def step(self) -> bool:
        """Take what has come, tell what this rank is at, look for faults; return whether rank 0 has said goodbye."""
        self._now_s = self._attended.now_s()
        if self._listen():
            return True
        if self._now_s >= self._next_beat_s:
            self._next_beat_s = self._now_s + self._patience_s / _BEATS_PER_PATIENCE
            self._beat()
        self._look()
        return False

    def _listen(self) -> bool:
        """Take what has come; return whether rank 0 has said goodbye."""
        empty = 0
        while empty < self._empty_polls:
            found = self._transport.poll()
            if found is None:
                empty += 1
                continue
            empty, (rank, data) = 0, found
            message = json.loads(data)
            kind = message["kind"]
            if kind == BEAT:
                self._hear(rank, message)
            elif kind == FAULT:
                self._handler.handle(Event.MUST_SPEAK, Occurrence(message["line"], message["status"]))
            elif kind == END:
                self._handler.handle(Event.ORDER, Occurrence())
            elif kind == BYE:
                # the last note from here: rank 0 waits for it
                self._handler.post(0, BYE)
                return True
        return False

    def _hear(self, rank: int, state: dict[str, Any]) -> None:
        before = self._heard[rank]
        moved = state["progress"] != before.progress or state["phase"] != before.phase
        self._heard[rank] = Heard(
            self._now_s,
            state["phase"],
            state["what"],
            state["waited_s"],
            state["progress"],
            self._now_s if moved else before.moved_s,
            RankPosition(**state["who"]),
        )

    def _beat(self) -> None:
        state = self.watchdog.state()
        if self._rank == 0:
            self._handler.post_all(BEAT, **state)
        else:
            self._handler.post(0, BEAT, **state)

    def _look(self) -> None:
        stuck_s, what = self.watchdog.stuck()
        if stuck_s > self._patience_s:
            self._blame(Blame(self.watchdog.position, f"{what} has hung for {stuck_s:.1f} s"))
        elif self._rank == 0:
            self._hear(0, self.watchdog.state())
            blame = judge(self._heard, self._now_s, self._patience_s, self._fault)
            if blame is not None:
                self._blame(blame)
        elif fault := self._fault(0):
            if self._rank > 1:
                # rank 1 says so, unless it is gone as well
                time.sleep(_DEPUTY_S)
            text = f"nothing heard for {self._silence_s(0):.1f} s by rank {self._rank}: {fault}{AT_LAST}"
            self._blame(Blame(self._heard[0].who, text))

    def _fault(self, rank: int) -> str:
        """Say what is wrong with a rank that is silent for too long; empty if it is not, or only slow."""
        silence_s, patience_s = self._silence_s(rank), self._patience_s
        neighbour = self._neighbours.get(rank)
        if neighbour is None:
            return PROCESS_OR_LINK if silence_s > patience_s else ""
        if silence_s <= _LOOK_FROM * patience_s:
            return ""
        fault = neighbour.fault(self._now_s, _IDLE_FOR * patience_s)
        if silence_s > _SLOW * patience_s:
            return fault or PROCESS_OR_LINK
        return fault if silence_s > patience_s else ""

    def _silence_s(self, rank: int) -> float:
        return self._now_s - self._heard[rank].at_s

    def _blame(self, blame: Blame) -> None:
        self._handler.handle(Event.FOUND, Occurrence(blame.who.line(blame.text), EXIT_STATUS))
