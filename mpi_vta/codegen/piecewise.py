"""Piecewise functions of one value: chains of multiplications and one-sided clamps, exact for every int8.

A bent term max(m x, t) is a slope on one side and flat on the other. While what has been accumulated is flat,
too, where a new bend is flat, adding m x and clamping in place adds the bend: one GEMM and one ALU pass. A
bend may be turned round, as max(m x, t) = m x + t + max(-m x, -t). What cannot follow in one chain is
accumulated in another one, in a scratch tile, and added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.kernel import Kernel, Term
from mpi_vta.codegen.terms import INT8, diagonal, make_kernel, requantization
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.layout import channel_blocks
from mpi_vta.hw.config import VTAConfig

EVERY = np.arange(INT8[0], INT8[1] + 1, dtype=np.int64)
IMMEDIATE = (-(1 << 15), (1 << 15) - 1)
SEARCHED_BENDS = 6  # more than that are tried in the order given, unturned

Curve = NDArray[np.int64]


@dataclass(frozen=True)
class Bend:
    """max(multiplier * x, threshold) (side 1) or min (side -1)."""

    multiplier: int
    side: int
    threshold: int

    def curve(self) -> Curve:
        """Return its value for every int8."""
        line = self.multiplier * EVERY
        return np.maximum(line, self.threshold) if self.side > 0 else np.minimum(line, self.threshold)

    def turned(self) -> Bend | None:
        """Return the bend that differs from this one by a straight line, flat where this one slopes."""
        if self.multiplier == INT8[0] or self.threshold == IMMEDIATE[0]:
            return None
        return Bend(-self.multiplier, self.side, -self.threshold)


@dataclass(frozen=True)
class Chain:
    """Steps in place: each adds multiplier * x, then clamps (side, threshold) unless that is None."""

    steps: tuple[tuple[int, tuple[int, int] | None], ...]


@dataclass(frozen=True)
class Recipe:
    """Chains whose results add up, with an offset, to a piecewise function."""

    chains: tuple[Chain, ...]
    offset: int

    @property
    def cycles(self) -> int:
        """GEMM and ALU cycles a vector, the reset of the first chain not counted."""
        steps = [step for chain in self.chains for step in chain.steps]
        return len(steps) + sum(clamp is not None for _, clamp in steps) + 3 * (len(self.chains) - 1)


def piecewise(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    """Return the kernel of a piecewise function."""
    attrs = node.attrs
    pieces = list(zip(attrs["multipliers"], attrs["sides"], attrs["thresholds"], strict=True))
    recipe = plan(tuple(pieces), attrs["offset"])
    terms: list[Term] = []
    for number, chain in enumerate(recipe.chains):
        for multiplier, clamp in chain.steps:
            term = diagonal(graph, node.inputs[0], multiplier, config)
            terms.append(replace(term, chain=number, clamp=clamp))
    curve = curve_of(pieces, attrs["offset"])
    end = requantization(node, (int(curve.min()), int(curve.max())))
    constant, bias = end.rounding + recipe.offset, None
    if not IMMEDIATE[0] <= constant <= IMMEDIATE[1]:  # more than one immediate holds
        channels = channel_blocks(graph.values[node.output].shape[1], config) * config.block
        constant, bias = 0, np.full(channels, constant, dtype=np.int32)
    return make_kernel(graph, node, config, terms, replace(end, rounding=constant), bias)


def curve_of(pieces: Sequence[tuple[int, int, int]], offset: int) -> Curve:
    """Return offset + sum of the pieces (multiplier, side, threshold) for every int8."""
    total = np.full(EVERY.size, offset, dtype=np.int64)
    for multiplier, side, threshold in pieces:
        total += multiplier * EVERY if side == 0 else Bend(multiplier, side, threshold).curve()
    return total


@lru_cache(maxsize=1024)
def plan(pieces: tuple[tuple[int, int, int], ...], offset: int) -> Recipe:
    """Return the cheapest recipe found for pieces (multiplier, side, threshold)."""
    slope, bends = 0, []
    for multiplier, side, threshold in pieces:
        curve = Bend(multiplier, side, threshold).curve()
        if side == 0 or (curve == multiplier * EVERY).all():
            slope += multiplier
        elif np.ptp(curve) == 0:
            offset += int(curve[0])
        else:
            bends.append(Bend(multiplier, side, threshold))
    ways = [[bend, bend.turned()] if len(bends) <= SEARCHED_BENDS else [bend] for bend in bends]
    best: Recipe | None = None
    for chosen in product(*ways):
        if any(bend is None for bend in chosen):
            continue
        picked = [bend for bend in chosen if bend is not None]
        turned = [old for old, new in zip(bends, picked, strict=True) if old != new]
        found = _recipe(
            picked, slope + sum(bend.multiplier for bend in turned), offset + sum(bend.threshold for bend in turned)
        )
        if best is None or found.cycles < best.cycles:
            best = found
    assert best is not None, "the bends as they are always make a recipe"
    return best


def _recipe(bends: list[Bend], slope: int, offset: int) -> Recipe:
    chains = []
    left = list(bends)
    while left:
        taken = _longest_chain(left)
        chains.append(Chain(tuple(taken.values())))
        left = [bend for index, bend in enumerate(left) if index not in taken]
    straight = tuple((part, None) for part in _int8_parts(slope))
    if not chains:
        return Recipe((Chain(straight or ((0, None),)),), offset)
    # the straight line joins the chain that is made in place, last
    return Recipe((Chain(chains[0].steps + straight), *chains[1:]), offset)


def _int8_parts(slope: int) -> list[int]:
    parts = []
    while slope:
        part = max(INT8[0], min(INT8[1], slope))
        parts.append(part)
        slope -= part
    return parts


def _longest_chain(bends: list[Bend]) -> dict[int, tuple[int, tuple[int, int]]]:
    """Return steps by index of the bend, in order: as many bends as follow one another in place."""
    states: dict[frozenset[int], dict[int, tuple[int, tuple[int, int]]]] = {frozenset(): {}}
    frontier = [frozenset[int]()]
    for _ in bends:
        grown: dict[frozenset[int], dict[int, tuple[int, tuple[int, int]]]] = {}
        for done in frontier:
            total = sum((bends[index].curve() for index in done), np.zeros(EVERY.size, dtype=np.int64))
            for index in set(range(len(bends))) - done:
                clamp = _clamp(total, bends[index])
                if clamp is not None:
                    step = (bends[index].multiplier, clamp)
                    grown.setdefault(done | {index}, {**states[done], index: step})
        if not grown:
            break
        states.update(grown)
        frontier = list(grown)
    return states[frontier[0]]


def _clamp(total: Curve, bend: Bend) -> tuple[int, int] | None:
    """Return the clamp after total + multiplier * x that leaves total + bend, if there is one."""
    line, wanted = total + bend.multiplier * EVERY, total + bend.curve()
    flat = wanted != line
    threshold = int(wanted[flat][0])
    take = np.maximum if bend.side > 0 else np.minimum
    fits = IMMEDIATE[0] <= threshold <= IMMEDIATE[1] and bool((take(line, threshold) == wanted).all())
    return (bend.side, threshold) if fits else None
