"""The plan: which board runs which layers, for which images, and what goes between boards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from mpi_vta.disk import write_atomically
from mpi_vta.errors import PlanError
from mpi_vta.graph.window import Window
from mpi_vta.json_fields import Count, Positive, Range, from_json, to_json
from mpi_vta.plans.notes import Note
from mpi_vta.plans.steady import round_groups

FORMAT_VERSION = 1
SOURCE = -1
SINK = -2
MOST_RANK = 32_767  # what the columns of a trace hold
# negative ones are read, so that `mpi_vta.plans.faults` can name every fault at once
Rank = Annotated[int, Range(-MOST_RANK, MOST_RANK)]


@dataclass(frozen=True)
class Part:
    """The share of one board where layers are split over several; every share is a stage of its own.

    Attributes
    ----------
    share : Window
        The rows and channels that it owns of the result of the stage's last layer.
    holds : mapping of str to Window
        What its program reads, and what it makes, of every value that crosses its border.
    """

    share: Window
    holds: Mapping[str, Window]


@dataclass(frozen=True)
class Stage:
    """Consecutive layers that run as one program on one board, or on several that take turns.

    Attributes
    ----------
    index : int
        Position in the plan.
    nodes : tuple of str
        Node names of the model's int8 graph, in execution order.
    ranks : tuple of int
        Replicas, which take turns by image group.
    cycles : int
        Cycles of one launch on the first replica's VTA (modelled).
    compute_ns : tuple of int
        Time of one launch on each replica, launch overhead included (modelled).
    host_ns : tuple of int
        Time of each replica's processor before one launch: gathering and packing images (modelled).
    turns : tuple of int
        Indices into `ranks`: image group g runs on replica ``turns[g % len(turns)]``, so that a fast
        board may have more turns than a slow one. Empty: each in order.
    part : Part or None
        What one board computes of layers that are split; None for whole layers.
    assemble_ns : tuple of int
        Time of each replica's processor to copy pieces of values that its own rank made to where the program
        reads them (modelled). Empty: none.
    """

    index: Count
    nodes: tuple[str, ...]
    ranks: tuple[Rank, ...]
    cycles: int
    compute_ns: tuple[int, ...]
    host_ns: tuple[int, ...]
    turns: tuple[Rank, ...] = ()
    part: Part | None = None
    assemble_ns: tuple[int, ...] = ()

    @property
    def share(self) -> Window | None:
        """What the stage owns of its last layer's result; None for all of it."""
        return None if self.part is None else self.part.share

    @property
    def turn_count(self) -> int:
        """Image groups after which the turns repeat."""
        return len(self.turns) or len(self.ranks)

    def replica_of(self, group: int) -> int:
        """Return the index of the replica that runs image group `group`."""
        return self.turns[group % len(self.turns)] if self.turns else group % len(self.ranks)

    def rank_of(self, group: int) -> int:
        """Return the rank that runs image group `group`."""
        return self.ranks[self.replica_of(group)]


@dataclass(frozen=True)
class Edge:
    """A value, or a piece of it, that goes from one stage to another, one message per image group.

    `producer` is a stage index or `SOURCE` (rank 0's host reads the images), `consumer` a stage index
    or `SINK` (rank 0's host takes the outputs). From `SOURCE` go int8 images as they are, shape
    (group_images, C, H, W); everywhere else the packed layout of `mpi_vta.graph.layout`.
    `size_bytes` is the size of one message, `window` the piece of the value that it carries, None for all.
    """

    value: str
    producer: Annotated[int, Range(SOURCE)]
    consumer: Annotated[int, Range(SINK)]
    size_bytes: Count
    window: Window | None = None


@dataclass(frozen=True)
class Plan:
    """A complete distribution of one model over the ranks.

    Attributes
    ----------
    model, strategy : str
        What is run, and how it was spread.
    group_images : int
        Images per launch (the GEMM batch).
    stages, edges : tuples
        The work and the messages; edges are ordered by (consumer, producer, value, window).
    in_flight_groups : int
        The source starts image group g when group ``g - in_flight_groups`` has reached the sink.
    predicted : mapping
        Modelled figures: ``throughput_images_per_s``, ``latency_ms``, and others by name.
    notes : tuple of Note
        What the planner wants the user to know; a file has their words.
    shapes : mapping of str to tuple of int
        (1, C, H, W) of every value that travels in pieces.
    """

    model: str
    strategy: str
    group_images: Positive
    stages: tuple[Stage, ...]
    edges: tuple[Edge, ...]
    in_flight_groups: Count
    predicted: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    shapes: Mapping[str, tuple[Positive, ...]] = field(default_factory=dict)

    def check_read(self) -> None:
        """Refuse shapes read from a file that are none, with `ValueError`."""
        for shape in self.shapes.values():
            if len(shape) != 4:
                raise ValueError(f"shape {shape} has not four extents")

    @cached_property
    def edges_into(self) -> Mapping[int, tuple[int, ...]]:
        """Indices of the edges into every place that has some, in order."""
        return _grouped(edge.consumer for edge in self.edges)

    @cached_property
    def edges_out_of(self) -> Mapping[int, tuple[int, ...]]:
        """Indices of the edges out of every place that has some, in order."""
        return _grouped(edge.producer for edge in self.edges)

    @cached_property
    def groups_per_round(self) -> int:
        """Image groups after which the turns of all stages repeat."""
        return round_groups(stage.turn_count for stage in self.stages)

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """Every rank that the plan uses, ascending."""
        return tuple(sorted({rank for stage in self.stages for rank in stage.ranks} | {0}))

    def rank_of(self, place: int, group: int) -> int:
        """Return the rank of a stage index, `SOURCE` or `SINK` for an image group."""
        return 0 if place in (SOURCE, SINK) else self.stages[place].rank_of(group)

    def to_json(self) -> str:
        """Return the plan as readable JSON."""
        return json.dumps({"format": "plan", "version": FORMAT_VERSION, **to_json(self)}, indent=2) + "\n"

    def save(self, path: Path) -> None:
        """Write the plan to a file."""
        write_atomically(path, self.to_json().encode(), "the plan")

    @classmethod
    def from_json(cls, text: str, where: str = "plan") -> Plan:
        """Read what `to_json` wrote, possibly edited; raises `PlanError` when it is malformed."""
        try:
            data: dict[str, Any] = json.loads(text)
            found = (data.pop("format"), data.pop("version"))
            if found != ("plan", FORMAT_VERSION):
                raise PlanError(f"holds {found[0]} version {found[1]}", where=where, allowed="plan version 1")
            return from_json(cls, data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
            what = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault)
            raise PlanError(f"not a readable plan ({what})", where=where, allowed="what --dry-run writes") from fault


def _grouped(places: Iterable[int]) -> dict[int, tuple[int, ...]]:
    groups: dict[int, list[int]] = {}
    for index, place in enumerate(places):
        groups.setdefault(place, []).append(index)
    return {place: tuple(indices) for place, indices in groups.items()}
