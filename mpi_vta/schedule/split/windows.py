"""Which rows and channels of each value a part of a run of layers makes and reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, lcm

from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.window import Window

_WINDOWED = ("conv2d", "max_pool2d", "avg_pool2d", "pad2d")


@dataclass(frozen=True)
class PartWindows:
    """What a part of a run of layers holds of each value.

    Attributes
    ----------
    reads : mapping of str to Window
        Of every value that comes from outside: the least window with all that the part reads.
    makes : mapping of str to Window
        Of every value made here.
    owns : mapping of str to Window
        Of every value that leaves the run and of which the part has a share: that share. The parts' shares
        of a value do not overlap and are all of it. Never more than what it makes.
    """

    reads: Mapping[str, Window]
    makes: Mapping[str, Window]
    owns: Mapping[str, Window]


def part_windows(graph: Graph, nodes: Sequence[str], share: Window, block: int) -> PartWindows:
    """Return what a part needs and makes.

    Parameters
    ----------
    graph : Graph
        The model's int8 graph.
    nodes : sequence of str
        The run of layers, in execution order.
    share : Window
        What the part owns of the last layer's result; other values that leave the run are divided in proportion.
        Channels begin at a multiple of `block`.
    block : int
        Channels of a block.
    """
    return walk(graph.subgraph(nodes), nodes[-1], share, block)


def walk(segment: Graph, last: str, share: Window, block: int) -> PartWindows:
    """Return what a part of a segment needs and makes, its layers walked backwards; see `part_windows`."""
    frame = next(segment.values[node.output].shape for node in segment.nodes if node.name == last)
    owns: dict[str, Window] = {}
    for name in segment.outputs:
        window = in_proportion(share, frame, segment.values[name].shape, block)
        if window is not None:
            owns[name] = window
    needed = dict(owns)
    for node in reversed(segment.nodes):
        if node.output not in needed:
            continue
        made = needed[node.output] = _widened(segment, node, needed[node.output], block)
        for name, exact in reads_of(segment, node, made):
            window = _whole_blocks(exact, segment.values[name].shape[1], block)
            needed[name] = needed[name] | window if name in needed else window
    reads = {name: needed[name] for name in segment.inputs if name in needed}
    return PartWindows(reads, {n.output: needed[n.output] for n in segment.nodes if n.output in needed}, owns)


def _whole_blocks(window: Window, channels: int, block: int) -> Window:
    """Return the least window with `window` that packed data can hold: a slice may begin inside a block."""
    first, end = window.channels
    return replace(window, channels=(first // block * block, min(-(-end // block) * block, channels)))


def in_proportion(share: Window, frame: tuple[int, ...], shape: tuple[int, ...], block: int) -> Window | None:
    """Return the share of a value of `shape` that goes with `share` of one of shape `frame`; None if empty."""

    def scaled(bounds: tuple[int, int], full: int, extent: int) -> tuple[int, int]:
        return bounds[0] * extent // full, bounds[1] * extent // full

    rows = scaled(share.rows, frame[2], shape[2])
    full, blocks = -(-frame[1] // block), -(-shape[1] // block)
    first, end = scaled((share.channels[0] // block, -(-share.channels[1] // block)), full, blocks)
    if rows[0] == rows[1] or first == end:
        return None
    return Window(rows, (first * block, min(end * block, shape[1])))


def _widened(graph: Graph, node: Node, window: Window, block: int) -> Window:
    """Return the least window with `window` that a node can make by itself."""
    shape = graph.values[node.output].shape
    if node.op == "upsample2d":
        scale = node.attrs["scales"][0]
        return replace(window, rows=(window.rows[0] // scale * scale, -(-window.rows[1] // scale) * scale))
    if node.op == "concat" and any(graph.values[name].shape[1] % block for name in node.inputs[:-1]):
        return replace(window, channels=(0, shape[1]))
    if node.op == "spread2d":
        first, end = _spread_rows(node, window.rows)
        scale = node.attrs["scales"][0]
        return replace(window, rows=(first * scale, (end - 1) * scale + 1))
    if node.op in _WINDOWED:
        rows = _touching(graph, node, window.rows, shape[2])
        return Window(rows, _whole_groups(graph, node, window.channels, block))
    return window


def _whole_groups(graph: Graph, node: Node, channels: tuple[int, int], block: int) -> tuple[int, int]:
    """Return the least channels with `channels` that whole groups make of whole blocks of the input."""
    if node.attrs.get("groups", 1) == 1:
        return channels
    inputs, outputs = group_channels(graph, node)
    unit = lcm(*(block // gcd(block, each) for each in (inputs, outputs))) * outputs
    total = graph.values[node.output].shape[1]
    return channels[0] // unit * unit, min(-(-channels[1] // unit) * unit, total)


def group_channels(graph: Graph, node: Node) -> tuple[int, int]:
    """Return the input and the output channels of a group of a convolution."""
    groups, weight = node.attrs["groups"], graph.constants[node.params["weight"]]
    return weight.shape[1], weight.shape[0] // groups


def _spread_rows(node: Node, rows: tuple[int, int]) -> tuple[int, int]:
    """Return the input rows that lie in or just around some rows of a spread map."""
    scale = node.attrs["scales"][0]
    return rows[0] // scale, -(-(rows[1] - 1) // scale) + 1


def _touching(graph: Graph, node: Node, rows: tuple[int, int], most: int) -> tuple[int, int]:
    """Return `rows` and as many more that their windows do not lie in the padding alone, where that can be."""
    height = graph.values[node.inputs[0]].shape[2]
    span, stride, top = _window_rows(graph, node)
    first = min(rows[0], (height - 1 + top) // stride)
    end = max(rows[1], -((span - 1 - top) // stride) + 1)
    return first, max(rows[1], min(end, most))


def _window_rows(graph: Graph, node: Node) -> tuple[int, int, int]:
    """Return the rows that a window spans, the stride and the padding above."""
    attrs = node.attrs
    if node.op == "conv2d":
        kernel = graph.constants[node.params["weight"]].shape[2]
        return (kernel - 1) * attrs["dilations"][0] + 1, attrs["strides"][0], attrs["pads"][0]
    if node.op == "pad2d":
        return 1, 1, attrs["pads"][0]
    return attrs["kernel"][0], attrs["strides"][0], attrs["pads"][0]


def source_rows(graph: Graph, node: Node, rows: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the input rows that some result rows read, and the padding above and below."""
    height = graph.values[node.inputs[0]].shape[2]
    span, stride, top = _window_rows(graph, node)
    first, end = rows[0] * stride - top, (rows[1] - 1) * stride + span - top
    low, high = max(first, 0), max(min(end, height), 1)
    return (low, high), (low - first, max(end - high, 0))


def reads_of(graph: Graph, node: Node, made: Window) -> list[tuple[str, Window]]:
    """Return what a node reads of each of its inputs to make `made`."""
    shapes = [graph.values[name].shape for name in node.inputs]
    if node.op == "conv2d":
        rows, _ = source_rows(graph, node, made.rows)
        first = Window(rows, (0, shapes[0][1]))
        if node.attrs["groups"] > 1:
            inputs, outputs = group_channels(graph, node)
            first = Window(rows, (made.channels[0] // outputs * inputs, made.channels[1] // outputs * inputs))
        return list(zip(node.inputs, (first, made), strict=False))
    if node.op in _WINDOWED:
        return [(node.inputs[0], replace(made, rows=source_rows(graph, node, made.rows)[0]))]
    if node.op == "upsample2d":
        scale = node.attrs["scales"][0]
        return [(node.inputs[0], replace(made, rows=(made.rows[0] // scale, made.rows[1] // scale)))]
    if node.op == "spread2d":
        return [(node.inputs[0], replace(made, rows=_spread_rows(node, made.rows)))]
    if node.op == "slice2d":
        row, channel = node.attrs["rows"][0], node.attrs["channels"][0]
        return [(node.inputs[0], made.within(Window((-row, 0), (-channel, 0))))]
    if node.op == "concat":
        found, channel = [], 0
        for name, shape in zip(node.inputs, shapes, strict=True):
            piece = made & Window(made.rows, (channel, channel + shape[1]))
            if piece is not None:
                found.append((name, piece.within(Window((0, 0), (channel, 0)))))
            channel += shape[1]
        return found
    return [(name, made) for name in node.inputs]
