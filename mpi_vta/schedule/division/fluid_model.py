"""Values of the fluid model: what boards can do in a period, what is wanted of a division, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NEVER_NS = np.int64(1) << 60
# Relative slack for rounding when capacities are added up
SLACK = 1e-9


@dataclass(frozen=True)
class BoardType:
    """Boards that are alike; tables are for layers between cut points i and j, at ``[i, j]``.

    Attributes
    ----------
    ranks : tuple of int
        Theirs, ascending.
    load_ns : ndarray of int64, shape (resources, k, k)
        How long each resource of one of them is busy per image group; `NEVER_NS` if it cannot run them.
    fixed_ns : ndarray of int64, shape (resources,)
        How long it is busy per image group of the job whatever layers it has.
    alone_ns : ndarray of int64, shape (k, k), or None
        Shortest period of one that is a stage by itself; None if `load_ns` and `fixed_ns` say it.
    idle_ns : int
        Shortest period of one without layers. Not 0 only for a type of a single board.
    bytes_in, alone_bytes_in : ndarray of int64, shape (k, k), or None
        Bytes received, shared with other boards or alone, to choose between equals; None for no matter.
    """

    ranks: tuple[int, ...]
    load_ns: NDArray[np.int64]
    fixed_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros((), dtype=np.int64))
    alone_ns: NDArray[np.int64] | None = None
    idle_ns: int = 0
    bytes_in: NDArray[np.int64] | None = None
    alone_bytes_in: NDArray[np.int64] | None = None

    def capacity(self, period_ns: int) -> NDArray[np.float64]:
        """Return how many image groups one board of several handles per period."""
        free_ns = np.broadcast_to(period_ns - self.fixed_ns, self.load_ns.shape[:1])[:, None, None]
        able = np.where(self.load_ns > 0, np.maximum(free_ns, 0) / np.maximum(self.load_ns, 1), np.inf)
        least: NDArray[np.float64] = np.where((free_ns < 0) | (self.load_ns >= NEVER_NS), 0.0, able).min(axis=0)
        return least

    def keeps_up(self, period_ns: int) -> NDArray[np.bool_]:
        """Return whether one board by itself handles an image group per period."""
        if self.alone_ns is not None:
            return np.asarray(self.alone_ns <= period_ns)
        return self.capacity(period_ns) >= 1.0 - SLACK

    @property
    def longest_ns(self) -> int:
        """A period that suffices for whatever is possible at all."""
        loads = [self.load_ns + np.broadcast_to(self.fixed_ns, self.load_ns.shape[:1])[:, None, None]]
        if self.alone_ns is not None:
            loads.append(self.alone_ns[None])
        return max(self.idle_ns, *(int(load[load < NEVER_NS].max(initial=0)) for load in loads))


@dataclass(frozen=True)
class Share:
    """Layers between two cut points on ``counts[t]`` boards of each type."""

    first: int
    end: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Division:
    """Stages in order, and the period in which they handle one image group."""

    shares: tuple[Share, ...]
    period_ns: int


@dataclass(frozen=True)
class Wish:
    """What a division has to be like.

    Attributes
    ----------
    stages : int or None
        Number of stages; None for any.
    replicas : bool
        Whether a stage may have several boards.
    allowed : ndarray of bool, shape (k, k), or None
        Which stages may be used; None for all.
    boards : mapping of (int, int) to int
        How many boards a stage must have, if it is used.
    """

    stages: int | None = None
    replicas: bool = True
    allowed: NDArray[np.bool_] | None = None
    boards: Mapping[tuple[int, int], int] = field(default_factory=dict)
