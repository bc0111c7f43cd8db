"""Rank 0 joins the ranks' event files into one compressed, self-describing ``run.h5``."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import replacing
from mpi_vta.errors import ArtifactError
from mpi_vta.trace.clock_sync import SAME_CLOCK, ClockLine, fit_clock
from mpi_vta.trace.hdf5_input import HDF5_FAULTS, members, read_attributes, read_rows
from mpi_vta.trace.messages import link_counters, match_messages
from mpi_vta.trace.schema import (
    CLOCK_DTYPE,
    CLOCK_SAMPLE_DTYPE,
    EVENT_DTYPE,
    IMAGE_DTYPE,
    LINK_DTYPE,
    MEASURED,
    MODELLED,
    POWER_DTYPE,
    PROFILE_DTYPE,
    RANK_ATTRIBUTES,
    RANK_FORMAT,
    READABLE_VERSIONS,
    RUN_FORMAT,
    VERSION,
    EventKind,
    model_group,
    rank_group,
)
from mpi_vta.trace.seal import SEAL_BYTES, seal

_FARTHEST = 10
_COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


@dataclass(frozen=True, eq=False)
class ModelRecord:
    """What belongs to a model of the run.

    Attributes
    ----------
    plan_json : str
        Its plan.
    images : ndarray of IMAGE_DTYPE
        When each of its images entered and when the last output arrived.
    attributes : mapping
        ``name``, ``ranks`` (the job's rank for each rank of the plan), ``model``, ``strategy``, hashes.
    """

    plan_json: str
    images: NDArray[Any]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class RunRecord:
    """What belongs to the run as a whole.

    Attributes
    ----------
    provenance : mapping
        Attributes of the file: argv, commit, versions, ``time`` = ``modelled`` or ``measured``.
    models : tuple of ModelRecord
        All models, numbered as in the events.
    """

    provenance: Mapping[str, Any]
    models: tuple[ModelRecord, ...]


@dataclass(frozen=True, eq=False)
class RankFile:
    """One rank's file, read into memory: the parts of ``/ranks/NNN``, times on the rank's own clock."""

    attributes: Mapping[str, Any]
    events: NDArray[Any]
    profile: NDArray[Any]
    layers: tuple[str, ...]
    clock_samples: NDArray[Any] | None
    power: NDArray[Any] | None = None
    power_attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """Rank in the job."""
        return int(self.attributes["rank"])


def read_rank_file(data: bytes, where: str) -> RankFile:
    """Read what `mpi_vta.trace.writer.RankTrace` left, closed or not.

    Raises
    ------
    ArtifactError
        If it is damaged, something else, or of another version.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            found = (file.attrs.get("format"), file.attrs.get("version"))
            if found[0] != RANK_FORMAT or found[1] not in READABLE_VERSIONS:
                raise ArtifactError(
                    f"holds {found[0]} version {found[1]}",
                    where=where,
                    allowed=f"{RANK_FORMAT} version {' or '.join(map(str, READABLE_VERSIONS))}",
                    remedy="use the release that wrote it",
                )
            (group,) = members(file, "ranks")
            return _rank_file(group)
    except HDF5_FAULTS as fault:
        raise ArtifactError(
            f"not a readable rank trace ({fault})",
            where=where,
            remedy="take the file from the rank's host again, or leave it out with --without-missing",
        ) from fault


def _rank_file(group: h5py.Group) -> RankFile:
    attributes = read_attributes(group, RANK_ATTRIBUTES, "the rank")
    profile, layers = np.zeros(0, PROFILE_DTYPE), ()
    # a rank that was killed before it had loaded its programs has no profile
    if "profile" in group:
        profile = read_rows(group, "profile", PROFILE_DTYPE)
        layers = tuple(read_attributes(group["profile"], {"layers": "strs"}, "the profile")["layers"])
    samples = read_rows(group, "clock_samples", CLOCK_SAMPLE_DTYPE) if "clock_samples" in group else None
    events = read_rows(group, "events", EVENT_DTYPE)
    if "power" not in group:
        return RankFile(attributes, events, profile, layers, samples)
    power = read_rows(group, "power", POWER_DTYPE)
    noted = read_attributes(group["power"], {"source": "str", "missed": "int"}, "the power")
    return RankFile(attributes, events, profile, layers, samples, power, noted)


def merge(path: Path, rank_files: Sequence[bytes], record: RunRecord) -> None:
    """Write ``run.h5`` from the bytes of every rank's file; see `merge_ranks`."""
    merge_ranks(path, [read_rank_file(data, f"file {place}") for place, data in enumerate(rank_files)], record)


def merge_ranks(path: Path, files: Sequence[RankFile], record: RunRecord) -> None:
    """Write ``run.h5``.

    The attribute ``complete`` is set last, then the file's hash, and the file gets its name after that, so a reader
    never takes a half-written trace for a whole one. Measured times are brought to rank 0's clock; messages that
    then seem to arrive before they were sent are counted in ``/links``, not moved.

    Raises
    ------
    ArtifactError
        If times are measured and a rank's clock was not compared with rank 0's.
    InputError
        If it cannot be written.
    """
    measured = record.provenance.get("time") == MEASURED
    lines = {file.rank: clock_line(file, measured=measured) for file in files}
    events = {file.rank: _sorted_events(file.events, lines[file.rank]) for file in files}
    links = link_counters(match_messages(events)) if events else np.zeros(0, LINK_DTYPE)
    end_ns = max((int(rows["end_ns"].max()) for rows in events.values() if rows.size), default=0)
    clock = [(rank, line.offset_ns, line.drift_ppb, line.error_ns) for rank, line in lines.items()]
    with replacing(path, "the trace") as partial:
        with h5py.File(partial, "x", userblock_size=SEAL_BYTES) as run:
            run.attrs["format"] = RUN_FORMAT
            run.attrs["version"] = VERSION
            run.attrs["event_kinds"] = [kind.name.lower() for kind in EventKind]
            run.attrs["backward_messages"] = int(links["backward"].sum())
            run.attrs["unmatched_messages"] = int(links["unmatched"].sum())
            run.attrs.update(record.provenance)
            _dataset(run, "links", links, LINK_DTYPE)
            _dataset(run, "clock", np.array(clock, CLOCK_DTYPE), CLOCK_DTYPE)
            for number, model in enumerate(record.models):
                group = run.create_group(model_group(number))
                group.attrs.update(model.attributes)
                group.create_dataset("plan", data=model.plan_json)
                _dataset(group, "images", model.images, IMAGE_DTYPE)
            for file in files:
                group = run.create_group(rank_group(file.rank))
                _write_rank(group, file, events[file.rank])
                _write_power(group, file, lines[file.rank], events[file.rank], end_ns)
            run.attrs["complete"] = 1
        seal(partial)


def clock_line(file: RankFile, *, measured: bool) -> ClockLine:
    """Return what brings a rank's times to rank 0's clock; raises `ArtifactError` if that was never measured."""
    if file.rank == 0 or not measured:
        return SAME_CLOCK
    if file.clock_samples is None:
        raise ArtifactError(
            f"the clock of rank {file.rank} was never compared with rank 0's",
            where=f"rank {file.rank} on {file.attributes['host']}",
            remedy="its measured times mean nothing beside the others'; run the job again",
        )
    line = fit_clock(file.clock_samples, f"rank {file.rank}")
    local = file.clock_samples["local_ns"]
    last_ns = int(file.events["end_ns"].max()) if file.events.size else 0
    if last_ns - local.max() > _FARTHEST * (local.max() - local.min()):
        # a run that ended early was compared at its start only: a drift seen in a moment says nothing of hours
        return ClockLine(line.offset_ns + line.drift_ppb * 1e-9 * float(local.mean()), 0.0, line.error_ns)
    return line


def _sorted_events(events: NDArray[Any], line: ClockLine) -> NDArray[Any]:
    rows = events.astype(EVENT_DTYPE, copy=True)
    if line != SAME_CLOCK:
        rows["start_ns"], rows["end_ns"] = line.to_reference(rows["start_ns"]), line.to_reference(rows["end_ns"])
    ordered: NDArray[Any] = rows[np.argsort(rows["start_ns"], kind="stable")]
    return ordered


def _write_rank(group: h5py.Group, file: RankFile, events: NDArray[Any]) -> None:
    group.attrs.update(file.attributes)
    _dataset(group, "events", events, EVENT_DTYPE)
    _dataset(group, "profile", file.profile, PROFILE_DTYPE).attrs["layers"] = list(file.layers)


def _write_power(group: h5py.Group, file: RankFile, line: ClockLine, events: NDArray[Any], end_ns: int) -> None:
    """Write what the board's sensor measured, or without one what the board's model says, labelled."""
    if file.power is not None and file.power.size:
        steps = file.power.copy()
        for name in ("start_ns", "end_ns"):
            steps[name] = line.to_reference(steps[name])
        attributes = {"kind": MEASURED, **file.power_attributes}
    else:
        steps = power_steps(file.attributes, events, end_ns)
        attributes = {"kind": MODELLED, "source": file.attributes["power_source"]}
    _dataset(group, "power", steps, POWER_DTYPE).attrs.update(attributes)


def power_steps(attributes: Mapping[str, Any], events: NDArray[Any], end_ns: int) -> NDArray[Any]:
    """Return a board's modelled power over time, POWER_DTYPE: busy while its VTA runs, idle otherwise."""
    idle, busy = float(attributes["idle_watts"]), float(attributes["busy_watts"])
    launches = events[events["kind"] == EventKind.LAUNCH]
    steps = []
    at_ns = 0
    for start, stop in zip(launches["start_ns"].tolist(), launches["end_ns"].tolist(), strict=True):
        if start > at_ns:
            steps.append((at_ns, start, idle))
        steps.append((start, stop, busy))
        at_ns = stop
    if end_ns > at_ns:
        steps.append((at_ns, end_ns, idle))
    return np.array(steps, POWER_DTYPE)


def _dataset(group: h5py.Group, name: str, rows: NDArray[Any], dtype: np.dtype[Any]) -> h5py.Dataset:
    options = _COMPRESSION if rows.size else {}
    return group.create_dataset(name, data=rows.astype(dtype, copy=False), **options)
