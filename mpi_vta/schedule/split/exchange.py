"""How long an exchange of pieces between boards takes, estimated: what each rank's processor and ports have to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.window import Window
from mpi_vta.plans.network import NetworkModel


@dataclass(frozen=True, eq=False)
class Holding:
    """Who has, or wants, which piece of a value.

    Attributes
    ----------
    ranks : ndarray of intp, shape (n,)
    low, high : ndarray of int64, shape (n, 2)
        First and end of the rows, and of the channel blocks.
    """

    ranks: NDArray[np.intp]
    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @classmethod
    def of(cls, pieces: Iterable[tuple[int, Window]], block: int) -> Holding:
        """Return the holding of (rank, window) pairs; `block` is the channels of a block."""
        found = [(rank, w.rows[0], w.channels[0] // block, w.rows[1], -(-w.channels[1] // block)) for rank, w in pieces]
        table = np.array(found, dtype=np.int64)
        return cls(table[:, 0].astype(np.intp), table[:, 1:3], table[:, 3:5])


@dataclass(frozen=True)
class Exchanged:
    """A value on its way from those who have it to those who want it.

    Attributes
    ----------
    held, wanted : Holding
        Who has what, without overlap, and who wants what.
    row_bytes : int
        Bytes of one row of one channel block.
    """

    held: Holding
    wanted: Holding
    row_bytes: int


def exchange_ns(values: Sequence[Exchanged], ranks: int, network: NetworkModel, copy_ns_per_byte: float) -> float:
    """Return how long it takes until every rank has what it wants, all starting together.

    An estimate for searching: the busiest processor, or the busiest port and the way of one message. What a rank
    has itself it copies, unless it is exactly what it wants.
    """
    cpu, leaving, entering = np.zeros(ranks), np.zeros(ranks), np.zeros(ranks)
    messages, host_total = 0, 0.0
    for value in values:
        held, wanted = value.held, value.wanted
        common = np.minimum(held.high[:, None], wanted.high) - np.maximum(held.low[:, None], wanted.low)
        size = np.prod(np.maximum(common, 0), axis=2) * value.row_bytes
        here = held.ranks[:, None] == wanted.ranks
        as_is = ((held.low[:, None] == wanted.low) & (held.high[:, None] == wanted.high)).all(axis=2)
        sent = np.where(here, 0, size)
        host = np.where(sent > 0, network.host_ns(sent), 0)
        wire = network.wire_ns(sent)
        copied = np.where(here & ~as_is, size, 0).sum(axis=0) * copy_ns_per_byte
        cpu += np.bincount(held.ranks, host.sum(axis=1), ranks)
        cpu += np.bincount(wanted.ranks, host.sum(axis=0) + copied, ranks)
        leaving += np.bincount(held.ranks, wire.sum(axis=1), ranks)
        entering += np.bincount(wanted.ranks, wire.sum(axis=0), ranks)
        messages += int(np.count_nonzero(sent))
        host_total += float(host.sum())
    if not messages:
        return float(cpu.max())
    way_ns = network.latency_ns + 2 * host_total / messages
    return float(max(cpu.max(), way_ns + max(leaving.max(), entering.max())))
