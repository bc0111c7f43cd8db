"""One edge's messages at one rank: receives posted ahead into two buffers, sends from a pool of their own.

A message is the virtual time at which its last byte leaves its sender (int64, ns), then the payload. A run
without data sends the time alone. Where messages are verified, the CRC-32 of the two and of the image's number follows,
so that a message that was changed or is another image's is found.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import IntegrityError
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.transport.protocol import MessageRequest, Transport, wait

HEADER_BYTES = 8
CHECKSUM_BYTES = 8
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
    verify : bool
        Whether messages carry a checksum.
    """

    def __init__(
        self,
        transport: Transport,
        tag: int,
        peers: Iterable[int],
        payload_bytes: int,
        what: str,
        *,
        verify: bool = False,
    ) -> None:
        self._transport, self._tag, self._peers, self._what = transport, tag, iter(peers), what
        self._end, self._verify = HEADER_BYTES + payload_bytes, verify
        self._buffers = [_buffer(payload_bytes, verify) for _ in range(_POSTED_AHEAD)]
        self._posted: dict[int, tuple[MessageRequest, int]] = {}
        self._taken = 0
        for index in range(_POSTED_AHEAD):
            self._post(index)

    def arrived(self) -> bool:
        """Return whether the next message is there, so that `take` would not wait."""
        posted = self._posted.get(self._taken)
        return posted is not None and posted[0].done()

    def take(self, watchdog: Watchdog, image: int) -> tuple[int, NDArray[np.uint8]]:
        """Wait for the next message, which is that of `image`.

        Returns
        -------
        tuple of int, ndarray of uint8
            Virtual departure in ns, and the payload, which stays valid until `release`.

        Raises
        ------
        IntegrityError
            If it is not what was sent.
        """
        index = self._taken
        request, peer = self._posted.pop(index)
        with watchdog.waiting(f"{self._what}, message {index} from rank {peer}"):
            wait(request)
        self._taken += 1
        buffer = self._buffers[index % _POSTED_AHEAD]
        if self._verify and int.from_bytes(buffer[self._end :].tobytes(), "little") != _checksum(
            buffer[: self._end], image
        ):
            raise IntegrityError(
                f"image {image} came from rank {peer} to rank {self._transport.rank} with a wrong checksum",
                where=self._what,
                remedy="what was sent is not what arrived: check memory, cables and switch of the two, and run again",
            )
        return int(buffer[:HEADER_BYTES].view(np.int64)[0]), buffer[HEADER_BYTES : self._end]

    def release(self) -> None:
        """Give the last message's buffer back, to receive into it again."""
        self._post(self._taken - 1 + _POSTED_AHEAD)

    def _post(self, index: int) -> None:
        peer = next(self._peers, None)
        if peer is not None:
            buffer = self._buffers[index % _POSTED_AHEAD]
            self._posted[index] = (self._transport.irecv(buffer, peer, self._tag), peer)


def _buffer(payload_bytes: int, verify: bool) -> NDArray[np.uint8]:
    return np.zeros(HEADER_BYTES + payload_bytes + verify * CHECKSUM_BYTES, dtype=np.uint8)


def _checksum(data: NDArray[np.uint8], image: int) -> int:
    return zlib.crc32(data.data, image & 0xFFFF_FFFF)


class Outbound:
    """What leaves on one edge from this rank; a buffer is used again once its send has completed.

    The plan lets at most ``in_flight_groups`` groups be under way, so the pool never grows beyond that, and a
    send is never waited for while there is other work.
    """

    def __init__(self, transport: Transport, tag: int, payload_bytes: int, what: str, *, verify: bool = False) -> None:
        self._verify = verify
        self._transport, self._tag, self._payload_bytes, self._what = transport, tag, payload_bytes, what
        self._open: list[tuple[MessageRequest, NDArray[np.uint8]]] = []
        self._free: list[NDArray[np.uint8]] = []

    def send(self, peer: int, depart_ns: int, payload: NDArray[np.uint8] | None, image: int) -> None:
        """Start sending an image's message; `payload` (None without data) may be reused at once."""
        buffer, end = self._free_buffer(), HEADER_BYTES + self._payload_bytes
        buffer[:HEADER_BYTES].view(np.int64)[0] = depart_ns
        if payload is not None:
            buffer[HEADER_BYTES:end] = payload
        if self._verify:
            buffer[end:] = np.frombuffer(_checksum(buffer[:end], image).to_bytes(CHECKSUM_BYTES, "little"), np.uint8)
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
        return self._free.pop() if self._free else _buffer(self._payload_bytes, self._verify)

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
