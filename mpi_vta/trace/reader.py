"""Opens a trace, refusing what is not one, is of another version or was not finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ArtifactError
from mpi_vta.trace.hdf5_input import HDF5_FAULTS, members, read_attributes, read_rows, read_text
from mpi_vta.trace.probe import probe
from mpi_vta.trace.schema import (
    CLOCK_DTYPE,
    EVENT_DTYPE,
    IMAGE_DTYPE,
    LINK_DTYPE,
    MODELLED,
    POWER_DTYPE,
    PROFILE_DTYPE,
    RANK_ATTRIBUTES,
    RANK_FORMAT,
    READABLE_VERSIONS,
    RUN_FORMAT,
    VERSION,
)
from mpi_vta.trace.seal import check_seal

REPAIR = "python -m mpi_vta.trace merge FOLDER makes a trace of the ranks' files"


@dataclass(frozen=True)
class RankRecord:
    """One rank's part of a trace.

    Attributes
    ----------
    attributes : mapping
        As written by the rank.
    events : ndarray of EVENT_DTYPE
        By start.
    power : ndarray of POWER_DTYPE
        Without gaps.
    profile : ndarray of PROFILE_DTYPE
        Where the cycles of one launch go, by stage and layer; no rows if the device could not tell.
    layers : tuple of str
        Names for ``profile["layer"]``.
    power_kind : str
        ``modelled``, or ``measured`` by the board's sensor.
    """

    attributes: Mapping[str, Any]
    events: NDArray[Any]
    power: NDArray[Any]
    profile: NDArray[Any]
    layers: tuple[str, ...]
    power_kind: str = MODELLED


@dataclass(frozen=True, eq=False)
class ModelPart:
    """What belongs to a model of the run; see `mpi_vta.trace.merge.ModelRecord`."""

    plan_json: str
    images: NDArray[Any]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Trace:
    """A whole run, read into memory.

    Attributes
    ----------
    attributes : mapping
        Provenance.
    links : ndarray of LINK_DTYPE
        Counters of each pair of ranks that spoke.
    clock : ndarray of CLOCK_DTYPE
        Clock of each rank against rank 0.
    ranks : mapping of int to RankRecord
        By rank.
    models : tuple of ModelPart
        The models, numbered as in the events.
    where : str
        The file, for messages.
    """

    attributes: Mapping[str, Any]
    links: NDArray[Any]
    clock: NDArray[Any]
    ranks: Mapping[int, RankRecord]
    models: tuple[ModelPart, ...]
    where: str = "trace"

    def of_model(self, number: int) -> ModelTrace:
        """Return a model's part of everything, its ranks numbered as in its plan."""
        part = self.models[number]
        ranks = [int(rank) for rank in part.attributes["ranks"]]
        # a run that ended early may lack some
        records = {place: self.ranks[rank] for place, rank in enumerate(ranks) if rank in self.ranks}
        links = self.links[np.isin(self.links["source"], ranks)]
        clock = self.clock[np.isin(self.clock["rank"], ranks)]
        attributes = {**self.attributes, **part.attributes}
        return ModelTrace(attributes, part.plan_json, part.images, links, clock, records, self.where)


@dataclass(frozen=True)
class ModelTrace:
    """What a model's ranks did, as if there had been no other.

    Attributes
    ----------
    attributes : mapping
        Provenance, of the run and of the model.
    plan_json : str
        The plan; `mpi_vta.plans.plan.Plan.from_json` reads it.
    images : ndarray of IMAGE_DTYPE
        Per-image latency.
    links, clock
        As for `Trace`, of the model's ranks, which are the job's.
    ranks : mapping of int to RankRecord
        By the plan's rank.
    where : str
        The file, for messages.
    """

    attributes: Mapping[str, Any]
    plan_json: str
    images: NDArray[Any]
    links: NDArray[Any]
    clock: NDArray[Any]
    ranks: Mapping[int, RankRecord]
    where: str


def read(path: str | Path) -> Trace:
    """Read ``run.h5``.

    Raises
    ------
    ArtifactError
        If the file is missing, no trace, of another version, was not finished, or is not what its SHA-256 says.
    """
    where = str(path)
    try:
        sealed = check_seal(Path(path))
        if not sealed:
            probe([Path(path)])
        with h5py.File(path, "r") as file:
            _check(dict(file.attrs), sealed, where)
            trace = replace(_read(file), where=where)
    except FileNotFoundError as fault:
        raise ArtifactError("no such trace", where=where, allowed="a run.h5 written by the pipeline") from fault
    except HDF5_FAULTS as fault:
        # what the system says of a file, without the name that the line has anyway
        reason = fault.strerror if isinstance(fault, OSError) and fault.filename else fault
        raise ArtifactError(f"not a readable trace ({reason})", where=where, remedy="run the job again") from fault
    return trace


def _check(attributes: Mapping[str, Any], sealed: bool, where: str) -> None:
    if attributes.get("format") == RANK_FORMAT:
        raise ArtifactError("the trace of one rank", where=where, allowed="a run.h5", remedy=REPAIR)
    if attributes.get("format") != RUN_FORMAT:
        raise ArtifactError("not a trace", where=where, allowed="a run.h5 written by the pipeline")
    if attributes.get("version") not in READABLE_VERSIONS:
        raise ArtifactError(
            f"trace of version {attributes.get('version')}",
            where=where,
            allowed=f"version {' or '.join(map(str, READABLE_VERSIONS))}",
            remedy="read it with the release that wrote it",
        )
    if attributes.get("complete") != 1:
        raise ArtifactError("the trace was not finished", where=where, remedy=REPAIR)
    if not sealed and attributes["version"] != 1:
        raise ArtifactError(
            "the trace has lost its SHA-256", where=where, remedy="take the file that the pipeline wrote"
        )


def _read(file: h5py.File) -> Trace:
    ranks = {}
    for group in members(file, "ranks"):
        attributes = read_attributes(group, RANK_ATTRIBUTES, group.name)
        profile, power = read_rows(group, "profile", PROFILE_DTYPE), read_rows(group, "power", POWER_DTYPE)
        layers = read_attributes(group["profile"], {"layers": "strs"}, f"{group.name}/profile")["layers"]
        kind = read_attributes(group["power"], {"kind": "str"}, f"{group.name}/power")["kind"]
        events = read_rows(group, "events", EVENT_DTYPE)
        ranks[int(attributes["rank"])] = RankRecord(attributes, events, power, profile, tuple(layers), kind)
    links, clock = read_rows(file, "links", LINK_DTYPE), read_rows(file, "clock", CLOCK_DTYPE)
    return Trace(dict(file.attrs), links, clock, ranks, _models(file, ranks))


def _models(file: h5py.File, ranks: Mapping[int, RankRecord]) -> tuple[ModelPart, ...]:
    if file.attrs["version"] < VERSION and "models" not in file:
        # an only model, whose plan and images are the file's, as is all that is said of it
        attributes = {"name": str(file.attrs.get("model", "")), "ranks": np.arange(max(ranks, default=-1) + 1)}
        return (ModelPart(read_text(file, "plan"), read_rows(file, "images", IMAGE_DTYPE), attributes),)
    return tuple(
        ModelPart(
            read_text(group, "plan"),
            read_rows(group, "images", IMAGE_DTYPE),
            read_attributes(group, {"name": "str", "ranks": "ints"}, group.name),
        )
        for group in members(file, "models")
    )
