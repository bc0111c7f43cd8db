"""What a strategy is given, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from mpi_vta.errors import PlanError, unknown_name
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.window import Window
from mpi_vta.hw.board import Board
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.plans.figures import OBJECTIVES
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.notes import Note
from mpi_vta.schedule.by_hand import ByHand, wish_of
from mpi_vta.schedule.cost import Costs
from mpi_vta.schedule.cut_points import CutPoints, find_cut_points
from mpi_vta.schedule.division.fluid_model import Wish
from mpi_vta.text_table import counted


@dataclass(frozen=True)
class Problem:
    """A model to spread over boards.

    Attributes
    ----------
    graph : Graph
        The int8 graph.
    cluster : Cluster
        One board per rank.
    images : int
        Images of the job.
    costs : Costs
        What layers cost on a VTA build.
    stages : int or None
        Stages that the user asked for; None leaves it to the strategy.
    objective : str
        A key of `OBJECTIVES`.
    by_hand : ByHand
        Stage borders and numbers of boards that the user fixed.
    ruled_out : frozenset of (frozenset of str, Board)
        Nodes that as one stage were found not to fit a board's memory.
    in_flight : int or None
        Image groups under way at a time that the user asked for; None for the fewest that lose next to nothing.

    Raises
    ------
    PlanError
        If there is no such objective, or a number is out of range.
    """

    graph: Graph
    cluster: Cluster
    images: int
    costs: Costs
    stages: int | None = None
    objective: str = "throughput"
    by_hand: ByHand = field(default_factory=ByHand)
    ruled_out: frozenset[tuple[frozenset[str], Board]] = frozenset()
    in_flight: int | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            where = f"--objective {self.objective}"
            raise unknown_name(PlanError, "no such objective", where=where, name=self.objective, known=OBJECTIVES)
        if self.images < 1:
            raise PlanError(counted(self.images, "image"), where="--images", allowed="1 or more")
        if self.ranks < 1:
            raise PlanError(counted(self.ranks, "rank"), where="--ranks", allowed="1 or more")
        if self.stages is not None:
            _check_stages(self.stages, self.graph.name, len(self.cuts.units), self.ranks)

    @property
    def ranks(self) -> int:
        """Ranks to use, one board each."""
        return len(self.cluster.boards)

    @cached_property
    def cuts(self) -> CutPoints:
        """The places at which the model may be cut."""
        return find_cut_points(self.graph)

    def wish(self, *, replicas: bool) -> Wish:
        """Return what the user fixed, for a search with or without replicas; see `wish_of` for errors."""
        return wish_of(self.by_hand, self.cuts, self.ranks, self.stages, replicas=replicas)

    @cached_property
    def network(self) -> NetworkModel:
        """The cluster's network."""
        return NetworkModel.of(self.cluster)

    @cached_property
    def layout_config(self) -> VTAConfig:
        """The build whose GEMM batch and block give the layout of messages: the same on all boards.

        Raises
        ------
        PlanError
            If the boards' builds differ in batch or block.
        """
        shapes = {f"{config.batch}x{config.block}" for config in self.cluster.configs}
        if len(shapes) > 1:
            raise PlanError(
                f"boards with GEMM shapes {', '.join(sorted(shapes))} cannot exchange activations",
                where=f"cluster {self.cluster.name}",
                allowed="one batch and block for all boards of a job",
                remedy="choose one with --config",
            )
        return self.cluster.configs[0]


@dataclass(frozen=True)
class Placement:
    """Layers and the ranks that run them, taking turns by image group; see `Stage` for `turns` and `share`."""

    nodes: tuple[str, ...]
    ranks: tuple[int, ...]
    turns: tuple[int, ...] = ()
    share: Window | None = None


@dataclass(frozen=True)
class Draft:
    """A strategy's answer: placements in stage order, and what the user should know."""

    placements: tuple[Placement, ...]
    notes: tuple[Note, ...] = ()


def _check_stages(stages: int, model: str, most: int, ranks: int) -> None:
    allowed = f"1..{min(most, ranks)}"
    if stages > most:
        raise PlanError(
            f"{counted(stages, 'stage')}, but {model} can be cut into {most} only: what the compiler merges, such as "
            "a pooling with its convolution, stays together",
            where="--stages",
            allowed=allowed,
        )
    if not 1 <= stages <= ranks:
        raise PlanError(
            f"{counted(stages, 'stage')} on {counted(ranks, 'rank')}",
            where="--stages",
            allowed=allowed,
            remedy=f"start more ranks (mpirun -n {stages})" if stages > ranks else "",
        )
