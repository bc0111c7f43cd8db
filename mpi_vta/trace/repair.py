"""A run that ended early: its ranks' files, still lying in the output folder, made into one trace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import read_bytes, read_text, write_json
from mpi_vta.errors import ArtifactError, PlanError
from mpi_vta.json_fields import Count, Positive, Range, from_json, shown, to_json
from mpi_vta.plans.plan import MOST_RANK, Plan
from mpi_vta.trace.merge import ModelRecord, RankFile, RunRecord, clock_line, merge_ranks, read_rank_file
from mpi_vta.trace.probe import probe, survived
from mpi_vta.trace.schema import IMAGE_DTYPE, MEASURED, RUN_ATTRIBUTES, EventKind

OPENING_FORMAT, OPENING_VERSION = "mpi_vta run opening", 4
# 1 and 2: of several models only the one on rank 0; 1 to 3: an only model is not in the list
READABLE_OPENINGS = (1, 2, 3, 4)
MOST_PARTS = 999  # of a job: their files have three digits
_MOST_NOTED = 4096  # an attribute has 64 KiB
# what an attribute of a trace may be
Note = str | int | float | tuple[str, ...] | tuple[Count, ...]


@dataclass(frozen=True)
class ModelOpening:
    """What belongs to a model that is to be run.

    Attributes
    ----------
    plan_json : str
        Its plan.
    images : int
        How many it is to run.
    attributes : mapping
        Those of its group in the trace, JSON-able, without the hash of the outputs: ``name``, ``ranks``, ...
    """

    plan_json: str
    images: Positive
    attributes: Mapping[str, Note]

    def check_read(self) -> None:
        """Refuse a model read from a file without name, ranks or a plan, with `ValueError`."""
        _readable_plan(self.plan_json)
        _check_notes(self.attributes)
        if "name" not in self.attributes:
            raise ValueError("'name' is missing")
        if not self.ranks:
            raise ValueError("a model has no ranks")

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks of the job that run it, ascending."""
        ranks = self.attributes.get("ranks")
        return tuple(map(int, ranks)) if isinstance(ranks, tuple | list) else ()


@dataclass(frozen=True)
class Opening:
    """What rank 0 knows of a run before it starts; kept beside the ranks' files until they are merged.

    Attributes
    ----------
    ranks : int
        Of the job.
    provenance : mapping
        Attributes of the trace, JSON-able.
    models : tuple of ModelOpening
        All models, numbered as in the events.
    """

    ranks: Annotated[int, Range(1, MOST_RANK)]
    provenance: Mapping[str, Note]
    models: tuple[ModelOpening, ...]

    def check_read(self) -> None:
        """Refuse what was read from a file if it has no model, or one on a rank that is not there."""
        _check_notes(self.provenance)
        if not self.models:
            raise ValueError("no models")
        if not 0 <= self.part <= MOST_PARTS:
            raise ValueError(f"part: {self.part} is not a whole number from 0 to {MOST_PARTS}")
        for model in self.models:
            for rank in model.ranks:
                if rank >= self.ranks:
                    raise ValueError(f"{rank} is not a whole number from 0 to {self.ranks - 1}")

    @property
    def part(self) -> int:
        """Which part of a job that was gone on with the run is, from 0."""
        part = self.provenance.get("part", 0)
        assert isinstance(part, int)
        return part

    def record(
        self,
        images: Sequence[NDArray[Any]],
        notes: Sequence[Mapping[str, Any]],
        of_run: Mapping[str, Any] = MappingProxyType({}),
    ) -> RunRecord:
        """Return what a trace of the run records.

        Parameters
        ----------
        images : sequence of ndarray of IMAGE_DTYPE
            By model: its finished images.
        notes : sequence of mapping
            By model: further attributes.
        of_run : mapping
            Further attributes of the whole run.
        """
        models = tuple(
            ModelRecord(model.plan_json, rows, {**model.attributes, **noted})
            for model, rows, noted in zip(self.models, images, notes, strict=True)
        )
        return RunRecord({**self.provenance, **of_run}, models)

    def save(self, folder: Path) -> None:
        """Write ``ranks/run.json`` in an output folder."""
        data = {"format": OPENING_FORMAT, "version": OPENING_VERSION, **to_json(self)}
        write_json(opening_path(folder), data)

    @classmethod
    def load(cls, folder: Path) -> Opening:
        """Read what `save` wrote; raises `ArtifactError` if it is not there or damaged."""
        path = opening_path(folder)
        try:
            data = json.loads(read_text(path))
            found = (data.pop("format"), data.pop("version"))
            if found[0] != OPENING_FORMAT or found[1] not in READABLE_OPENINGS:
                raise ArtifactError(
                    f"holds {found[0]} version {found[1]}",
                    where=str(path),
                    allowed=f"{OPENING_FORMAT} version {', '.join(map(str, READABLE_OPENINGS))}",
                    remedy="use the release that wrote it",
                )
            return from_json(cls, _as_now(data, found[1]))
        except FileNotFoundError as fault:
            raise ArtifactError(
                "no unmerged run there", where=str(folder), allowed="the output folder of a run that ended early"
            ) from fault
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
            what = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault)
            raise ArtifactError(
                f"not a readable run opening ({what})", where=str(path), remedy="without it the files cannot be merged"
            ) from fault


def _as_now(data: dict[str, Any], version: int) -> dict[str, Any]:
    """Return an opening of any readable version as one of this version."""
    if version == OPENING_VERSION:
        return data
    plan_json, images = data.pop("plan_json"), data.pop("images")
    if version < 3 or not data["models"]:
        provenance = data["provenance"]
        # what is said of an only model is said of the run
        attributes = {"name": provenance.get("model", ""), "ranks": list(range(min(data["ranks"], MOST_RANK)))}
        data["models"] = [{"plan_json": plan_json, "images": images, "attributes": attributes}]
    return data


# what a job that is gone on with, or a merge of its traces, relies on
_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("part", "images_of_job", "seed"), int),
    **dict.fromkeys(("models", "program_sha256", "ranks"), tuple),
    **dict.fromkeys(
        ("argv", "time", "model", "name", "strategy", "device", "cluster", "network", "network_power", "image_numbers"),
        str,
    ),
}
_KIND_WORDS = {int: "a whole number", tuple: "a list", str: "a text"}


def _check_notes(notes: Mapping[str, Note]) -> None:
    """Refuse with `ValueError` what cannot be an attribute of a trace, or is of another type than its name says."""
    for name, value in notes.items():
        if not name.isidentifier() or name in RUN_ATTRIBUTES:
            raise ValueError(f"{shown(name)} is no name of a note")
        kind = _KINDS.get(name)
        if kind is not None and not isinstance(value, kind):
            raise ValueError(f"{name}: {shown(value)} is not {_KIND_WORDS[kind]}")
        for entry in value if isinstance(value, tuple) else (value,):
            if isinstance(entry, str) and ("\0" in entry or entry.encode(errors="replace").decode() != entry):
                raise ValueError(f"{name}: {shown(entry)} is not a text of Unicode characters")
        if isinstance(value, tuple) and name != "ranks" and len(value) > _MOST_NOTED:
            raise ValueError(f"{name}: {len(value)} values, more than {_MOST_NOTED}")


def _readable_plan(plan_json: str) -> Plan:
    try:
        return Plan.from_json(plan_json)
    except PlanError as fault:
        raise ValueError(str(fault)) from fault


def opening_path(folder: Path) -> Path:
    """Return where `Opening.save` writes."""
    return folder / "ranks" / "run.json"


def repair(folder: Path, target: Path | None = None, *, without_missing: bool = False) -> tuple[Path, tuple[int, ...]]:
    """Merge the ranks' files of a run that ended early into one trace; the files stay.

    Parameters
    ----------
    folder : Path
        Output folder of the run.
    target : Path, optional
        The trace to write; ``run.h5`` in the folder by default.
    without_missing : bool
        Whether ranks whose file is not there or cannot be used may be left out, as after the loss of a host.

    Returns
    -------
    path : Path
        The trace; its attribute ``repaired`` is 1 and ``missing_ranks`` names the ranks left out.
    missing : tuple of int
        Those ranks.

    Raises
    ------
    ArtifactError
        If there is no unmerged run, or a rank's file is missing or damaged.
    """
    opening = Opening.load(folder)
    paths = {rank: folder / "ranks" / f"rank-{rank:03d}.h5" for rank in range(opening.ranks)}
    missing = {rank for rank, path in paths.items() if not path.is_file()}
    if missing and (not without_missing or len(missing) == opening.ranks):
        raise ArtifactError(
            f"the files of ranks {', '.join(map(str, sorted(missing)))} are not there",
            where=str(folder / "ranks"),
            allowed=f"rank-NNN.h5 of all {opening.ranks} ranks",
            remedy="copy them from their hosts' output folders, or leave them out with --without-missing",
        )
    measured = opening.provenance.get("time") == MEASURED
    files = []
    present = [paths[rank] for rank in sorted(paths.keys() - missing)]
    all_survived = survived(present)
    for rank in sorted(paths.keys() - missing):
        try:
            if not all_survived:
                probe([paths[rank]])
            file = read_rank_file(read_bytes(paths[rank]), str(paths[rank]))
            clock_line(file, measured=measured)
            files.append(file)
        except ArtifactError:
            if not without_missing:
                raise
            missing.add(rank)
    path = target or folder / "run.h5"
    record = opening.record(
        [image_times(files, model) for model in opening.models],
        [{"images_asked": model.images} for model in opening.models],
        {"repaired": 1, "missing_ranks": sorted(missing)},
    )
    merge_ranks(path, files, record)
    return path, tuple(sorted(missing))


def image_times(files: Sequence[RankFile], model: ModelOpening) -> NDArray[Any]:
    """Return a model's images that were finished, IMAGE_DTYPE, from the events of the first of its ranks."""
    group_images = Plan.from_json(model.plan_json).group_images
    rows = []
    for file in files:
        if file.rank != model.ranks[0]:
            continue
        of_kind = {
            kind: {int(row["image"]): int(row["end_ns"]) for row in file.events[file.events["kind"] == kind]}
            for kind in (EventKind.START, EventKind.FINISH)
        }
        for first, end_ns in of_kind[EventKind.FINISH].items():
            start_ns = of_kind[EventKind.START][first]
            last = min(first + group_images, model.images)
            rows += [(image, start_ns, end_ns, end_ns - start_ns) for image in range(first, last)]
    return np.sort(np.array(rows, IMAGE_DTYPE), order="image")
