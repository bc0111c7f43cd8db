"""A run that ended early: its ranks' files, still lying in the output folder, made into one trace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import read_bytes, read_text, write_json
from mpi_vta.errors import ArtifactError
from mpi_vta.json_value import entries, number, table, text, texts, whole, wholes
from mpi_vta.trace.merge import ModelRecord, RankFile, RunRecord, clock_line, merge_ranks, read_rank_file
from mpi_vta.trace.probe import probe, survived
from mpi_vta.trace.schema import IMAGE_DTYPE, MEASURED, EventKind

OPENING_FORMAT, OPENING_VERSION = "mpi_vta run opening", 3
READABLE_OPENINGS = (1, 2, 3)  # 1 and 2: of several models only the one on rank 0
_MOST_RANKS = 32_767


@dataclass(frozen=True)
class ModelOpening:
    """What belongs to one of several models that are to run at the same time.

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
    images: int
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Opening:
    """What rank 0 knows of a run before it starts; kept beside the ranks' files until they are merged.

    Attributes
    ----------
    plan_json : str
        The plan; of several models that of the first.
    ranks : int
        Of the job.
    images : int
        To be run; of several models by the first.
    provenance : mapping
        Attributes of the trace, JSON-able.
    models : tuple of ModelOpening
        All models, numbered as in the events, if there are several.
    """

    plan_json: str
    ranks: int
    images: int
    provenance: Mapping[str, Any]
    models: tuple[ModelOpening, ...] = ()

    def record(self, images: Sequence[NDArray[Any]], notes: Sequence[Mapping[str, Any]]) -> RunRecord:
        """Return what a trace of the run records.

        Parameters
        ----------
        images : sequence of ndarray of IMAGE_DTYPE
            By model: its finished images; of one model a single array.
        notes : sequence of mapping
            By model: further attributes.
        """
        # a single model has no group of its own
        several = zip(self.models, images, notes, strict=True) if self.models else ()
        models = tuple(ModelRecord(m.plan_json, rows, {**m.attributes, **noted}) for m, rows, noted in several)
        return RunRecord(self.plan_json, images[0], {**self.provenance, **notes[0]}, models)

    def save(self, folder: Path) -> None:
        """Write ``ranks/run.json`` in an output folder."""
        data = {"format": OPENING_FORMAT, "version": OPENING_VERSION, **asdict(self)}
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
            unknown = data.keys() - cls.__dataclass_fields__.keys()
            if unknown:
                raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
            ranks = whole(data["ranks"], 1, _MOST_RANKS)
            listed = entries(data["models"]) if found[1] >= OPENING_VERSION else []
            models = tuple(_model(table(entry), ranks) for entry in listed)
            return cls(_plan(data["plan_json"]), ranks, whole(data["images"], 1), _notes(data["provenance"]), models)
        except FileNotFoundError as fault:
            raise ArtifactError(
                "no unmerged run there", where=str(folder), allowed="the output folder of a run that ended early"
            ) from fault
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
            what = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault)
            raise ArtifactError(
                f"not a readable run opening ({what})", where=str(path), remedy="without it the files cannot be merged"
            ) from fault


def _model(data: Mapping[str, Any], ranks: int) -> ModelOpening:
    attributes = _notes(data["attributes"])
    text(attributes["name"])
    if not wholes(attributes["ranks"], 0, ranks - 1):
        raise ValueError("a model has no ranks")
    return ModelOpening(_plan(data["plan_json"]), whole(data["images"], 1), attributes)


def _plan(value: Any) -> str:
    """Return the text of a plan that says how many images a group has."""
    plan = text(value)
    whole(table(json.loads(plan))["group_images"], 1)
    return plan


def _notes(value: Any) -> dict[str, Any]:
    return {name: _noted(noted) for name, noted in table(value).items()}


def _noted(value: Any) -> Any:
    """Return what may be an attribute of a trace: a text, a number, or a list of either."""
    if isinstance(value, list):
        return texts(value) if value and isinstance(value[0], str) else wholes(value)
    return text(value) if isinstance(value, str) else number(value) if isinstance(value, float) else whole(value)


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
    models = opening.models or (ModelOpening(opening.plan_json, opening.images, {"ranks": (0,)}),)
    noted = {"repaired": 1, "missing_ranks": sorted(missing)}
    path = target or folder / "run.h5"
    record = opening.record(
        [image_times(files, model) for model in models], [{**noted, "images_asked": model.images} for model in models]
    )
    merge_ranks(path, files, record)
    return path, tuple(sorted(missing))


def image_times(files: Sequence[RankFile], model: ModelOpening) -> NDArray[Any]:
    """Return a model's images that were finished, IMAGE_DTYPE, from the events of the first of its ranks."""
    group_images = int(json.loads(model.plan_json)["group_images"])
    rows = []
    for file in files:
        if file.rank != model.attributes["ranks"][0]:
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
