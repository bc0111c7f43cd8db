"""The MPI transport; the only module that imports mpi4py."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.runtime.transport.protocol import wait

with warnings.catch_warnings():
    # every process would print it; `mpi_vta.runtime.faults.pairing` says the same once, and more
    warnings.filterwarnings("ignore", "suspicious MPI execution environment", RuntimeWarning)
    from mpi4py import MPI

CHUNK_BYTES = 1 << 28
_SCATTER_TAG = 0
_NOTE_TAG = 1
_FORWARDING_S = 1.0
FIRST_EDGE_TAG = 16


class MpiRequest:
    """A non-blocking MPI operation, and the buffer that it must keep alive."""

    def __init__(self, request: Any, buffer: object) -> None:
        self._request = request
        self._buffer = buffer

    def done(self) -> bool:
        """Return whether the operation has completed."""
        return bool(self._request.Test())


class MpiTransport:
    """Buffers between the ranks of a communicator, all ranks by default, waited for politely."""

    def __init__(self, comm: MPI.Comm | None = None) -> None:
        self._comm = MPI.COMM_WORLD if comm is None else comm
        self.rank = int(self._comm.Get_rank())
        self.size = int(self._comm.Get_size())
        self.host = str(MPI.Get_processor_name())
        self._posted: list[MpiRequest] = []
        self._posting = threading.Lock()

    def isend(self, buffer: NDArray[np.uint8], peer: int, tag: int) -> MpiRequest:
        """Start sending; see `Transport.isend`."""
        return MpiRequest(self._comm.Isend([buffer, MPI.BYTE], dest=peer, tag=FIRST_EDGE_TAG + tag), buffer)

    def irecv(self, buffer: NDArray[np.uint8], peer: int, tag: int) -> MpiRequest:
        """Start receiving; see `Transport.irecv`."""
        return MpiRequest(self._comm.Irecv([buffer, MPI.BYTE], source=peer, tag=FIRST_EDGE_TAG + tag), buffer)

    def post(self, data: bytes, peer: int) -> None:
        """Send a note; see `Transport.post`."""
        buffer = np.frombuffer(data, dtype=np.uint8)
        request = MpiRequest(self._comm.Isend([buffer, MPI.BYTE], dest=peer, tag=_NOTE_TAG), buffer)
        with self._posting:
            self._posted = [request, *(old for old in self._posted if not old.done())]

    def flush(self) -> None:
        """Wait until posted notes have left; see `Transport.flush`."""
        with self._posting:
            for request in self._posted:
                wait(request)
            self._posted = []

    def poll(self) -> tuple[int, bytes] | None:
        """Return a note that has come; see `Transport.poll`."""
        status = MPI.Status()
        if not self._comm.Iprobe(MPI.ANY_SOURCE, _NOTE_TAG, status):
            return None
        buffer = np.empty(status.Get_count(MPI.BYTE), dtype=np.uint8)
        self._comm.Recv([buffer, MPI.BYTE], source=status.Get_source(), tag=_NOTE_TAG)
        return status.Get_source(), buffer.tobytes()

    def barrier(self) -> None:
        """Return once every rank has called it."""
        wait(MpiRequest(self._comm.Ibarrier(), None))

    def broadcast(self, data: bytes | None) -> bytes:
        """Give rank 0's bytes to every rank, in chunks that fit MPI's 32-bit counts."""
        buffer = self._shared_buffer(data)
        for start in range(0, buffer.size, CHUNK_BYTES):
            chunk = buffer[start : start + CHUNK_BYTES]
            wait(MpiRequest(self._comm.Ibcast([chunk, MPI.BYTE], root=0), chunk))
        return buffer.tobytes()

    def scatter(self, parts: Sequence[bytes] | None) -> bytes:
        """Give entry r of rank 0's sequence to rank r, chunk by chunk."""
        if parts is None:
            return self._receive_part()
        pending = [
            MpiRequest(self._comm.Isend([chunk, MPI.BYTE], dest=peer, tag=_SCATTER_TAG), chunk)
            for peer, part in enumerate(parts)
            if peer != self.rank
            for chunk in (_size_of(part), *_chunks(np.frombuffer(part, dtype=np.uint8)))
        ]
        for request in pending:
            wait(request)
        return parts[self.rank]

    def gather(self, data: bytes) -> list[bytes] | None:
        """Bring every rank's bytes to rank 0, in rank order."""
        sizes = np.zeros(self.size, dtype=np.int64)
        own = np.array([len(data)], dtype=np.int64)
        wait(MpiRequest(self._comm.Iallgather([own, MPI.INT64_T], [sizes, MPI.INT64_T]), (own, sizes)))
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        mine = np.frombuffer(data, dtype=np.uint8)
        if self.rank != 0:
            wait(MpiRequest(self._comm.Igatherv([mine, MPI.BYTE], None, root=0), mine))
            return None
        everything = np.empty(int(offsets[-1]), dtype=np.uint8)
        target = [everything, (sizes.tolist(), offsets[:-1].tolist()), MPI.BYTE]
        wait(MpiRequest(self._comm.Igatherv([mine, MPI.BYTE], target, root=0), (mine, target)))
        return [everything[offsets[r] : offsets[r + 1]].tobytes() for r in range(self.size)]

    def split(self, groups: Sequence[int]) -> MpiTransport:
        """Give each group a communicator; see `Transport.split`."""
        return MpiTransport(self._comm.Split(groups[self.rank], self.rank))

    def abort(self, status: int) -> None:
        """End every rank; MPI's own message about it would only repeat ours, so it goes to /dev/null."""
        # a launcher that is told of the abort drops what it has not read of our stderr yet
        time.sleep(_FORWARDING_S)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        MPI.COMM_WORLD.Abort(status)

    def _shared_buffer(self, data: bytes | None) -> NDArray[np.uint8]:
        size = _size_of(data) if data is not None else np.zeros(1, dtype=np.int64).view(np.uint8)
        wait(MpiRequest(self._comm.Ibcast([size, MPI.BYTE], root=0), size))
        if data is not None:
            return np.frombuffer(data, dtype=np.uint8)
        return np.empty(int(size.view(np.int64)[0]), dtype=np.uint8)

    def _receive_part(self) -> bytes:
        size = np.zeros(1, dtype=np.int64).view(np.uint8)
        wait(MpiRequest(self._comm.Irecv([size, MPI.BYTE], source=0, tag=_SCATTER_TAG), size))
        buffer = np.empty(int(size.view(np.int64)[0]), dtype=np.uint8)
        for chunk in _chunks(buffer):
            wait(MpiRequest(self._comm.Irecv([chunk, MPI.BYTE], source=0, tag=_SCATTER_TAG), chunk))
        return buffer.tobytes()


def library_version() -> str:
    """Return name and version of the MPI library, ``MPICH 5.0.2``."""
    words = MPI.Get_library_version().replace(":", " ").replace(",", " ").replace("Version", " ").split()
    return " ".join(words[:3] if words[0] == "Open" else words[:2])


def _size_of(data: bytes) -> NDArray[np.uint8]:
    return np.array([len(data)], dtype=np.int64).view(np.uint8)


def _chunks(buffer: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [buffer[start : start + CHUNK_BYTES] for start in range(0, buffer.size, CHUNK_BYTES)]
