"""Rank 0 joins the ranks' event files into one compressed, self-describing ``run.h5``."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mpi_vta.trace.schema import (
    CLOCK_DTYPE,
    EVENT_DTYPE,
    IMAGE_DTYPE,
    POWER_DTYPE,
    VERSION,
    EventKind,
    rank_group,
)

_COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


@dataclass(frozen=True)
class RunRecord:
    """What belongs to the run as a whole.

    Attributes
    ----------
    plan_json : str
        The plan that was run.
    images : ndarray of IMAGE_DTYPE
        When each image entered and when its last output arrived.
    provenance : mapping
        Attributes of the file: argv, commit, versions, hashes, ``time`` = ``modelled`` or ``measured``.
    """

    plan_json: str
    images: NDArray[Any]
    provenance: Mapping[str, Any]


def merge(path: Path, rank_files: Sequence[bytes], record: RunRecord) -> None:
    """Write ``run.h5`` from the bytes of every rank's file.

    The attribute ``complete`` is set last and the file gets its name after that, so a reader never takes a
    half-written trace for a whole one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with h5py.File(partial, "w") as run:
        run.attrs["format"] = "mpi_vta trace"
        run.attrs["version"] = VERSION
        run.attrs["event_kinds"] = [kind.name.lower() for kind in EventKind]
        run.attrs.update(record.provenance)
        run.create_dataset("plan", data=record.plan_json)
        _dataset(run, "images", record.images, IMAGE_DTYPE)
        ranks = [_copy_rank(run, data) for data in rank_files]
        _dataset(run, "clock", np.array([(rank, 0.0, 0.0, 0.0) for rank in ranks], CLOCK_DTYPE), CLOCK_DTYPE)
        for rank in ranks:
            _add_power(run[rank_group(rank)], _last_end_ns(run, ranks))
        run.attrs["complete"] = 1
    os.replace(partial, path)


def _copy_rank(run: h5py.File, data: bytes) -> int:
    with h5py.File(io.BytesIO(data), "r") as source:
        (name,) = source["ranks"]
        rank = source["ranks"][name]
        group = run.create_group(f"ranks/{name}")
        group.attrs.update(rank.attrs)
        events = rank["events"][:]
        _dataset(group, "events", events[np.argsort(events["start_ns"], kind="stable")], EVENT_DTYPE)
        return int(rank.attrs["rank"])


def _last_end_ns(run: h5py.File, ranks: Iterable[int]) -> int:
    ends = [run[rank_group(rank)]["events"]["end_ns"] for rank in ranks]
    return max((int(end.max()) for end in ends if end.size), default=0)


def _add_power(group: h5py.Group, end_ns: int) -> None:
    """Add the board's modelled power over time: busy while its VTA runs, idle otherwise."""
    idle, busy = float(group.attrs["idle_watts"]), float(group.attrs["busy_watts"])
    events = group["events"][:]
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
    power = _dataset(group, "power", np.array(steps, POWER_DTYPE), POWER_DTYPE)
    power.attrs["kind"] = "modelled"
    power.attrs["source"] = group.attrs["power_source"]


def _dataset(group: h5py.Group, name: str, rows: NDArray[Any], dtype: np.dtype[Any]) -> h5py.Dataset:
    options = _COMPRESSION if rows.size else {}
    return group.create_dataset(name, data=rows.astype(dtype, copy=False), **options)
