"""A thread that ends the job when this rank has waited too long for one message: a cut link shows no other way."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_STATUS = 17
_GRACE_S = 3.0


class Watchdog:
    """Watches the waits of one rank.

    Parameters
    ----------
    limit_s : float
        Longest wait for one message; 0 watches nothing.
    rank, host
        Named in the message.
    abort : callable
        Ends every rank with the given status.
    """

    def __init__(self, limit_s: float, rank: int, host: str, abort: Callable[[int], None]) -> None:
        self._limit_s, self._rank, self._host, self._abort = limit_s, rank, host, abort
        self._wait: tuple[float, str] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    @contextmanager
    def running(self) -> Iterator[Watchdog]:
        """Watch while the body runs."""
        if self._limit_s > 0:
            self._thread.start()
        try:
            yield self
        finally:
            self._stopped.set()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Name what the body waits for; the limit applies to it."""
        self._wait = (time.monotonic(), what)
        try:
            yield
        finally:
            self._wait = None

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._limit_s / 4)):
            wait = self._wait
            if wait is not None and time.monotonic() - wait[0] > self._limit_s:
                self._give_up(wait[1])
                return

    def _give_up(self, what: str) -> None:
        message = f"mpi_vta: error: rank {self._rank} on {self._host}: waited more than {self._limit_s:g} s for {what}"
        print(message, file=sys.stderr, flush=True)
        # Abort itself may block on the link that is cut
        timer = threading.Timer(_GRACE_S, os._exit, args=(EXIT_STATUS,))
        timer.daemon = True
        timer.start()
        self._abort(EXIT_STATUS)
