"""What a link does: ping-pongs of several sizes and two streams, waited for as the runtime waits; and the fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import InputError
from mpi_vta.hw.cluster import Link
from mpi_vta.runtime.transport.protocol import Transport, wait

PING_BYTES = (1, 4_096, 32_768, 131_072, 524_288, 1_048_576)
PINGS = 12
SMALL_MESSAGES = 400
LARGE_MESSAGES = 12
LARGE_BYTES = 1 << 20
_TAG = 0


@dataclass(frozen=True)
class LinkTimes:
    """Measured on one link.

    Attributes
    ----------
    sizes : tuple of int
        Bytes of the ping-pongs.
    one_way_ns : tuple of float
        Half the median round trip of each size.
    small_gap_ns : float
        Time per message of a stream of single bytes: what a message costs the processor.
    large_gap_ns : float
        Time per message of a stream of `large_bytes` each: what it costs the slower of wire and processor.
    large_bytes : int
        Bytes of the large stream's messages.
    """

    sizes: tuple[int, ...]
    one_way_ns: tuple[float, ...]
    small_gap_ns: float
    large_gap_ns: float
    large_bytes: int


def fit_link(times: LinkTimes) -> Link:
    """Return the model's constants for a link.

    A message takes ``2 * per_message + latency + size * (1 / bandwidth + 2 * per_byte)`` one way; the line
    through the ping-pongs, each point weighted by its own time, gives the two sums. The small stream gives
    `per_message`, the large one the bandwidth, and what is left is latency and `per_byte`.

    Raises
    ------
    InputError
        If there are fewer than two sizes, or times that do not grow with the size: nothing can be fitted.
    """
    sizes, one_way = np.array(times.sizes, float), np.array(times.one_way_ns, float)
    if np.unique(sizes).size < 2 or (one_way <= 0).any() or times.large_gap_ns <= 0:
        raise InputError("no line can be fitted", where="link", allowed="two sizes or more, and times above 0")
    weight = 1 / one_way
    design = np.stack([np.ones_like(sizes), sizes], axis=1) * weight[:, None]
    (fixed_ns, slope_ns), *_ = np.linalg.lstsq(design, one_way * weight, rcond=None)
    if slope_ns <= 0:
        raise InputError("larger messages take no longer than small ones", where="link", remedy="measure again, idle")
    # ping-pongs may slip through a shaper's burst or a switch's buffers: only a stream shows the wire
    wire_ns = times.large_gap_ns / times.large_bytes
    per_message_ns = min(times.small_gap_ns, max(fixed_ns, 0.0) / 2)
    return Link(
        bandwidth_mb_s=float(1000 / wire_ns),
        latency_ns=round(max(fixed_ns - 2 * per_message_ns, 0.0)),
        per_message_ns=round(per_message_ns),
        per_byte_ns=float(max(slope_ns - wire_ns, 0.0) / 2),
    )


def median_link(links: Sequence[Link]) -> Link:
    """Return the median of each constant."""
    return Link(
        float(np.median([link.bandwidth_mb_s for link in links])),
        round(float(np.median([link.latency_ns for link in links]))),
        round(float(np.median([link.per_message_ns for link in links]))),
        float(np.median([link.per_byte_ns for link in links])),
    )


def probe_links(transport: Transport) -> list[LinkTimes]:
    """Measure rank 0's link to every other rank, one after another; every rank calls this.

    Returns
    -------
    list of LinkTimes
        By peer, from rank 1 on; empty on the other ranks.
    """
    found = []
    for peer in range(1, transport.size):
        if transport.rank == 0:
            found.append(_lead(transport, peer))
        elif transport.rank == peer:
            _follow(transport)
        transport.barrier()
    return found


def _lead(transport: Transport, peer: int) -> LinkTimes:
    one_way = []
    for size in PING_BYTES:
        rounds = []
        for _ in range(PINGS):
            started = time.monotonic_ns()
            _send(transport, peer, [size])
            _receive(transport, peer, [size])
            rounds.append((time.monotonic_ns() - started) / 2)
        # the first round also opens the connection
        one_way.append(float(np.median(rounds[1:])))
    small = _stream(transport, peer, [1] * SMALL_MESSAGES, one_way[0])
    large = _stream(transport, peer, [LARGE_BYTES] * LARGE_MESSAGES, one_way[0])
    return LinkTimes(PING_BYTES, tuple(one_way), small, large, LARGE_BYTES)


def _follow(transport: Transport) -> None:
    for size in PING_BYTES:
        for _ in range(PINGS):
            _receive(transport, 0, [size])
            _send(transport, 0, [size])
    for sizes in ([1] * SMALL_MESSAGES, [LARGE_BYTES] * LARGE_MESSAGES):
        _receive(transport, 0, sizes)
        _send(transport, 0, [1])


def _stream(transport: Transport, peer: int, sizes: Sequence[int], answer_ns: float) -> float:
    """Return the time per message of a stream whose end is answered with one byte."""
    started = time.monotonic_ns()
    _send(transport, peer, sizes)
    _receive(transport, peer, [1])
    return max(time.monotonic_ns() - started - answer_ns, 1.0) / len(sizes)


def _send(transport: Transport, peer: int, sizes: Sequence[int]) -> None:
    for request in [transport.isend(_buffer(size), peer, _TAG) for size in sizes]:
        wait(request)


def _receive(transport: Transport, peer: int, sizes: Sequence[int]) -> None:
    for request in [transport.irecv(_buffer(size), peer, _TAG) for size in sizes]:
        wait(request)


def _buffer(size: int) -> NDArray[np.uint8]:
    return np.zeros(size, np.uint8)
