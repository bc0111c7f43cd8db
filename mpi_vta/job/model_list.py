"""Which models the job in an output folder is of: of one its outputs say so, of several a list beside their folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mpi_vta.artifact import check_version
from mpi_vta.disk import read_text, write_json
from mpi_vta.errors import ArtifactError
from mpi_vta.json_fields import from_json
from mpi_vta.runtime.output_set import SET_FILE

FORMAT, VERSION = "mpi_vta models", 1
ALONE = ""  # label of a job's only model, whose outputs lie in the output folder itself


@dataclass(frozen=True)
class _ModelList:
    format: str
    version: int
    models: tuple[str, ...]


def outputs_folder(folder: Path, label: str) -> Path:
    """Return where a model's outputs lie in an output folder."""
    return folder / label / "outputs"


def list_path(folder: Path) -> Path:
    """Return where `save_labels` writes."""
    return folder / "models.json"


def save_labels(folder: Path, labels: Sequence[str]) -> None:
    """Note which models a job of several is of."""
    data = {"format": FORMAT, "version": VERSION, "models": list(labels)}
    write_json(list_path(folder), data)


def labels_there(folder: Path) -> tuple[str, ...]:
    """Return the labels of the models whose outputs are kept in a folder: `ALONE` for one model, none without a job.

    Raises
    ------
    ArtifactError
        If the list of several is damaged.
    """
    path = list_path(folder)
    if not path.exists():
        return (ALONE,) if (outputs_folder(folder, ALONE) / SET_FILE).is_file() else ()
    try:
        data = json.loads(read_text(path))
        listed = from_json(_ModelList, data)
        found, labels = (listed.format, listed.version), listed.models
        # no name leads out of the folder
        if not labels or any(label in ("", "..") or Path(label).name != label for label in labels):
            raise ValueError("not names of folders")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise ArtifactError(
            f"not a readable list of models ({type(fault).__name__})", where=str(path), remedy="remove the folder"
        ) from fault
    check_version(found, FORMAT, VERSION, str(path))
    return labels
