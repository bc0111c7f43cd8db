"""Every rank's clock compared with rank 0's, by rounds of ping-pongs; `mpi_vta.trace.clock_sync` fits the line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.runtime.transport.protocol import Transport, wait
from mpi_vta.trace.clock_sync import best_of_round
from mpi_vta.trace.schema import CLOCK_SAMPLE_DTYPE

ROUNDS = 3
QUESTIONS = 30
# edges have the tags from 0 on, the local transport's collectives -1
_TAG = -2


def compare_clocks(transport: Transport, now_ns: Callable[[], int]) -> NDArray[Any]:
    """Compare clocks, one rank after another; every rank of the job calls this at the same point.

    Parameters
    ----------
    transport : Transport
        This rank's end.
    now_ns : callable
        This rank's clock.

    Returns
    -------
    ndarray of CLOCK_SAMPLE_DTYPE, shape (ROUNDS,)
        Of this rank against rank 0; no rows on rank 0.
    """
    if transport.rank == 0:
        for _ in range(ROUNDS):
            for peer in range(1, transport.size):
                _answer(transport, peer, now_ns)
        return np.zeros(0, CLOCK_SAMPLE_DTYPE)
    return np.array([_ask(transport, now_ns) for _ in range(ROUNDS)], CLOCK_SAMPLE_DTYPE)


def _ask(transport: Transport, now_ns: Callable[[], int]) -> Any:
    times = np.zeros((3, QUESTIONS), np.int64)
    for index in range(-1, QUESTIONS):
        sent_ns = now_ns()
        _spin(transport.isend(np.zeros(8, np.uint8), 0, _TAG))
        answer = np.zeros(8, np.uint8)
        request = transport.irecv(answer, 0, _TAG)
        if index < 0:
            # the first question waits until rank 0 has come to this rank, and is not counted
            wait(request)
        else:
            _spin(request)
            times[:, index] = sent_ns, answer.view(np.int64)[0], now_ns()
    return best_of_round(times[0], times[1], times[2])


def _answer(transport: Transport, peer: int, now_ns: Callable[[], int]) -> None:
    for _ in range(-1, QUESTIONS):
        _spin(transport.irecv(np.zeros(8, np.uint8), peer, _TAG))
        _spin(transport.isend(np.array([now_ns()], np.int64).view(np.uint8), peer, _TAG))


def _spin(request: Any) -> None:
    """Wait without sleeping: a sleep would be measured as distance. It is short, and happens twice in a run."""
    while not request.done():
        pass
