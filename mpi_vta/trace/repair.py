"""A run that ended early: its ranks' files, still lying in the output folder, made into one trace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import read_bytes, read_text, write_atomically
from mpi_vta.errors import ArtifactError
from mpi_vta.json_value import number, table, text, texts, whole, wholes
from mpi_vta.trace.merge import RankFile, RunRecord, clock_line, merge_ranks, read_rank_file
from mpi_vta.trace.probe import probe, survived
from mpi_vta.trace.schema import IMAGE_DTYPE, MEASURED, READABLE_VERSIONS, VERSION, EventKind

OPENING_FORMAT = "mpi_vta run opening"


@dataclass(frozen=True)
class Opening:
    """What rank 0 knows of a run before it starts; kept beside the ranks' files until they are merged.

    Attributes
    ----------
    plan_json : str
        The plan.
    ranks, images : int
        Of the job.
    provenance : mapping
        Attributes of the trace, JSON-able.
    """

    plan_json: str
    ranks: int
    images: int
    provenance: Mapping[str, Any]

    def save(self, folder: Path) -> None:
        """Write ``ranks/run.json`` in an output folder."""
        data = {"format": OPENING_FORMAT, "version": VERSION, **vars(self)}
        write_atomically(opening_path(folder), (json.dumps(data, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> Opening:
        """Read what `save` wrote; raises `ArtifactError` if it is not there or damaged."""
        path = opening_path(folder)
        try:
            data = json.loads(read_text(path))
            found = (data.pop("format"), data.pop("version"))
            if found[0] != OPENING_FORMAT or found[1] not in READABLE_VERSIONS:
                raise ArtifactError(
                    f"holds {found[0]} version {found[1]}", where=str(path), allowed=f"{OPENING_FORMAT} {VERSION}"
                )
            unknown = data.keys() - cls.__dataclass_fields__.keys()
            if unknown:
                raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
            provenance = {name: _noted(value) for name, value in table(data["provenance"]).items()}
            opening = cls(
                text(data["plan_json"]), whole(data["ranks"], 1, 32_767), whole(data["images"], 1), provenance
            )
            whole(table(json.loads(opening.plan_json))["group_images"], 1)
            return opening
        except FileNotFoundError as fault:
            raise ArtifactError(
                "no unmerged run there", where=str(folder), allowed="the output folder of a run that ended early"
            ) from fault
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
            what = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault)
            raise ArtifactError(
                f"not a readable run opening ({what})", where=str(path), remedy="without it the files cannot be merged"
            ) from fault


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
    group_images = int(json.loads(opening.plan_json)["group_images"])
    images = image_times(files, group_images, opening.images)
    noted = {
        **opening.provenance,
        "repaired": 1,
        "missing_ranks": sorted(missing),
        "images_asked": opening.images,
    }
    path = target or folder / "run.h5"
    merge_ranks(path, files, RunRecord(opening.plan_json, images, noted))
    return path, tuple(sorted(missing))


def image_times(files: list[RankFile], group_images: int, images: int) -> NDArray[Any]:
    """Return the images that were finished, IMAGE_DTYPE, from rank 0's events."""
    rows = []
    for file in files:
        if file.rank != 0:
            continue
        of_kind = {
            kind: {int(row["image"]): int(row["end_ns"]) for row in file.events[file.events["kind"] == kind]}
            for kind in (EventKind.START, EventKind.FINISH)
        }
        for first, end_ns in of_kind[EventKind.FINISH].items():
            start_ns = of_kind[EventKind.START][first]
            last = min(first + group_images, images)
            rows += [(image, start_ns, end_ns, end_ns - start_ns) for image in range(first, last)]
    return np.sort(np.array(rows, IMAGE_DTYPE), order="image")
