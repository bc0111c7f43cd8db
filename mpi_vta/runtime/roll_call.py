"""Every rank tells rank 0 that it is there, rank 0 tells every rank; whoever falls silent is named, once.

A thread of each rank sends small messages beside the job's own. So a rank that computes for long is not taken for one
that is gone, and a link that is cut is noticed although MPI itself would wait for ever. Faults go to rank 0, which
prints the first and ends the job; the other ranks first close their traces. If rank 0 is silent, rank 1 does so, and
if that one is silent too, each on its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mpi_vta.runtime.transport.protocol import Transport
from mpi_vta.runtime.verdict import AT_LAST, ENDING_S, Heard, Verdict, judge, patience_s
from mpi_vta.runtime.watchdog import LOADING, Watchdog
from mpi_vta.runtime.whereabouts import Whereabouts

EXIT_STATUS = 17
BEAT, FAULT, END, LEAVE, GO, BYE = "beat", "fault", "end", "leave", "go", "bye"
_BEATS_PER_PATIENCE = 8
_LONGEST_TICK_S = 0.2
_CLOSING_TICK_S = 0.001
# rank 0 writes files for long once it has everything
_CONCLUDING = 10
_GRACE_S = 3.0
# for MPI to end all ranks; with the deputy's wait a host that is cut off is empty within the limit too
_ABORT_S = 2.0
_DEPUTY_S = 1.5


class RollCall:
    """One rank's part in it.

    Parameters
    ----------
    transport : Transport
        Of all ranks.
    watchdog : Watchdog
        What this rank is at.
    limit_s : float
        Within which the job has to have ended after a fault; 0 for no roll call.
    """

    def __init__(self, transport: Transport, watchdog: Watchdog, limit_s: float) -> None:
        self._transport, self.watchdog = transport, watchdog
        self._rank, self._size = transport.rank, transport.size
        self._active = limit_s > 0
        self._patience_s = patience_s(limit_s) if self._active else 0.0
        self._tick_s = min(_LONGEST_TICK_S, self._patience_s / _BEATS_PER_PATIENCE / 2)
        self._heard: dict[int, Heard] = {}
        self._left: set[int] = set()
        self._go, self._stopped = threading.Event(), threading.Event()
        self._found = threading.Lock()
        self._thread = threading.Thread(target=self._call, name="roll call", daemon=True)
        self.told_to_end = False

    def start(self) -> None:
        """Call the roll until `close`."""
        if self._active:
            now_s = time.monotonic()
            for rank in range(self._size):
                who = Whereabouts(rank, "a host not heard of yet")
                self._heard[rank] = Heard(now_s, LOADING, "", 0.0, 0, now_s, who)
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

    def leave(self) -> None:
        """Wait until every rank has handed in what it has; nobody is missed from then on but rank 0."""
        if not self._active:
            return
        if self._rank:
            self._post(0, LEAVE)
        else:
            self._left.add(0)
        self._go.wait()

    def close(self) -> None:
        """End the roll call: rank 0 has written everything, and its last word to each rank is under way."""
        if not self._active:
            return
        if self._rank:
            self._thread.join()
        else:
            self._stopped.set()
            self._thread.join()
            self._post_all(BYE)
            self._hear_out()
        self._transport.flush()

    def _hear_out(self) -> None:
        """Take every rank's last note: MPI may not be left with messages that nobody has received."""
        to_come, until_s = set(range(1, self._size)), time.monotonic() + self._patience_s
        while to_come and time.monotonic() < until_s:
            found = self._transport.poll()
            if found is None:
                time.sleep(_CLOSING_TICK_S)
            elif json.loads(found[1])["kind"] == BYE:
                to_come.discard(found[0])

    def report(self, line: str, status: int) -> None:
        """End the job because of a fault here, with one line from whoever learns of a fault first."""
        if self._active and self._rank and not self._rank_0_is_silent():
            self._post(0, FAULT, line=line, status=status)
            # rank 0 ends this process; if it does not, it is gone too
            time.sleep(_GRACE_S)
        self._settle(line, status)

    def _settle(self, line: str, status: int) -> None:
        if not self._found.acquire(blocking=False):
            # another thread of this rank is at it
            time.sleep(ENDING_S)
            return
        print(line, file=sys.stderr, flush=True)
        # Abort itself may block on a link that is cut
        timer = threading.Timer(_ABORT_S, os._exit, args=(status,))
        timer.daemon = True
        timer.start()
        if self._active and self._rank == 0:
            self._post_all(END)
        self._end_main_thread()
        # it leaves the others the time to close their files
        self._transport.abort(status)

    def _end_main_thread(self) -> None:
        """Let the main thread close its files and wait, as if the batch system had asked for it."""
        if threading.current_thread() is not threading.main_thread():
            self.told_to_end = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _call(self) -> None:
        next_beat_s = 0.0
        while not self._stopped.wait(self._tick_s):
            if self._listen():
                return
            now_s = time.monotonic()
            if now_s >= next_beat_s:
                next_beat_s = now_s + self._patience_s / _BEATS_PER_PATIENCE
                self._beat()
            self._look(now_s)

    def _listen(self) -> bool:
        """Take what has come; return whether rank 0 has said goodbye."""
        while (found := self._transport.poll()) is not None:
            rank, data = found
            message = json.loads(data)
            kind = message["kind"]
            if kind == BEAT:
                self._hear(rank, message)
            elif kind == FAULT:
                self._settle(message["line"], message["status"])
            elif kind == LEAVE:
                self._left.add(rank)
            elif kind == END:
                self._end_main_thread()
            elif kind == GO:
                self._go.set()
            elif kind == BYE:
                # the last note from here: rank 0 waits for it
                self._post(0, BYE)
                return True
        return False

    def _hear(self, rank: int, state: dict[str, Any]) -> None:
        now_s, before = time.monotonic(), self._heard[rank]
        moved = state["progress"] != before.progress or state["phase"] != before.phase
        self._heard[rank] = Heard(
            now_s,
            state["phase"],
            state["what"],
            state["waited_s"],
            state["progress"],
            now_s if moved else before.moved_s,
            Whereabouts(**state["who"]),
        )

    def _beat(self) -> None:
        state = self.watchdog.state()
        if self._rank == 0:
            self._post_all(BEAT, **state)
        elif not self._go.is_set():
            self._post(0, BEAT, **state)

    def _look(self, now_s: float) -> None:
        stuck_s, what = self.watchdog.stuck()
        if stuck_s > self._patience_s:
            self._blame(Verdict(self.watchdog.whereabouts, f"{what} has hung for {stuck_s:.1f} s"))
        elif self._rank == 0 and not self._go.is_set():
            self._hear(0, self.watchdog.state())
            verdict = judge({r: h for r, h in self._heard.items() if r not in self._left}, now_s, self._patience_s)
            if verdict is not None:
                self._blame(verdict)
            elif len(self._left) == self._size:
                self._go.set()
                self._post_all(GO)
        elif self._rank and self._rank_0_is_silent():
            if self._rank > 1:
                # rank 1 says so, unless it is gone as well
                time.sleep(_DEPUTY_S)
            text = f"nothing heard for {self._silence_s():.1f} s by rank {self._rank}{AT_LAST}"
            self._blame(Verdict(self._heard[0].who, text))

    def _rank_0_is_silent(self) -> bool:
        return self._silence_s() > self._patience_s * (_CONCLUDING if self._go.is_set() else 1)

    def _silence_s(self) -> float:
        return time.monotonic() - self._heard[0].at_s

    def _blame(self, verdict: Verdict) -> None:
        # a fault that this thread has found itself need not be told to a rank 0 that is silent
        self.report(verdict.who.line(verdict.text), EXIT_STATUS)

    def _post(self, peer: int, kind: str, **content: Any) -> None:
        self._transport.post(json.dumps({"kind": kind, **content}).encode(), peer)

    def _post_all(self, kind: str, **content: Any) -> None:
        for peer in range(1, self._size):
            self._post(peer, kind, **content)
