"""Opens a trace, refusing what is not one, is of another version or was not finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ArtifactError
from mpi_vta.trace.schema import MODELLED, RANK_FORMAT, RUN_FORMAT, VERSION

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
    """One of several models that ran at the same time; see `mpi_vta.trace.merge.ModelRecord`."""

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
    plan_json : str
        The plan; `mpi_vta.schedule.plan.Plan.from_json` reads it.
    images : ndarray of IMAGE_DTYPE
        Per-image latency.
    links : ndarray of LINK_DTYPE
        Counters of each pair of ranks that spoke.
    clock : ndarray of CLOCK_DTYPE
        Clock of each rank against rank 0.
    ranks : mapping of int to RankRecord
        By rank.
    models : tuple of ModelPart
        All models, numbered as in the events, if several ran; then the above is that of the first.
    """

    attributes: Mapping[str, Any]
    plan_json: str
    images: NDArray[Any]
    links: NDArray[Any]
    clock: NDArray[Any]
    ranks: Mapping[int, RankRecord]
    models: tuple[ModelPart, ...] = ()

    def of_model(self, number: int) -> Trace:
        """Return what a run of one of several models alone would have left, its ranks numbered as in its plan."""
        part = self.models[number]
        ranks = [int(rank) for rank in part.attributes["ranks"]]
        records = {place: self.ranks[rank] for place, rank in enumerate(ranks)}
        links = self.links[np.isin(self.links["source"], ranks)]
        clock = self.clock[np.isin(self.clock["rank"], ranks)]
        return Trace({**self.attributes, **part.attributes}, part.plan_json, part.images, links, clock, records)


def read(path: str | Path) -> Trace:
    """Read ``run.h5``.

    Raises
    ------
    ArtifactError
        If the file is missing, no trace, of another version, or was not finished.
    """
    where = str(path)
    try:
        with h5py.File(path, "r") as file:
            _check(dict(file.attrs), where)
            return _read(file)
    except FileNotFoundError as fault:
        raise ArtifactError("no such trace", where=where, allowed="a run.h5 written by the pipeline") from fault
    except (OSError, KeyError) as fault:
        raise ArtifactError(f"not a readable trace ({fault})", where=where, remedy="run the job again") from fault


def _check(attributes: Mapping[str, Any], where: str) -> None:
    if attributes.get("format") == RANK_FORMAT:
        raise ArtifactError("the trace of one rank", where=where, allowed="a run.h5", remedy=REPAIR)
    if attributes.get("format") != RUN_FORMAT:
        raise ArtifactError("not a trace", where=where, allowed="a run.h5 written by the pipeline")
    if attributes.get("version") != VERSION:
        raise ArtifactError(
            f"trace of version {attributes.get('version')}",
            where=where,
            allowed=f"version {VERSION}",
            remedy="read it with the release that wrote it",
        )
    if attributes.get("complete") != 1:
        raise ArtifactError("the trace was not finished", where=where, remedy=REPAIR)


def _read(file: h5py.File) -> Trace:
    ranks = {}
    for group in file["ranks"].values():
        profile = group["profile"]
        power = group["power"]
        ranks[int(group.attrs["rank"])] = RankRecord(
            dict(group.attrs),
            group["events"][:],
            power[:],
            profile[:],
            tuple(profile.attrs["layers"]),
            str(power.attrs["kind"]),
        )
    models = tuple(
        ModelPart(group["plan"].asstr()[()], group["images"][:], dict(group.attrs))
        for group in (file["models"].values() if "models" in file else ())
    )
    plan_json = file["plan"].asstr()[()]
    return Trace(dict(file.attrs), plan_json, file["images"][:], file["links"][:], file["clock"][:], ranks, models)
