"""Cross-layer equalisation: scale moves from the channels of one layer into the next, so that both round less.

For a convolution whose result reaches another one through nothing but ReLU, leaky ReLU and pooling,
``f(W1 x) * s`` is ``f(s * W1 x)`` for every s > 0: the first layer's channel may be divided by s and the second layer's
weights for that channel multiplied by it. Factors are powers of two, so the float network stays the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.ops import FLOAT_OPS
from mpi_vta.quantize.calibration import ValueRange

Array = NDArray[Any]

SWEEPS = 4
MOST_LOG2 = 8
_LAYERS = ("conv2d", "dense")


@dataclass(frozen=True)
class Pair:
    """Two layers between which scale may move.

    Attributes
    ----------
    first, second : Node
    between : tuple of Node
        What lies between them.
    """

    first: Node
    second: Node
    between: tuple[Node, ...]


def pairs_of(graph: Graph) -> tuple[Pair, ...]:
    """Return all pairs of a float graph, in order."""
    found = []
    for node in graph.nodes:
        if node.op in _LAYERS:
            between: list[Node] = []
            last = node
            while (follower := _only_reader(graph, last)) is not None and FLOAT_OPS[follower.op].passes_factors:
                between.append(follower)
                last = follower
            homogeneous = all(entry.op != "clip" or entry.attrs["lo"] == 0 for entry in between)
            if follower is not None and follower.op in _LAYERS and homogeneous:
                found.append(Pair(node, follower, tuple(between)))
    return tuple(found)


def _only_reader(graph: Graph, node: Node) -> Node | None:
    readers = graph.consumers[node.output]
    return readers[0] if len(readers) == 1 and node.output not in graph.outputs else None


def equalized(graph: Graph, ranges: Mapping[str, ValueRange]) -> Graph:
    """Return the graph with scale moved between its pairs; the graph itself if nothing moves.

    A clip (ReLU6) has one bound for all channels: a channel moves only if it stays below that bound on the
    calibration images, before and after. What those images never show may differ there.

    Parameters
    ----------
    graph : Graph
        Float graph.
    ranges : mapping of str to ValueRange
        Of every value that a clip makes.
    """
    constants = dict(graph.constants)
    pairs = pairs_of(graph)
    moved = {pair.first.name: np.zeros(_outputs(graph, pair.first)) for pair in pairs}
    for _ in range(SWEEPS):
        for pair in pairs:
            wanted = _wanted_log2(graph, constants, pair)
            total = np.clip(moved[pair.first.name] + wanted, -MOST_LOG2, MOST_LOG2)
            total = np.where(_may_move(pair, ranges, total), total, moved[pair.first.name])
            _move(graph, constants, pair, total - moved[pair.first.name])
            moved[pair.first.name] = total
    if not any(steps.any() for steps in moved.values()):
        return graph
    return replace(graph, constants=constants)


def _outputs(graph: Graph, node: Node) -> int:
    return int(graph.constants[node.params["weight"]].shape[0])


def _by_input(graph: Graph, node: Node, weight: Array, channels: int) -> Array:
    """Return a view (groups, outputs of a group, inputs of a group, rest) of a weight."""
    groups = node.attrs["groups"] if node.op == "conv2d" else 1
    return weight.reshape(groups, weight.shape[0] // groups, channels // groups, -1)


def _wanted_log2(graph: Graph, constants: Mapping[str, Array], pair: Pair) -> Array:
    """Return by how many powers of two each channel should shrink in the first layer and grow in the second."""
    first, second = (constants[node.params["weight"]] for node in (pair.first, pair.second))
    channels = first.shape[0]
    out = np.abs(first).reshape(channels, -1).max(axis=1).astype(np.float64)
    taken = np.abs(_by_input(graph, pair.second, second, channels)).max(axis=(1, 3)).reshape(-1).astype(np.float64)
    alive = (out > 0) & (taken > 0)
    if not alive.any():
        return np.zeros(channels)
    # both layers' ranges per channel become alike, and neither layer grows or shrinks as a whole
    ratio = np.where(alive, np.log2(np.where(alive, out, 1)) - np.log2(np.where(alive, taken, 1)), 0.0) / 2
    return np.where(alive, np.rint(ratio - np.median(ratio[alive])), 0.0)


def _may_move(pair: Pair, ranges: Mapping[str, ValueRange], total_log2: Array) -> NDArray[np.bool_]:
    allowed = np.ones(total_log2.shape, bool)
    for node in pair.between:
        if node.op == "clip":
            peaks, bound = ranges[node.output].peaks, node.attrs["hi"]
            allowed &= (peaks < bound) & (np.ldexp(peaks, -total_log2.astype(np.int32)) < bound)
    return allowed


def _move(graph: Graph, constants: dict[str, Array], pair: Pair, steps: Array) -> None:
    factor = np.ldexp(np.ones(steps.shape, np.float32), steps.astype(np.int32))
    for role in ("weight", "bias"):
        name = pair.first.params.get(role)
        if name is not None:
            array = constants[name]
            constants[name] = array / factor.reshape(-1, *(1 for _ in array.shape[1:]))
    name = pair.second.params["weight"]
    view = _by_input(graph, pair.second, constants[name], len(factor))
    scaled = view * factor.reshape(view.shape[0], 1, view.shape[2], 1)
    constants[name] = scaled.reshape(constants[name].shape)
