"""The points of a study: every combination that an experiment asks for, whether it can be done or not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from mpi_vta.disk import sources_hash
from mpi_vta.errors import ConfigError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.enumeration import check_build
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import is_shipped
from mpi_vta.json_fields import Count, to_json
from mpi_vta.study.experiment import Experiment, IllegalConfig
from mpi_vta.text_table import counted

# Rooms and modules that decide a point's figures: rows made by another version of them are made again
_SOURCES = (
    "frontend",
    "quantize",
    "graph",
    "codegen",
    "simulator",
    "isa",
    "hw",
    "plans",
    "schedule",
    "study/evaluation.py",
    "study/points.py",
)


@dataclass(frozen=True)
class StudyBuild:
    """A VTA build that replaces the boards' own.

    Attributes
    ----------
    config : VTAConfig or IllegalConfig
        The build, or why there is none.
    clock_mhz : float or None
        Its clock; None for the boards' own.
    """

    config: VTAConfig | IllegalConfig
    clock_mhz: float | None = None

    def on(self, cluster: Cluster) -> Cluster:
        """Return the cluster with this build on every board.

        Raises
        ------
        ConfigError
            If the build is illegal, for another bus, or takes more than a board's FPGA has, as far as that is known.
        """
        if isinstance(self.config, IllegalConfig):
            raise ConfigError(self.config.reason, where=self.config.name)
        for board in cluster.boards:
            if board.config.bus_bits != self.config.bus_bits:
                raise ConfigError(
                    f"a build for {self.config.bus_bits}-bit memory buses, {board.name} has {board.config.bus_bits}"
                )
        cluster = cluster.with_config(self.config)
        if self.clock_mhz is not None:
            clocked = tuple(replace(board, clock_mhz=self.clock_mhz) for board in cluster.boards)
            cluster = replace(cluster, boards=clocked)
        for board in dict.fromkeys(cluster.boards):
            if is_shipped("parts", board.part):
                build = check_build(board.config, load_part(board.part), board.clock_mhz)
                if not build.usable:
                    raise ConfigError(f"does not fit {board.part}: {build.reason} (modelled)")
        return cluster


@dataclass(frozen=True)
class Point:
    """One job of a study.

    Attributes
    ----------
    index : int
        Place in the study.
    models : tuple of str
        As in the experiment; several run at once on boards of their own.
    cluster : Cluster
        Whole; the job has its first `boards` boards.
    boards : int
        Number of boards, perhaps more than there are.
    build : StudyBuild or None
        Replaces the boards' VTA builds.
    strategy, objective : str
        As for `mpi_vta.schedule.strategies.make_plan`.
    images : int
        Of each model.
    """

    index: int
    models: tuple[str, ...]
    cluster: Cluster
    boards: int
    build: StudyBuild | None
    strategy: str
    objective: str
    images: int

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models without their folders."""
        return tuple(Path(model).stem for model in self.models)

    @property
    def config_names(self) -> str:
        """The build's name, or those of the boards' own builds."""
        if self.build is not None:
            return self.build.config.name
        used = self.cluster.boards[: self.boards]
        return "+".join(dict.fromkeys(board.config.name for board in used))

    @property
    def title(self) -> str:
        """The point in a line."""
        build = "" if self.build is None else f" with {self.config_names}"
        boards = f"{self.boards} board{'s' if self.boards > 1 else ''}"
        return (
            f"{'+'.join(self.model_names)} on {boards} of {self.cluster.name}{build}: {self.strategy}, {self.objective}"
        )

    def built_cluster(self) -> Cluster:
        """Return the boards of the job, with the point's build.

        Raises
        ------
        ConfigError
            If there are too few boards or more than the cluster has, or the build cannot be on one.
        """
        there = len(self.cluster.boards)
        if self.boards > there:
            raise ConfigError(f"{counted(self.boards, 'board')}, it has {there}", where=f"cluster {self.cluster.name}")
        if self.boards < len(self.models):
            raise ConfigError(f"{len(self.models)} models at once need as many boards", where=f"boards = {self.boards}")
        cluster = self.cluster.first(self.boards)
        return cluster if self.build is None else self.build.on(cluster)

    def key(self, graph_sha256: Mapping[str, str]) -> str:
        """Return the SHA-256 of all that decides the point's figures.

        Parameters
        ----------
        graph_sha256 : mapping of str to str
            Of every model's int8 graph.
        """
        parts = {
            "graphs": [graph_sha256[model] for model in self.models],
            "cluster": _json_of(self.cluster),
            "boards": self.boards,
            "build": _json_of(self.build),
            "strategy": self.strategy,
            "objective": self.objective,
            "images": self.images,
            "sources": sources_hash(_SOURCES),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def _json_of(part: Cluster | StudyBuild | None) -> Any:
    # many points have the same
    return to_json(part)


def points_of(experiment: Experiment, builds: Sequence[StudyBuild | None]) -> tuple[Point, ...]:
    """Return every point of an experiment: models outermost, then clusters, builds, boards, strategies, objectives.

    Parameters
    ----------
    experiment : Experiment
        What is combined.
    builds : sequence of StudyBuild or None
        None for the boards' own builds.
    """
    combinations = [
        (models, cluster, boards, build, strategy, objective)
        for models, cluster, build in product(experiment.models, experiment.clusters, builds)
        for boards in experiment.boards or (len(cluster.boards),)
        for strategy, objective in product(experiment.strategies, experiment.objectives)
    ]
    return tuple(Point(index, *combination, experiment.images) for index, combination in enumerate(combinations))


@dataclass(frozen=True)
class _Row:
    """A `Point` with the numbers of its cluster and build in a `PointTable`."""

    index: Count
    models: tuple[str, ...]
    cluster: Count
    boards: Count
    build: Count | None
    strategy: str
    objective: str
    images: Count


@dataclass(frozen=True)
class PointTable:
    """Points as they are sent to other ranks: clusters and builds once each."""

    clusters: tuple[Cluster, ...]
    builds: tuple[StudyBuild, ...]
    rows: tuple[_Row, ...]

    @classmethod
    def of(cls, points: Sequence[Point]) -> PointTable:
        """Return the table of some points."""
        clusters = {cluster: number for number, cluster in enumerate(dict.fromkeys(p.cluster for p in points))}
        builds = {build: number for number, build in enumerate(dict.fromkeys(p.build for p in points if p.build))}
        rows = (
            _Row(**{**vars(p), "cluster": clusters[p.cluster], "build": builds[p.build] if p.build else None})
            for p in points
        )
        return cls(tuple(clusters), tuple(builds), tuple(rows))

    def check_read(self) -> None:
        """Refuse a row of a cluster or build that is not there, with `ValueError`."""
        for row in self.rows:
            if row.cluster >= len(self.clusters) or (row.build is not None and row.build >= len(self.builds)):
                raise ValueError(f"point {row.index} is of a cluster or build that is not there")

    @property
    def points(self) -> tuple[Point, ...]:
        """The points."""
        return tuple(
            Point(
                **{
                    **vars(row),
                    "cluster": self.clusters[row.cluster],
                    "build": None if row.build is None else self.builds[row.build],
                }
            )
            for row in self.rows
        )
