"""What of its operands an int8 operator reads for a part of its result, and the least part that it can make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd, lcm

from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.window import Window

Read = tuple[str, Window]
Rows = tuple[int, int]


class Elementwise:
    """An element of the result is made of those of the operands in its place."""

    def reads(self, graph: Graph, node: Node, made: Window) -> list[Read]:
        """Return what a node reads of each of its inputs, in order, to make `made`; those of no use are left out."""
        return [(name, made) for name in node.inputs]

    def widened(self, graph: Graph, node: Node, window: Window, block: int) -> Window:
        """Return the least window with `window` that a node can make by itself, of whole blocks of channels."""
        return window

    def pads(self, graph: Graph, node: Node, made: Window) -> Rows | None:
        """Return the padding above and below for a part of the result; None where a node has none."""
        return None


@dataclass(frozen=True)
class Windowed(Elementwise):
    """A row of the result is made of the rows of a window.

    Attributes
    ----------
    geometry : callable
        Returns the rows that a node's window spans, the stride and the padding above.
    mixes : bool
        Of the first operand all channels (of a group) are read; of others what lies in the result's place.
    """

    geometry: Callable[[Graph, Node], tuple[int, int, int]]
    mixes: bool = False

    def reads(self, graph: Graph, node: Node, made: Window) -> list[Read]:
        """Return the rows of the windows, which of the padding hold nothing."""
        rows, _ = self._source_rows(graph, node, made.rows)
        first = replace(made, rows=rows)
        if self.mixes:
            first = replace(first, channels=(0, graph.values[node.inputs[0]].shape[1]))
            if node.attrs["groups"] > 1:
                inputs, outputs = group_channels(graph, node)
                low, high = (bound // outputs * inputs for bound in made.channels)
                first = replace(first, channels=(low, high))
        return [(node.inputs[0], first), *((name, made) for name in node.inputs[1:])]

    def widened(self, graph: Graph, node: Node, window: Window, block: int) -> Window:
        """Return whole groups of channels, and so many rows that their windows do not lie in the padding alone."""
        height, most = graph.values[node.inputs[0]].shape[2], graph.values[node.output].shape[2]
        span, stride, top = self.geometry(graph, node)
        first = min(window.rows[0], (height - 1 + top) // stride)
        end = max(window.rows[1], -((span - 1 - top) // stride) + 1)
        rows = (first, max(window.rows[1], min(end, most)))
        return Window(rows, _whole_groups(graph, node, window.channels, block))

    def pads(self, graph: Graph, node: Node, made: Window) -> Rows:
        """Return what of the windows lies above and below the operand."""
        return self._source_rows(graph, node, made.rows)[1]

    def _source_rows(self, graph: Graph, node: Node, rows: Rows) -> tuple[Rows, Rows]:
        """Return the input rows that some result rows read, and the padding above and below."""
        height = graph.values[node.inputs[0]].shape[2]
        span, stride, top = self.geometry(graph, node)
        first, end = rows[0] * stride - top, (rows[1] - 1) * stride + span - top
        low, high = max(first, 0), max(min(end, height), 1)
        return (low, high), (low - first, max(end - high, 0))


class Enlarged(Elementwise):
    """Every row is there several times."""

    def reads(self, graph: Graph, node: Node, made: Window) -> list[Read]:
        """Return the rows that are repeated."""
        scale = node.attrs["scales"][0]
        return [(node.inputs[0], replace(made, rows=(made.rows[0] // scale, made.rows[1] // scale)))]

    def widened(self, graph: Graph, node: Node, window: Window, block: int) -> Window:
        """Return every repetition of a row."""
        scale = node.attrs["scales"][0]
        return replace(window, rows=(window.rows[0] // scale * scale, -(-window.rows[1] // scale) * scale))


class Spread(Elementwise):
    """Rows of zeros lie between the rows."""

    def reads(self, graph: Graph, node: Node, made: Window) -> list[Read]:
        """Return the rows that lie in or just around those made."""
        return [(node.inputs[0], replace(made, rows=self._rows(node, made.rows)))]

    def widened(self, graph: Graph, node: Node, window: Window, block: int) -> Window:
        """Return rows that begin and end with one of the operand's."""
        first, end = self._rows(node, window.rows)
        scale = node.attrs["scales"][0]
        return replace(window, rows=(first * scale, (end - 1) * scale + 1))

    def _rows(self, node: Node, rows: Rows) -> Rows:
        scale = node.attrs["scales"][0]
        return rows[0] // scale, -(-(rows[1] - 1) // scale) + 1


class Boxed(Elementwise):
    """The result is a box of the operand."""

    def reads(self, graph: Graph, node: Node, made: Window) -> list[Read]:
        """Return the part counted from the operand's corner."""
        row, channel = node.attrs["rows"][0], node.attrs["channels"][0]
        return [(node.inputs[0], made.within(Window((-row, 0), (-channel, 0))))]


class Stacked(Elementwise):
    """The operands' channels follow each other."""

    def reads(self, graph: Graph, node: Node, made: Window) -> list[Read]:
        """Return the part of each operand that lies there."""
        found, channel = [], 0
        for name in node.inputs:
            extent = graph.values[name].shape[1]
            piece = made & Window(made.rows, (channel, channel + extent))
            if piece is not None:
                found.append((name, piece.within(Window((0, 0), (channel, 0)))))
            channel += extent
        return found

    def widened(self, graph: Graph, node: Node, window: Window, block: int) -> Window:
        """Return all channels where pieces begin inside a block."""
        if any(graph.values[name].shape[1] % block for name in node.inputs[:-1]):
            return replace(window, channels=(0, graph.values[node.output].shape[1]))
        return window


def group_channels(graph: Graph, node: Node) -> tuple[int, int]:
    """Return the input and the output channels of a group of a convolution."""
    groups, weight = node.attrs["groups"], graph.constants[node.params["weight"]]
    return weight.shape[1], weight.shape[0] // groups


def _whole_groups(graph: Graph, node: Node, channels: tuple[int, int], block: int) -> tuple[int, int]:
    """Return the least channels with `channels` that whole groups make of whole blocks of the input."""
    if node.attrs.get("groups", 1) == 1:
        return channels
    inputs, outputs = group_channels(graph, node)
    unit = lcm(*(block // gcd(block, each) for each in (inputs, outputs))) * outputs
    total = graph.values[node.output].shape[1]
    return channels[0] // unit * unit, min(-(-channels[1] // unit) * unit, total)


def kernel_rows(graph: Graph, node: Node) -> tuple[int, int, int]:
    """Return the geometry of a convolution."""
    kernel = graph.constants[node.params["weight"]].shape[2]
    return (kernel - 1) * node.attrs["dilations"][0] + 1, node.attrs["strides"][0], node.attrs["pads"][0]


def pooled_rows(_graph: Graph, node: Node) -> tuple[int, int, int]:
    """Return the geometry of a pooling."""
    return node.attrs["kernel"][0], node.attrs["strides"][0], node.attrs["pads"][0]


def padded_rows(_graph: Graph, node: Node) -> tuple[int, int, int]:
    """Return the geometry of padding alone."""
    return 1, 1, node.attrs["pads"][0]
