"""Points handed out one by one: rank 0 gives each rank the next one when it asks, and works too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from mpi_vta.runtime.transport.protocol import MessageRequest, Pause, Transport, wait

_HEADER_TAG, _RESULT_TAG, _POINT_TAG = 1, 2, 3
_STOP = -1
_NOTHING = -1


class _Queue:
    """The points that nobody has yet, and where results go; used by rank 0's two threads."""

    def __init__(self, points: Sequence[int], keep: Callable[[int, bytes], None]) -> None:
        self._points, self._keep = iter(points), keep
        self._lock = threading.Lock()
        self.given_up = threading.Event()

    def next(self) -> int:
        """Return the next point, or `_STOP`."""
        with self._lock:
            return next(self._points, _STOP)

    def done(self, point: int, result: bytes) -> None:
        """Keep a result."""
        with self._lock:
            self._keep(point, result)


class _Worker:
    """What rank 0 knows of another rank: it sends a header (point, size), then the result, and gets a point."""

    def __init__(self, transport: Transport, rank: int, queue: _Queue) -> None:
        self._transport, self._rank, self._queue = transport, rank, queue
        self._header = np.zeros(2, np.int64)
        self._result: np.ndarray[tuple[int], np.dtype[np.uint8]] | None = None
        self.working = True
        self._request = self._await_header()

    def serve(self) -> bool:
        """Do what is possible now; return whether there was something."""
        if not self.working or not self._request.done():
            return False
        point, size = self._header.tolist()
        if self._result is None and point != _NOTHING:
            self._result = np.empty(size, np.uint8)
            self._request = self._transport.irecv(self._result, self._rank, _RESULT_TAG)
            return True
        if self._result is not None:
            self._queue.done(point, self._result.tobytes())
            self._result = None
        given = self._queue.next()
        wait(self._transport.isend(np.array([given], np.int64).view(np.uint8), self._rank, _POINT_TAG))
        self.working = given != _STOP
        if self.working:
            self._request = self._await_header()
        return True

    def _await_header(self) -> MessageRequest:
        return self._transport.irecv(self._header.view(np.uint8), self._rank, _HEADER_TAG)


def hand_out(
    transport: Transport,
    points: Sequence[int],
    evaluate: Callable[[int], bytes],
    keep: Callable[[int, bytes], None],
) -> None:
    """Have every point evaluated once, from rank 0; the others call `take_points` meanwhile.

    A second thread answers the other ranks, and alone uses the transport, while this one evaluates points itself.

    Parameters
    ----------
    transport : Transport
        Rank 0's end.
    points : sequence of int
        In the order in which they are to be begun.
    evaluate : callable
        Returns the result of a point.
    keep : callable
        Takes a point and its result, in the order in which they are done; never called twice at once.
    """
    queue = _Queue(points, keep)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="hand-out") as pool:
        serving = pool.submit(_serve, transport, queue)
        try:
            while not _failed(serving) and (point := queue.next()) != _STOP:
                queue.done(point, evaluate(point))
        except BaseException:
            queue.given_up.set()
            raise
        serving.result()


def take_points(transport: Transport, evaluate: Callable[[int], bytes]) -> None:
    """Evaluate the points that rank 0 hands out, until there are no more; see `hand_out`."""
    point, result = _NOTHING, b""
    while True:
        header = np.array([point, len(result)], np.int64).view(np.uint8)
        wait(transport.isend(header, 0, _HEADER_TAG))
        if point != _NOTHING:
            wait(transport.isend(np.frombuffer(result, np.uint8), 0, _RESULT_TAG))
        given = np.zeros(1, np.int64)
        wait(transport.irecv(given.view(np.uint8), 0, _POINT_TAG))
        (point,) = given.tolist()
        if point == _STOP:
            return
        result = evaluate(point)


def _serve(transport: Transport, queue: _Queue) -> None:
    workers = [_Worker(transport, rank, queue) for rank in range(1, transport.size)]
    pause = Pause()
    while any(worker.working for worker in workers) and not queue.given_up.is_set():
        if any([worker.serve() for worker in workers]):
            pause = Pause()
        else:
            pause.once()


def _failed(serving: Future[None]) -> bool:
    return serving.done() and serving.exception() is not None
