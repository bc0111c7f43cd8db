"""A part of a run of layers as a graph of its own, with the windows and slices that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.operand_windows import group_channels
from mpi_vta.graph.ops import INT8_OPS
from mpi_vta.graph.window import Window
from mpi_vta.schedule.split.windows import PartWindows, walk


def part_graph(graph: Graph, nodes: Sequence[str], share: Window, block: int) -> Graph:
    """Return a part as a graph of its own: its values hold the windows of `part_windows`, under the same names.

    Parts of one run that are alike in shape, padding and weights give equal graphs, so that they share a program.
    """
    segment = graph.subgraph(nodes)
    windows = walk(segment, nodes[-1], share, block)
    builder = _Builder(segment, windows)
    for node in segment.nodes:
        if node.output in windows.makes:
            builder.add(node)
    return builder.build(f"{graph.name}[{nodes[0]}..{nodes[-1]}] part", tuple(windows.owns))


class _Builder:
    """Writes the graph of one part."""

    def __init__(self, segment: Graph, windows: PartWindows) -> None:
        self._segment = segment
        self._held = {**windows.reads, **windows.makes}
        self._inputs = tuple(windows.reads)
        self._values = {name: self._value(name, name, window) for name, window in self._held.items()}
        self._nodes: list[Node] = []
        self._constants: dict[str, NDArray[Any]] = {}

    def add(self, node: Node) -> None:
        """Add a node of the run, and the slices that it needs."""
        made, operands = self._held[node.output], INT8_OPS[node.op].operands
        if node.op == "slice2d":
            self._add_slice(node, made)
            return
        inputs = tuple(self._input(name, window) for name, window in operands.reads(self._segment, node, made))
        if node.op == "concat" and len(inputs) == 1:
            self._rename(node, inputs[0])
            return
        attrs, params = dict(node.attrs), dict(node.params)
        if (pads := operands.pads(self._segment, node, made)) is not None:
            attrs["pads"] = (pads[0], attrs["pads"][1], pads[1], attrs["pads"][3])
        if attrs.get("groups", 1) > 1:
            attrs["groups"] = (made.channels[1] - made.channels[0]) // group_channels(self._segment, node)[1]
        for name in params.values():
            self._constants[name] = np.ascontiguousarray(self._segment.constants[name][slice(*made.channels)])
        self._nodes.append(Node(node.name, node.op, inputs, node.output, attrs, params))

    def build(self, name: str, outputs: tuple[str, ...]) -> Graph:
        """Return the finished graph."""
        nodes, values = tuple(self._nodes), self._values
        return Graph(name, self._segment.dialect, self._inputs, outputs, nodes, values, self._constants)

    def _value(self, name: str, origin: str, window: Window) -> Value:
        known = self._segment.values[origin]
        return Value(name, window.shape(known.shape[3]), known.dtype, known.scale_log2)

    def _input(self, name: str, window: Window) -> str:
        """Return the name under which a window of a value is there, sliced where the part holds more of it."""
        held = self._held[name]
        if window == held:
            return name
        inner = window.within(held)
        sliced = f"{name}[{inner.channels[0]}:{inner.channels[1]},{inner.rows[0]}:{inner.rows[1]}]"
        if sliced not in self._values:
            self._values[sliced] = self._value(sliced, name, window)
            self._nodes.append(_slice(sliced, name, sliced, inner, (0, self._values[name].shape[3])))
        return sliced

    def _add_slice(self, node: Node, made: Window) -> None:
        ((name, window),) = INT8_OPS[node.op].operands.reads(self._segment, node, made)
        inner = window.within(self._held[name])
        self._nodes.append(_slice(node.name, name, node.output, inner, node.attrs["cols"]))

    def _rename(self, node: Node, name: str) -> None:
        """Let a concatenation of which one piece is left be a slice of all of that piece."""
        shape = self._values[name].shape
        self._nodes.append(_slice(node.name, name, node.output, Window.whole(shape), (0, shape[3])))


def _slice(name: str, source: str, output: str, inner: Window, cols: tuple[int, int]) -> Node:
    attrs = {"channels": inner.channels, "rows": inner.rows, "cols": cols}
    return Node(name, "slice2d", (source,), output, attrs, {})
