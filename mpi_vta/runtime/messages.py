"""One edge's messages at one rank: receives posted ahead into two buffers, sends from a pool of their own.

A message is the virtual time at which its last byte leaves its sender (int64, ns), then the payload. A run
without data sends the time alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mpi_vta.runtime.transport.protocol import Request, Transport, wait
from mpi_vta.runtime.watchdog import Watchdog

HEADER_BYTES = 8
_POSTED_AHEAD = 2


class Inbound:
    """What arrives for one edge at this rank, in group order.

    Parameters
    ----------
    transport : Transport
        Where from.
    tag : int
        The edge's index.
    peers : iterable of int
        Sending rank of each message that will come, in order; read no further than receives are posted.
    payload_bytes : int
        Size of every payload.
    what : str
        The edge, for the watchdog's message.
    """

    def __init__(self, transport: Transport, tag: int, peers: Iterable[int], payload_bytes: int, what: str) -> None:
        self._transport, self._tag, self._peers, self._what = transport, tag, iter(peers), what
        self._buffers = [np.empty(HEADER_BYTES + payload_bytes, dtype=np.uint8) for _ in range(_POSTED_AHEAD)]
        self._posted: dict[int, tuple[Request, int]] = {}
        self._taken = 0
        for index in range(_POSTED_AHEAD):
            self._post(index)

    def arrived(self) -> bool:
        """Return whether the next message is there, so that `take` would not wait."""
        posted = self._posted.get(self._taken)
        return posted is not None and posted[0].done()

    def take(self, watchdog: Watchdog) -> tuple[int, NDArray[np.uint8]]:
        """Wait for the next message.

        Returns
        -------
        tuple of int, ndarray of uint8
            Virtual departure in ns, and the payload, which stays valid until `release`.
        """
        index = self._taken
        request, peer = self._posted.pop(index)
        with watchdog.waiting(f"{self._what}, message {index} from rank {peer}"):
            wait(request)
        self._taken += 1
        buffer = self._buffers[index % _POSTED_AHEAD]
        return int(buffer[:HEADER_BYTES].view(np.int64)[0]), buffer[HEADER_BYTES:]

    def release(self) -> None:
        """Give the last message's buffer back, to receive into it again."""
        self._post(self._taken - 1 + _POSTED_AHEAD)

    def _post(self, index: int) -> None:
        peer = next(self._peers, None)
        if peer is not None:
            buffer = self._buffers[index % _POSTED_AHEAD]
            self._posted[index] = (self._transport.irecv(buffer, peer, self._tag), peer)


class Outbound:
    """What leaves on one edge from this rank; a buffer is used again once its send has completed.

    The plan lets at most ``in_flight_groups`` groups be under way, so the pool never grows beyond that, and a
    send is never waited for while there is other work.
    """

    def __init__(self, transport: Transport, tag: int, payload_bytes: int, what: str) -> None:
        self._transport, self._tag, self._payload_bytes, self._what = transport, tag, payload_bytes, what
        self._open: list[tuple[Request, NDArray[np.uint8]]] = []
        self._free: list[NDArray[np.uint8]] = []

    def send(self, peer: int, depart_ns: int, payload: NDArray[np.uint8] | None) -> None:
        """Start sending; `payload` (None without data) may be reused at once."""
        buffer = self._free_buffer()
        buffer[:HEADER_BYTES].view(np.int64)[0] = depart_ns
        if payload is not None:
            buffer[HEADER_BYTES:] = payload
        self._open.append((self._transport.isend(buffer, peer, self._tag), buffer))

    def progress(self) -> None:
        """Move on what is under way: a library without a thread of its own sends only when it is asked."""
        self._free.extend(self._completed())

    def drain(self, watchdog: Watchdog) -> None:
        """Wait until everything has left."""
        with watchdog.waiting(f"{self._what} to be taken"):
            for request, _ in self._open:
                wait(request)
        self._open.clear()

    def _free_buffer(self) -> NDArray[np.uint8]:
        self.progress()
        return self._free.pop() if self._free else np.empty(HEADER_BYTES + self._payload_bytes, dtype=np.uint8)

    def _completed(self) -> list[NDArray[np.uint8]]:
        """Return the buffers of the sends that have completed since the last call."""
        done, still_open = [], []
        for request, buffer in self._open:
            if request.done():
                done.append(buffer)
            else:
                still_open.append((request, buffer))
        self._open = still_open
        return done
