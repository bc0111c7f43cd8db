"""What goes between the stages of a plan: whole values, or the pieces of them that a part needs and does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mpi_vta.graph.ir import Graph
from mpi_vta.graph.layout import packed_bytes
from mpi_vta.graph.window import Window
from mpi_vta.hw.config import VTAConfig
from mpi_vta.plans.plan import SINK, SOURCE, Edge, Part
from mpi_vta.schedule.split.windows import PartWindows, part_windows


class Placed(Protocol):
    """Layers and where they run: a stage of a plan or a placement of a draft."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Node names in execution order."""

    @property
    def ranks(self) -> tuple[int, ...]:
        """Replicas."""

    @property
    def share(self) -> Window | None:
        """What a part owns of the last layer's result; None for whole layers."""


@dataclass(frozen=True)
class Traffic:
    """Everything that goes between the places of a plan.

    Attributes
    ----------
    windows : tuple of PartWindows
        What each stage reads, makes and owns of each value that crosses its border.
    edges : tuple of Edge
        Ordered by (consumer, producer, value, window).
    shapes : mapping of str to tuple of int
        Of the values that travel in pieces.
    """

    windows: tuple[PartWindows, ...]
    edges: tuple[Edge, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def part(self, index: int, share: Window | None) -> Part | None:
        """Return the part of a stage of the plan."""
        windows = self.windows[index]
        made = {name: windows.makes[name] for name in windows.owns}
        return None if share is None else Part(share, {**windows.reads, **made})


@dataclass(frozen=True)
class WholeLayers:
    """Layers as a stage, wherever it runs."""

    nodes: tuple[str, ...]
    ranks: tuple[int, ...] = ()
    share: Window | None = None


def find_traffic(graph: Graph, stages: Sequence[Placed], config: VTAConfig) -> Traffic:
    """Return what goes between stages.

    A part takes what its own rank made, and the rest from the parts that own it, so that ranks that hold
    neighbouring rows exchange only the rows at the border.

    Parameters
    ----------
    graph : Graph
        The model's int8 graph.
    stages : sequence of Placed
        In the plan's order.
    config : VTAConfig
        Gives the layout of a message.
    """
    windows = tuple(_windows(graph, stage, config) for stage in stages)
    makers: dict[str, list[int]] = {}
    for index, held in enumerate(windows):
        for name in held.owns:
            makers.setdefault(name, []).append(index)
    edges: set[Edge] = set()
    for index, held in enumerate(windows):
        for name, wanted in held.reads.items():
            if name not in graph.producer:
                edges.add(_edge(graph, name, SOURCE, index, wanted, config))
                continue
            for maker, window in _pieces(wanted, stages, windows, makers.get(name, []), index, name):
                edges.add(_edge(graph, name, maker, index, window, config))
    for name in graph.outputs:
        for maker in makers.get(name, []):
            edges.add(_edge(graph, name, maker, SINK, windows[maker].owns[name], config))
    shapes = {edge.value: graph.values[edge.value].shape for edge in edges if edge.window is not None}
    return Traffic(windows, tuple(sorted(edges, key=_place_and_piece)), dict(sorted(shapes.items())))


def assembled_bytes(traffic: Traffic, stages: Sequence[Placed]) -> Mapping[tuple[int, int], int]:
    """Return what the processor copies for a stage on a rank per image group: pieces that the same rank made.

    A result that is read exactly as it was made is read where it lies. Pieces that come as messages are put into
    place as they are taken in, which a message's time per byte contains.

    Returns
    -------
    mapping of (stage, rank) to int
        Bytes, where there are any.
    """
    total: dict[tuple[int, int], int] = {}
    for edge in traffic.edges:
        if SOURCE in (edge.producer, edge.consumer) or edge.consumer == SINK:
            continue
        reader = stages[edge.consumer]
        if traffic.windows[edge.producer].makes[edge.value] == traffic.windows[edge.consumer].reads[edge.value]:
            continue
        for rank in set(reader.ranks) & set(stages[edge.producer].ranks):
            total[edge.consumer, rank] = total.get((edge.consumer, rank), 0) + edge.size_bytes
    return total


def _place_and_piece(edge: Edge) -> tuple[int, int, str, tuple[int, ...]]:
    return (edge.consumer, edge.producer, edge.value, _corner(edge.window))


def _corner(window: Window | None) -> tuple[int, ...]:
    return () if window is None else (*window.rows, *window.channels)


def _windows(graph: Graph, stage: Placed, config: VTAConfig) -> PartWindows:
    if stage.share is not None:
        return part_windows(graph, stage.nodes, stage.share, config.block)
    segment = graph.subgraph(stage.nodes)
    reads = {name: Window.whole(segment.values[name].shape) for name in segment.inputs}
    makes = {name: Window.whole(segment.values[name].shape) for name in segment.outputs}
    return PartWindows(reads, makes, makes)


def _pieces(
    wanted: Window,
    stages: Sequence[Placed],
    windows: Sequence[PartWindows],
    makers: Sequence[int],
    reader: int,
    name: str,
) -> list[tuple[int, Window]]:
    """Return which maker gives which piece of what a stage wants of a value."""
    here = [m for m in makers if stages[m].ranks == stages[reader].ranks and len(stages[m].ranks) == 1]
    offers = [(m, windows[m].makes[name]) for m in here]
    offers += [(m, windows[m].owns[name]) for m in makers if m not in here]
    missing, found = [wanted], []
    for maker, offer in offers:
        found += [(maker, piece) for window in missing if (piece := window & offer) is not None]
        missing = [rest for window in missing for rest in window.minus(offer)]
    return found


def _edge(graph: Graph, name: str, producer: int, consumer: int, window: Window, config: VTAConfig) -> Edge:
    shape = graph.values[name].shape
    piece = window.shape(shape[3])
    raw_bytes = config.batch * piece[1] * piece[2] * piece[3]
    size_bytes = raw_bytes if producer == SOURCE else packed_bytes(piece, config)
    return Edge(name, producer, consumer, size_bytes, None if window == Window.whole(shape) else window)
