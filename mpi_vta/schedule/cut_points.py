"""Where a model may be cut: the down-sets of its graph, in which what the compiler merges counts as one unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.convolution import pool_to_fuse
from mpi_vta.graph.ir import Graph

# Above so many down-sets only the prefixes of the topological order are considered
MAX_CUT_POINTS = 96


@dataclass(frozen=True)
class CutPoints:
    """The places at which a chain of stages may be cut.

    Attributes
    ----------
    units : tuple of tuple of str
        Node names that stay together, in topological order.
    done : tuple of int
        Per cut point the units before it, as a bit mask; the first is empty, the last has all units,
        and a subset comes before its supersets. A stage lies between two of them, one within the other.
    every : bool
        Whether these are all down-sets of the graph, or only the prefixes of `units`.
    """

    units: tuple[tuple[str, ...], ...]
    done: tuple[int, ...]
    every: bool

    @property
    def count(self) -> int:
        """Number of cut points."""
        return len(self.done)

    @cached_property
    def unit_of(self) -> Mapping[str, int]:
        """The unit of each node."""
        return {name: index for index, unit in enumerate(self.units) for name in unit}

    @cached_property
    def contains(self) -> NDArray[np.bool_]:
        """Whether unit u lies before cut point k, at ``[k, u]``."""
        return np.array([[mask >> u & 1 for u in range(len(self.units))] for mask in self.done], dtype=np.bool_)

    @cached_property
    def nested(self) -> NDArray[np.bool_]:
        """Whether cut point i lies within cut point j or is the same, at ``[i, j]``: then a stage may be between."""
        inside = self.contains.astype(np.int64)
        return np.asarray((inside @ (1 - inside.T)) == 0)

    def between(self, first: int, end: int) -> tuple[str, ...]:
        """Return the nodes of the stage from cut point `first` to cut point `end`, in topological order."""
        inside = self.done[end] & ~self.done[first]
        return tuple(name for u, unit in enumerate(self.units) if inside >> u & 1 for name in unit)

    def prefix(self, units: int) -> int:
        """Return the index of the cut point behind the first `units` units."""
        return self.done.index((1 << units) - 1)


def find_cut_points(graph: Graph, most: int = MAX_CUT_POINTS) -> CutPoints:
    """Return every place at which a graph may be cut, or if there are more than `most`, those along its order."""
    units = fused_units(graph)
    unit_of = {name: index for index, unit in enumerate(units) for name in unit}
    needs = [0] * len(units)
    for node in graph.nodes:
        for value in node.inputs:
            if value in graph.producer and unit_of[graph.producer[value].name] != unit_of[node.name]:
                needs[unit_of[node.name]] |= 1 << unit_of[graph.producer[value].name]
    prefixes = tuple((1 << count) - 1 for count in range(len(units) + 1))
    found = {0}
    border = [0]
    while border and len(found) <= most:
        mask = border.pop()
        grown = {mask | 1 << u for u, need in enumerate(needs) if not mask >> u & 1 and need & ~mask == 0}
        border += grown - found
        found |= grown
    every = len(found) <= most
    done = tuple(sorted(found, key=lambda mask: (mask.bit_count(), mask))) if every else prefixes
    return CutPoints(units, done, every)


def fused_units(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Return the nodes in topological order, a max pooling together with the convolution it is merged into."""
    pools = {node.name: pool for node in graph.nodes if (pool := pool_to_fuse(graph, node)) is not None}
    merged = {pool.name for pool in pools.values()}
    return tuple(
        (node.name, pools[node.name].name) if node.name in pools else (node.name,)
        for node in graph.nodes
        if node.name not in merged
    )
