"""The points of a study: every combination that an experiment asks for, whether it can be done or not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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

    def to_dict(self) -> dict[str, Any]:
        """Return the build JSON-able."""
        if isinstance(self.config, IllegalConfig):
            return {"illegal": True, "config": asdict(self.config), "clock_mhz": self.clock_mhz}
        return {"illegal": False, "config": self.config.to_dict(), "clock_mhz": self.clock_mhz}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> StudyBuild:
        """Read what `to_dict` returned; `where` names it in errors."""
        config = data["config"]
        illegal = IllegalConfig(**config) if data["illegal"] else None
        return cls(illegal or VTAConfig.from_dict(config, where=where), data["clock_mhz"])

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
            "cluster": self.cluster.to_dict(),
            "boards": self.boards,
            "build": None if self.build is None else self.build.to_dict(),
            "strategy": self.strategy,
            "objective": self.objective,
            "images": self.images,
            "sources": sources_hash(_SOURCES),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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


def points_to_dict(points: Sequence[Point]) -> dict[str, Any]:
    """Return points JSON-able, clusters and builds once each."""
    clusters = list(dict.fromkeys(point.cluster for point in points))
    builds = list(dict.fromkeys(point.build for point in points if point.build is not None))
    return {
        "clusters": [cluster.to_dict() for cluster in clusters],
        "builds": [build.to_dict() for build in builds],
        "points": [
            {
                **{name: value for name, value in vars(point).items() if name not in ("cluster", "build")},
                "cluster": clusters.index(point.cluster),
                "build": None if point.build is None else builds.index(point.build),
            }
            for point in points
        ],
    }


def points_from_dict(data: Mapping[str, Any], where: str) -> tuple[Point, ...]:
    """Read what `points_to_dict` returned; `where` names it in errors."""
    clusters = [Cluster.from_dict(entry, where) for entry in data["clusters"]]
    builds = [StudyBuild.from_dict(entry, where) for entry in data["builds"]]
    return tuple(
        Point(
            **{
                **entry,
                "models": tuple(entry["models"]),
                "cluster": clusters[entry["cluster"]],
                "build": None if entry["build"] is None else builds[entry["build"]],
            }
        )
        for entry in data["points"]
    )
