"""The exact division of a chain of layers into stages with replicas, over boards of several types.

The model is fluid: in a period of P nanoseconds a board that needs ``load`` of a resource per image
group, besides ``fixed`` for other duties, handles ``(P - fixed) / load`` groups, the least over its
resources; a stage is fast enough if its boards together handle one. Given P, a dynamic program over
(layers done, boards of each type used) finds whether the boards suffice; P is found by bisection to
one nanosecond.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import PlanError

# Relative slack for rounding when capacities are added up
SLACK = 1e-9
IMPOSSIBLE = np.int64(1) << 40
# Costs are boards of the first type, then stages: one number, boards first
BOARD_COST = 1 << 20


@dataclass(frozen=True)
class BoardType:
    """Boards that are alike.

    Attributes
    ----------
    ranks : tuple of int
        Theirs, ascending.
    load_ns : ndarray of int64, shape (resources, n + 1, n + 1)
        How long each resource of one of them is busy with layers [i, j) per image group.
    fixed_ns : ndarray of int64, shape (resources,)
        How long it is busy per image group of the job whatever layers it has.
    """

    ranks: tuple[int, ...]
    load_ns: NDArray[np.int64]
    fixed_ns: NDArray[np.int64]

    def capacity(self, period_ns: int) -> NDArray[np.float64]:
        """Return how many image groups one board handles per period, for layers [i, j) at ``[i, j]``."""
        free_ns = np.maximum(period_ns - self.fixed_ns, 0)[:, None, None]
        with np.errstate(divide="ignore"):
            per_resource = np.where(self.load_ns > 0, free_ns / np.maximum(self.load_ns, 1), np.inf)
        least: NDArray[np.float64] = per_resource.min(axis=0)
        return least


@dataclass(frozen=True)
class Share:
    """Layers [first, end) on ``counts[t]`` boards of each type."""

    first: int
    end: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Division:
    """Stages in order, and the period in which they handle one image group."""

    shares: tuple[Share, ...]
    period_ns: int


def divide(types: Sequence[BoardType], stages: int | None = None, loss: float = 0.0) -> Division:
    """Return the division of the shortest period, with as few boards and then stages as it allows.

    Parameters
    ----------
    types : sequence of BoardType
        At least one, each with at least one board.
    stages : int or None
        Wanted number of stages; None for any.
    loss : float
        Fraction by which the period may exceed the shortest where that saves boards.

    Raises
    ------
    PlanError
        If the boards or layers do not suffice for that many stages.
    """
    layers = types[0].load_ns.shape[1] - 1
    most = min(layers, sum(len(kind.ranks) for kind in types))
    if stages is not None and not 1 <= stages <= most:
        raise PlanError(f"{stages} stages", where="--stages", allowed=f"1..{most}")
    # The most numerous type is counted, the others are enumerated
    order = sorted(range(len(types)), key=lambda t: -len(types[t].ranks))
    search = _Search([types[t] for t in order], layers, stages)
    low = int(max(kind.fixed_ns.max() for kind in types))
    high = int(max(np.triu(kind.load_ns).max() + kind.fixed_ns.max() for kind in types)) + 1
    while low < high:
        middle = (low + high) // 2
        if search.solve(middle) is None:
            low = middle + 1
        else:
            high = middle
    shares = search.solve(max(high, int(high * (1 + loss))))
    if shares is None:
        raise RuntimeError("the longest period does not suffice")
    place = {t: i for i, t in enumerate(order)}
    ordered = tuple(Share(s.first, s.end, tuple(s.counts[place[t]] for t in range(len(types)))) for s in shares)
    return Division(ordered, high)


class _Search:
    """The dynamic program for one period, over types in order of number."""

    def __init__(self, types: Sequence[BoardType], layers: int, stages: int | None) -> None:
        self._types = types
        self._layers = layers
        self._stages = stages
        # A last dimension of one keeps slices of the table arrays when there is only one type
        self._limits = (*(len(kind.ranks) for kind in types[1:]), 0)
        self._mixes = list(product(*(range(limit + 1) for limit in self._limits)))

    def solve(self, period_ns: int) -> list[Share] | None:
        """Return stages that keep up with the period, with the fewest boards and then stages, or None."""
        capacity = [kind.capacity(period_ns) for kind in self._types]
        needed = self._needed(capacity)
        levels = (self._stages or 0) + 1
        shape = (levels, self._layers + 1, *(limit + 1 for limit in self._limits))
        cost = np.full(shape, IMPOSSIBLE, dtype=np.int64)
        cost[(0, 0, *(0 for _ in self._limits))] = 0
        steps: dict[tuple[int, ...], tuple[int, tuple[int, ...]]] = {}
        for end, first, before, after in self._transitions(levels):
            for mix in self._mixes:
                count = int(needed[mix][first, end])
                if count <= len(self._types[0].ranks):
                    self._relax(cost, steps, (before, first), (after, end), mix, count)
        return self._best(cost, steps)

    def _needed(self, capacity: Sequence[NDArray[np.float64]]) -> dict[tuple[int, ...], NDArray[np.int64]]:
        """Return how many boards of the first type each segment needs besides each mix of the others.

        Where a mix would do with one board less, it is ruled out: more than all boards.
        """
        counted = {mix: self._counted(capacity, mix) for mix in self._mixes}
        ruled_out = len(self._types[0].ranks) + 1
        result = {}
        for mix, boards in counted.items():
            spare = np.zeros(boards.shape, dtype=np.bool_)
            for t, used in enumerate(mix):
                if used and sum(mix) > 1:
                    spare |= counted[(*mix[:t], used - 1, *mix[t + 1 :])] == 0
            result[mix] = np.where(spare, ruled_out, boards)
        return result

    def _transitions(self, levels: int) -> Iterator[tuple[int, int, int, int]]:
        for end in range(1, self._layers + 1):
            for first in range(end):
                if self._stages is None:
                    yield end, first, 0, 0
                else:
                    for level in range(levels - 1):
                        yield end, first, level, level + 1

    def _counted(self, capacity: Sequence[NDArray[np.float64]], mix: tuple[int, ...]) -> NDArray[np.int64]:
        missing: NDArray[np.float64] = np.full_like(capacity[0], 1.0 - SLACK)
        for count, able in zip(mix, capacity[1:], strict=False):
            if count:
                missing = missing - count * able
        limit = len(self._types[0].ranks)
        with np.errstate(divide="ignore", invalid="ignore"):
            boards = np.maximum(np.ceil(missing / capacity[0]), 1.0)
        boards = np.where(missing > 0, np.where(np.isfinite(boards) & (boards <= limit), boards, limit + 1), 0)
        return boards.astype(np.int64)

    def _relax(
        self,
        cost: NDArray[np.int64],
        steps: dict[tuple[int, ...], tuple[int, tuple[int, ...]]],
        source: tuple[int, int],
        target: tuple[int, int],
        mix: tuple[int, ...],
        count: int,
    ) -> None:
        reach = tuple(slice(0, limit + 1 - used) for limit, used in zip(self._limits, mix, strict=True))
        shifted = tuple(slice(used, limit + 1) for limit, used in zip(self._limits, mix, strict=True))
        offered = cost[source][reach] + count * BOARD_COST + 1
        here = cost[target][shifted]
        better = (offered < here) & (offered < (len(self._types[0].ranks) + 1) * BOARD_COST)
        if better.any():
            here[better] = offered[better]
            for found in np.argwhere(better):
                state = tuple(int(at) + used for at, used in zip(found, mix, strict=True))
                steps[(*target, *state)] = (source[1], (count, *mix))

    def _best(
        self, cost: NDArray[np.int64], steps: dict[tuple[int, ...], tuple[int, tuple[int, ...]]]
    ) -> list[Share] | None:
        final = cost[-1, self._layers]
        reached = [state for state in np.ndindex(final.shape) if final[state] < IMPOSSIBLE]
        if not reached:
            return None
        state = min(reached, key=lambda s: (sum(s) + final[s] // BOARD_COST, final[s] % BOARD_COST, s))
        level, end, shares = cost.shape[0] - 1, self._layers, []
        while end:
            first, counts = steps[(level, end, *state)]
            shares.append(Share(first, end, counts[:-1]))
            state = tuple(at - used for at, used in zip(state, counts[1:], strict=True))
            level, end = max(level - 1, 0), first
        return shares[::-1]
