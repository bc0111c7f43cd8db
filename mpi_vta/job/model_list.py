"""Where a job's models keep their outputs: one in the output folder itself, several in folders that a list names."""

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
ANSWERS_FILE = "answers.json"


@dataclass(frozen=True)
class _ModelList:
    format: str
    version: int
    models: tuple[str, ...]


def model_folders(folder: Path, labels: Sequence[str]) -> tuple[Path, ...]:
    """Return where each model's outputs, pictures and page go in an output folder."""
    return (folder,) if len(labels) == 1 else tuple(folder / label for label in labels)


def outputs_folder(model_folder: Path) -> Path:
    """Return where a model's outputs lie."""
    return model_folder / "outputs"


def list_path(folder: Path) -> Path:
    """Return where `save_labels` writes."""
    return folder / "models.json"


def save_labels(folder: Path, labels: Sequence[str]) -> None:
    """Note which models a job is of; the outputs of an only one say so themselves."""
    if len(labels) == 1:
        return
    data = {"format": FORMAT, "version": VERSION, "models": list(labels)}
    write_json(list_path(folder), data)


def folders_there(folder: Path) -> tuple[Path, ...]:
    """Return the `model_folders` of the job whose outputs are kept in an output folder; none without a job.

    Raises
    ------
    ArtifactError
        If the list of several is damaged.
    """
    path = list_path(folder)
    if not path.exists():
        return (folder,) if (outputs_folder(folder) / SET_FILE).is_file() else ()
    try:
        data = json.loads(read_text(path))
        listed = from_json(_ModelList, data)
        found, labels = (listed.format, listed.version), listed.models
        # no name leads out of the folder
        if len(labels) < 2 or any(label in ("", "..") or Path(label).name != label for label in labels):
            raise ValueError("not names of folders")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise ArtifactError(
            f"not a readable list of models ({type(fault).__name__})", where=str(path), remedy="remove the folder"
        ) from fault
    check_version(found, FORMAT, VERSION, str(path))
    return model_folders(folder, labels)
