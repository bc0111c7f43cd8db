"""What a rank is at: noted as it works, for the roll call."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from mpi_vta.runtime.faults.rank_position import NOTHING, RankPosition
from mpi_vta.runtime.faults.rank_state import RankState

LOADING, WORKING, WAITING, DONE = "loading", "working", "waiting", "done"


@dataclass
class _Launch:
    what: str
    thread: int
    processor_ns: int
    moved_s: float


class Watchdog:
    """One rank's record of what it is at.

    Parameters
    ----------
    rank, host
        Who.
    state : RankState or None
        Where to note it for a guardian.
    """

    def __init__(self, rank: int, host: str, state: RankState | None = None) -> None:
        self._who, self._state = RankPosition(rank, host), state
        self._edges: Sequence[str] = ()
        self._edge = self._image = NOTHING
        self._simulated = True
        self._wait: tuple[float, str] | None = None
        self._launch: _Launch | None = None
        self._lock = threading.Lock()
        self.progress = 0
        self.phase = LOADING

    def join(self, board: str, *, simulated: bool, edges: Sequence[str], hint: str) -> None:
        """Take up a job.

        Parameters
        ----------
        board : str
            Name of the board.
        simulated : bool
            Whether a launch takes processor time: then one that uses some is not stuck, however long it takes.
        edges : sequence of str
            The plan's edges, as messages call them.
        hint : str
            What to do if the job ends early.
        """
        self._who = RankPosition(self._who.rank, self._who.host, board, hint=hint)
        self._edges, self._simulated = edges, simulated
        if self._state is not None:
            self._state.describe(self._who.host, board, edges, hint)

    def note(self, edge: int, image: int) -> None:
        """Note that something was done for an image; `edge` is `NOTHING` if it was no message."""
        self.progress += 1
        self._edge, self._image = edge if edge != NOTHING else self._edge, image
        if self._state is not None:
            self._state.note(self._edge, image)

    @property
    def position(self) -> RankPosition:
        """Where the rank is now."""
        edge = self._edges[self._edge] if 0 <= self._edge < len(self._edges) else ""
        return RankPosition(self._who.rank, self._who.host, self._who.board, edge, self._image, self._who.hint)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Name the message that the body waits for."""
        self._wait = (time.monotonic(), what)
        try:
            yield
        finally:
            self._wait = None

    @contextmanager
    def launching(self, what: str) -> Iterator[None]:
        """Name the launch that the body makes, in whichever thread."""
        launch = _Launch(what, threading.get_ident(), 0, time.monotonic())
        with self._lock:
            self._launch = launch
        try:
            yield
        finally:
            with self._lock:
                self._launch = None
            self.progress += 1

    def stuck(self) -> tuple[float, str]:
        """Return for how many seconds the launch under way has made no headway, and its name; 0 without one."""
        # a thread leaves `launching` only with the lock, so that here it still exists
        with self._lock:
            launch = self._launch
            if launch is None:
                return 0.0, ""
            if self._simulated:
                used_ns = time.clock_gettime_ns(time.pthread_getcpuclockid(launch.thread))
                if used_ns > launch.processor_ns:
                    launch.processor_ns, launch.moved_s = used_ns, time.monotonic()
            return time.monotonic() - launch.moved_s, launch.what

    def state(self) -> dict[str, Any]:
        """Return what a beat tells, JSON-able: phase, wait, progress and position."""
        wait = self._wait
        waits = self.phase == WORKING and self._launch is None and wait is not None
        return {
            "phase": WAITING if waits else self.phase,
            "what": wait[1] if waits and wait else "",
            "waited_s": time.monotonic() - wait[0] if waits and wait else 0.0,
            "progress": self.progress,
            "who": asdict(self.position),
        }
