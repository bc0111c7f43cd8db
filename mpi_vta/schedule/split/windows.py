"""Which rows and channels of each value a part of a run of layers makes and reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mpi_vta.graph.ir import Graph
from mpi_vta.graph.ops import INT8_OPS
from mpi_vta.graph.window import Window


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
        operands = INT8_OPS[node.op].operands
        made = needed[node.output] = operands.widened(segment, node, needed[node.output], block)
        for name, exact in operands.reads(segment, node, made):
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
