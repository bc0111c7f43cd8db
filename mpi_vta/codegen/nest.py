"""Loop nests as VTA runs them: two counted loops around a list of micro-ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.isa.table import TRIP_COUNT_BITS

MAX_TRIPS = (1 << TRIP_COUNT_BITS) - 1
HAZARD_DISTANCE = 3  # the same accumulator not within the next two micro-ops


@dataclass(frozen=True)
class Dim:
    """One loop: trip count and the steps of the three indices; a dimension with dst = 0 is a reduction."""

    count: int
    dst: int
    src: int = 0
    wgt: int = 0


@dataclass(frozen=True)
class Nest:
    """A nest split over the two hardware loops and the micro-op list (offsets from the bases)."""

    outer: Dim
    inner: Dim
    dst: NDArray[np.int64]
    src: NDArray[np.int64]
    wgt: NDArray[np.int64]

    @property
    def steps(self) -> int:
        """Micro-ops executed."""
        return self.outer.count * self.inner.count * len(self.dst)

    def loop_fields(self) -> dict[str, int]:
        """Return the instruction fields of the two loops that GEMM and ALU share."""
        return {
            "iter_out": self.outer.count,
            "iter_in": self.inner.count,
            "dst_factor_out": self.outer.dst,
            "dst_factor_in": self.inner.dst,
            "src_factor_out": self.outer.src,
            "src_factor_in": self.inner.src,
        }

    def uops(self, dst: int, src: int, wgt: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the micro-op list for the given first elements."""
        return self.dst + dst, self.src + src, self.wgt + wgt


_UNIT = Dim(1, 0)


def merged(dims: Sequence[Dim]) -> list[Dim]:
    """Drop loops of one trip and join neighbours that walk like one loop (outer to inner order)."""
    result: list[Dim] = []
    for dim in dims:
        if dim.count == 1:
            continue
        if result:
            last = result[-1]
            step = (dim.count * dim.dst, dim.count * dim.src, dim.count * dim.wgt)
            if (last.dst, last.src, last.wgt) == step and last.count * dim.count <= MAX_TRIPS:
                result[-1] = Dim(last.count * dim.count, dim.dst, dim.src, dim.wgt)
                continue
        result.append(dim)
    return result


def hazard_free(order: Sequence[Dim]) -> bool:
    """Return whether no accumulator recurs within two micro-ops when loops run in this order."""
    inside = 1
    for dim in reversed(order):
        if dim.count == 1:
            continue
        if dim.dst == 0:
            return inside >= HAZARD_DISTANCE
        inside *= dim.count
    return True


def split(dims: Sequence[Dim], limits: tuple[int, int, int]) -> Nest | None:
    """Choose the two hardware loops that leave the shortest micro-op list without hazards.

    Parameters
    ----------
    dims : sequence of Dim
        Outer to inner; dst-preserving (reduction) loops may be reordered freely.
    limits : tuple of int
        Exclusive upper bounds of the dst, src and wgt steps of a hardware loop.

    Returns
    -------
    Nest or None
        None if every order has a hazard: the caller must spread the reduction over partial sums.
    """
    return _split(tuple(merged(dims)), limits)


@lru_cache(maxsize=65536)
def _split(loops: tuple[Dim, ...], limits: tuple[int, int, int]) -> Nest | None:
    candidates = [_UNIT, _UNIT, *loops]
    best: tuple[int, list[Dim], Dim, Dim] | None = None
    for first, second in permutations(range(len(candidates)), 2):
        outer, inner = candidates[first], candidates[second]
        if not (_fits(outer, limits) and _fits(inner, limits)):
            continue
        rest = [dim for index, dim in enumerate(candidates) if index not in (first, second) and dim.count > 1]
        rest = [dim for dim in rest if dim.dst == 0] + [dim for dim in rest if dim.dst != 0]
        if not hazard_free([outer, inner, *rest]):
            continue
        length = int(np.prod([dim.count for dim in rest], dtype=np.int64)) if rest else 1
        if best is None or length < best[0]:
            best = (length, rest, outer, inner)
    if best is None:
        return None
    _, rest, outer, inner = best
    return Nest(outer, inner, *offsets(rest))


def _fits(dim: Dim, limits: tuple[int, int, int]) -> bool:
    return dim.count <= MAX_TRIPS and dim.dst < limits[0] and dim.src < limits[1] and dim.wgt < limits[2]


def offsets(dims: Sequence[Dim]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the (dst, src, wgt) offsets that the loops visit, outer to inner."""
    dst = src = wgt = np.zeros(1, dtype=np.int64)
    for dim in dims:
        trips = np.arange(dim.count, dtype=np.int64)
        dst = (dst[:, None] + trips * dim.dst).reshape(-1)
        src = (src[:, None] + trips * dim.src).reshape(-1)
        wgt = (wgt[:, None] + trips * dim.wgt).reshape(-1)
    return dst, src, wgt


def dealt(dims: Sequence[Dim], cells: int) -> Nest:
    """Spread a reduction over `HAZARD_DISTANCE` partial sums, `cells` accumulators apart.

    The caller adds the partial sums afterwards.
    """
    loops = merged(dims)
    reduction = [dim for dim in loops if dim.dst == 0]
    spread = [dim for dim in loops if dim.dst != 0]
    dst, src, wgt = offsets([*reduction, *spread])
    turn = np.arange(len(dst)) // int(np.prod([dim.count for dim in spread], dtype=np.int64)) % HAZARD_DISTANCE
    return Nest(_UNIT, _UNIT, dst + turn * cells, src, wgt)
