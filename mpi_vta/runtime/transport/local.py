"""Ranks as threads of one process: the transport for tests and for a machine without MPI."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import LaunchError
from mpi_vta.runtime.transport.protocol import wait

T = TypeVar("T")
_COLLECTIVE_TAG = -1
_NOTE_TAG = -3


class Message:
    """A message in a queue.

    Attributes
    ----------
    data : bytes
        What it carries.
    taken : bool
        Whether the receiver has it.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.taken = data, False


class LocalWorld:
    """What the ranks share: one queue of messages per (source, destination, tag), and whether one has failed.

    Parameters
    ----------
    size : int
        Ranks.
    eager : bool
        Whether a send is complete at once; else, as MPI does with large messages, when the receiver has it.
    """

    def __init__(self, size: int, *, eager: bool = True) -> None:
        self.size, self.eager = size, eager
        self.failed = threading.Event()
        self._lock = threading.Lock()
        self._queues: dict[tuple[int, int, int], deque[Message]] = {}
        self._deepest: dict[int, int] = {}

    def put(self, key: tuple[int, int, int], data: bytes) -> Message:
        """Append a message to a queue, and return it."""
        message = Message(data)
        with self._lock:
            queue = self._queues.setdefault(key, deque())
            queue.append(message)
            self._deepest[key[2]] = max(self._deepest.get(key[2], 0), len(queue))
        return message

    @property
    def deepest(self) -> dict[int, int]:
        """Most messages that ever waited between two ranks, by tag."""
        return dict(self._deepest)

    def take(self, key: tuple[int, int, int]) -> bytes | None:
        """Remove and return the oldest message of a queue, or None if there is none yet.

        Raises
        ------
        LaunchError
            If another rank has failed, so that the message would never come.
        """
        with self._lock:
            queue = self._queues.get(key)
            if queue:
                message = queue.popleft()
                message.taken = True
                return message.data
        if self.failed.is_set():
            raise LaunchError("another rank has failed", where=f"rank {key[1]}")
        return None


class _Sent:
    """A send of which the message was copied."""

    def __init__(self, world: LocalWorld, message: Message) -> None:
        self._world, self._message = world, message

    def done(self) -> bool:
        if self._world.failed.is_set():
            raise LaunchError("another rank has failed", where="send")
        return self._world.eager or self._message.taken


class _Receive:
    """A receive that fills its buffer when the message is there."""

    def __init__(self, world: LocalWorld, key: tuple[int, int, int], buffer: NDArray[np.uint8] | None) -> None:
        self._world, self._key, self._buffer = world, key, buffer
        self.data: bytes | None = None

    def done(self) -> bool:
        if self.data is None:
            self.data = self._world.take(self._key)
            if self.data is not None and self._buffer is not None:
                self._buffer[:] = np.frombuffer(self.data, dtype=np.uint8)
        return self.data is not None


class LocalTransport:
    """One thread's end of a `LocalWorld`, or of a group of its ranks.

    Parameters
    ----------
    world : LocalWorld
        Shared by all.
    rank : int
        Whose end, among all ranks of the world.
    members : sequence of int, optional
        The ranks of the group; all by default.
    """

    def __init__(self, world: LocalWorld, rank: int, members: Sequence[int] | None = None) -> None:
        self._world = world
        self._members = tuple(range(world.size) if members is None else members)
        self.rank, self.size, self.host = self._members.index(rank), len(self._members), "localhost"

    def isend(self, buffer: NDArray[np.uint8], peer: int, tag: int) -> _Sent:
        """Copy the buffer into the receiver's queue."""
        return _Sent(self._world, self._world.put(self._key(self.rank, peer, tag), buffer.tobytes()))

    def irecv(self, buffer: NDArray[np.uint8], peer: int, tag: int) -> _Receive:
        """Start receiving; see `Transport.irecv`."""
        return _Receive(self._world, self._key(peer, self.rank, tag), buffer)

    def post(self, data: bytes, peer: int) -> None:
        """Send a note; see `Transport.post`."""
        self._world.put(self._key(self.rank, peer, _NOTE_TAG), data)

    def flush(self) -> None:
        """Do nothing: what was posted lies in its receiver's queue."""

    def poll(self) -> tuple[int, bytes] | None:
        """Return a note that has come; see `Transport.poll`."""
        for peer in range(self.size):
            key = self._key(peer, self.rank, _NOTE_TAG)
            data = None if self._world.failed.is_set() else self._world.take(key)
            if data is not None:
                return peer, data
        return None

    def barrier(self) -> None:
        """Return once every rank has called it."""
        self.gather(b"")
        self.broadcast(b"" if self.rank == 0 else None)

    def broadcast(self, data: bytes | None) -> bytes:
        """Give rank 0's bytes to every rank."""
        return self.scatter(None if data is None else [data] * self.size)

    def scatter(self, parts: Sequence[bytes] | None) -> bytes:
        """Give entry r of rank 0's sequence to rank r."""
        if parts is None:
            return self._take_from(0)
        for peer, part in enumerate(parts):
            self._world.put(self._key(self.rank, peer, _COLLECTIVE_TAG), part)
        return self._take_from(0)

    def gather(self, data: bytes) -> list[bytes] | None:
        """Bring every rank's bytes to rank 0."""
        self._world.put(self._key(self.rank, 0, _COLLECTIVE_TAG), data)
        return None if self.rank else [self._take_from(peer) for peer in range(self.size)]

    def split(self, groups: Sequence[int]) -> LocalTransport:
        """Give each group a numbering of its own; see `Transport.split`."""
        mine = [member for member, group in zip(self._members, groups, strict=True) if group == groups[self.rank]]
        return LocalTransport(self._world, self._members[self.rank], mine)

    def abort(self, status: int) -> None:
        """Let every rank that waits fail."""
        self._world.failed.set()

    def _key(self, source: int, target: int, tag: int) -> tuple[int, int, int]:
        return (self._members[source], self._members[target], tag)

    def _take_from(self, peer: int) -> bytes:
        request = _Receive(self._world, self._key(peer, self.rank, _COLLECTIVE_TAG), None)
        wait(request)
        assert request.data is not None
        return request.data


def run_ranks(size: int, work: Callable[[LocalTransport], T], world: LocalWorld | None = None) -> list[T]:
    """Run `work` once per rank, each in its own thread, and return the results in rank order.

    The first failure is raised again here, after every thread has ended. A world of other habits may be given.
    """
    world = world or LocalWorld(size)
    failures: list[BaseException] = []

    def note_failure(future: Future[T]) -> None:
        fault = future.exception()
        if fault is not None:
            failures.append(fault)
            world.failed.set()

    with ThreadPoolExecutor(max_workers=size, thread_name_prefix="rank") as pool:
        futures = [pool.submit(work, LocalTransport(world, rank)) for rank in range(size)]
        for future in futures:
            future.add_done_callback(note_failure)
    if failures:
        raise failures[0]
    return [future.result() for future in futures]
