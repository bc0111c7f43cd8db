"""What the runtime asks of a transport: buffers between ranks, a few collectives, an abort."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_SPINS_BEFORE_SLEEP = 20
_FIRST_SLEEP_S = 200e-6
_LONGEST_SLEEP_S = 10e-3
# so a wait is overslept by 0.2 % of its length at most
_GROWTH = 1.002


class MessageRequest(Protocol):
    """A send or receive under way."""

    def done(self) -> bool:
        """Return whether it has completed; drives the library's progress, so it must be called to finish."""
        ...


class Transport(Protocol):
    """One rank's end of the network.

    Buffers are contiguous uint8 arrays that the caller must not touch until the request is done.
    Messages between the same two ranks with the same tag arrive in the order in which they were sent.
    """

    rank: int
    size: int
    host: str

    def isend(self, buffer: NDArray[np.uint8], peer: int, tag: int) -> MessageRequest:
        """Start sending all of `buffer` to rank `peer`."""
        ...

    def irecv(self, buffer: NDArray[np.uint8], peer: int, tag: int) -> MessageRequest:
        """Start receiving from rank `peer`; the message must have the size of `buffer`."""
        ...

    def post(self, data: bytes, peer: int) -> None:
        """Send a note of at most a few kilobytes, beside all other messages; from any thread."""
        ...

    def flush(self) -> None:
        """Return once the notes that were posted may be forgotten here."""
        ...

    def poll(self) -> tuple[int, bytes] | None:
        """Return a note that has come, and from which rank; None if there is none. From one thread only."""
        ...

    def barrier(self) -> None:
        """Return once every rank has called it."""
        ...

    def broadcast(self, data: bytes | None) -> bytes:
        """Give rank 0's bytes to every rank; the others pass None."""
        ...

    def scatter(self, parts: Sequence[bytes] | None) -> bytes:
        """Give entry r of rank 0's sequence to rank r; the others pass None."""
        ...

    def gather(self, data: bytes) -> list[bytes] | None:
        """Bring every rank's bytes to rank 0, in rank order; the others get None."""
        ...

    def split(self, groups: Sequence[int]) -> Transport:
        """Return this rank's end of a network of its own for its group; all ranks call it with the same groups.

        Parameters
        ----------
        groups : sequence of int
            The group of each rank. Within a group, ranks are numbered anew in the same order.
        """
        ...

    def abort(self, status: int) -> None:
        """End every rank at once with an exit status; does not return under MPI."""
        ...


class Pause:
    """A wait without burning a core, as several ranks may share one: it spins for a moment, then sleeps.

    The longer the wait has been, the longer it sleeps: ranks that wait while rank 0 compiles leave it the cores.
    """

    def __init__(self) -> None:
        self._spins = 0
        self._sleep_s = _FIRST_SLEEP_S

    def once(self) -> None:
        """Wait a little; called between two looks at what is waited for."""
        self._spins += 1
        if self._spins > _SPINS_BEFORE_SLEEP:
            time.sleep(self._sleep_s)
            self._sleep_s = min(self._sleep_s * _GROWTH, _LONGEST_SLEEP_S)


def wait(request: MessageRequest) -> None:
    """Wait politely for one request: MPI's own wait spins."""
    pause = Pause()
    while not request.done():
        pause.once()
