"""Where every activation of a graph lies: buffers by liveness, concatenations and slices as views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mpi_vta.codegen.convolution import pool_to_fuse
from mpi_vta.codegen.lowering import slice_view
from mpi_vta.codegen.memory import SCRATCH, Lifetime, Place, first_fit, value_elements
from mpi_vta.codegen.program import Segment
from mpi_vta.codegen.terms import is_spread
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.layout import channel_blocks
from mpi_vta.hw.config import VTAConfig


@dataclass(frozen=True)
class Layout:
    """Where every activation lies.

    Attributes
    ----------
    places : mapping of str to Place
        By value name; for slices also by `mpi_vta.codegen.lowering.slice_view`.
    segments : list of Segment
        Activation segments.
    free : frozenset of str
        Nodes that need no work: concatenations whose inputs are written side by side, slices read in place,
        spread maps that convolutions walk over.
    merged : mapping of str to str
        Maps that are only pooled, which the convolution does itself, to the pooled ones.
    tracked_elements : int
        Size of the tracked DRAM space.
    """

    places: Mapping[str, Place]
    segments: list[Segment]
    free: frozenset[str]
    merged: Mapping[str, str]
    tracked_elements: int


@dataclass(frozen=True)
class _Home:
    """A value's buffer (named after the value that fills it), its offset there, plane size and row pitch."""

    buffer: str
    offset: int
    plane: int
    pitch: int


def lay_out(graph: Graph, config: VTAConfig) -> Layout:
    """Place every value of a graph whose thin inputs are gathered."""
    joined = frozenset(n.name for n in graph.nodes if n.op == "concat" and _side_by_side(graph, n, config))
    views = frozenset(n.name for n in graph.nodes if n.op == "slice2d" and _may_be_view(graph, n, joined, config))
    spread = frozenset(n.name for n in graph.nodes if is_spread(graph, n))
    # a convolution with a pooling behind it writes the pooled map; its own is never stored
    pools = {node.output: pool_to_fuse(graph, node) for node in graph.nodes}
    merged = {unpooled: pool.output for unpooled, pool in pools.items() if pool is not None}
    found = _homes(graph, joined, views, spread, config)
    homes = {value: home for value, home in found.items() if value not in merged}
    lives = _lifetimes(graph, homes, merged, config)
    boundary = [*graph.inputs, *graph.outputs]
    offsets, total = first_fit(life for life in lives.values() if life.name not in boundary)
    segments: list[Segment] = []
    bases: dict[str, tuple[str, int, int]] = {}  # buffer -> (segment, offset there, tracked)
    tracked = 0
    for value in dict.fromkeys(boundary):
        kind = "input" if value in graph.inputs else "output"
        segments.append(Segment(f"{kind}.{value}", kind, lives[value].elements * config.inp_bytes))
        bases[value] = (segments[-1].name, 0, tracked)
        tracked += lives[value].elements
    if total:
        segments.append(Segment(SCRATCH, "scratch", total * config.inp_bytes))
        bases.update({buffer: (SCRATCH, offset, tracked + offset) for buffer, offset in offsets.items()})
    known = {**{value: (value, home) for value, home in homes.items()}, **_copied_views(graph, homes, views, config)}
    places = {}
    for name, (value, home) in known.items():
        segment, offset, first = bases[home.buffer]
        _, channels, height, width = graph.values[value].shape
        blocks = channel_blocks(channels, config)
        places[name] = Place(
            segment, offset + home.offset, blocks, height, width, first + home.offset, home.plane, home.pitch
        )
    return Layout(places, segments, joined | views | spread, merged, tracked + total)


def _homes(
    graph: Graph, joined: frozenset[str], views: frozenset[str], spread: frozenset[str], config: VTAConfig
) -> dict[str, _Home]:
    homes: dict[str, _Home] = {}
    for node in reversed(graph.nodes):
        home = homes.setdefault(node.output, _home(graph, node.output, node.output, 0))
        if node.name in joined:
            offset = home.offset
            for value in node.inputs:
                homes[value] = _home(graph, value, home.buffer, offset)
                offset += value_elements(graph.values[value].shape, config)
    homes.update({value: _home(graph, value, value, 0) for value in graph.inputs})
    for node in graph.nodes:
        if node.name in views:
            homes[node.output] = _view(graph, node, homes, config)
        elif node.name in spread:  # its readers walk over what it spreads
            homes[node.output] = homes[node.inputs[0]]
    return homes


def _home(graph: Graph, value: str, buffer: str, offset: int) -> _Home:
    _, _, height, width = graph.values[value].shape
    return _Home(buffer, offset, height * width, width)


def _view(graph: Graph, node: Node, homes: Mapping[str, _Home], config: VTAConfig) -> _Home:
    """Return where the result of a slice lies in its input, from the start of its first channel block."""
    base = homes[node.inputs[0]]
    offset = node.attrs["channels"][0] // config.block * base.plane
    offset += node.attrs["rows"][0] * base.pitch + node.attrs["cols"][0]
    return replace(base, offset=base.offset + offset)


def _copied_views(
    graph: Graph, homes: Mapping[str, _Home], views: frozenset[str], config: VTAConfig
) -> dict[str, tuple[str, _Home]]:
    """Return what the slices that must be copied read: view name to (value of the same shape, home)."""
    return {
        slice_view(node): (node.output, _view(graph, node, homes, config))
        for node in graph.nodes
        if node.op == "slice2d" and node.name not in views
    }


def _may_be_view(graph: Graph, node: Node, joined: frozenset[str], config: VTAConfig) -> bool:
    """Return whether a slice can be read where its input lies.

    It is no output, no piece of a free concat, and begins with a block of channels.
    """
    if node.attrs["channels"][0] % config.block:
        return False
    pieces = any(reader.name in joined for reader in graph.consumers[node.output])
    return node.output not in graph.outputs and not pieces


def _side_by_side(graph: Graph, node: Node, config: VTAConfig) -> bool:
    """Return whether a concat is free: whole channel blocks, each piece made here and for this concat only."""
    pieces = [graph.values[value].shape[1] for value in node.inputs]
    aligned = all(channels % config.block == 0 for channels in pieces[:-1])
    ours = all(value in graph.producer and value not in graph.outputs for value in node.inputs)
    concats = [reader for value in node.inputs for reader in graph.consumers[value] if reader.op == "concat"]
    return aligned and ours and len(set(node.inputs)) == len(node.inputs) and len(concats) == len(node.inputs)


def _lifetimes(
    graph: Graph, homes: Mapping[str, _Home], merged: Mapping[str, str], config: VTAConfig
) -> dict[str, Lifetime]:
    made = {value: -1 for value in graph.inputs} | {node.output: i for i, node in enumerate(graph.nodes)}
    made.update({pooled: made[unpooled] for unpooled, pooled in merged.items()})
    read = {value: made[value] for value in made}
    for index, node in enumerate(graph.nodes):
        for value in node.inputs:
            read[value] = index
    lives: dict[str, Lifetime] = {}
    for value, home in homes.items():
        size = value_elements(graph.values[home.buffer].shape, config)
        life = lives.get(home.buffer, Lifetime(home.buffer, size, made[value], read[value]))
        lives[home.buffer] = replace(life, first=min(life.first, made[value]), last=max(life.last, read[value]))
    return lives
