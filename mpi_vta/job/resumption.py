"""A job that ended early, gone on with: which images are left, and where the traces of its parts lie."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpi_vta.disk import make_own_folder, open_own_folder, writing
from mpi_vta.errors import InputError
from mpi_vta.graph.ir import array_sha256
from mpi_vta.job.held_folder import HeldFolder
from mpi_vta.job.inputs import Inputs
from mpi_vta.job.model_list import ANSWERS_FILE, folders_there, list_path, outputs_folder
from mpi_vta.job.ready_model import ReadyModel
from mpi_vta.job.request import JobRequest
from mpi_vta.runtime.devices.registry import carries_data
from mpi_vta.runtime.output_set import SET_FILE, Identity, OutputPlace, OutputSet, read_identity
from mpi_vta.trace.repair import Opening, opening_path, repair


@dataclass(frozen=True)
class Remainder:
    """The images of a model that a run has to do.

    Attributes
    ----------
    outputs : OutputPlace or None
        Where the model's outputs are kept; None for a device that carries no data.
    images : int
        Of the model in the whole job.
    numbers : tuple of int
        For the rest of a job that ended early, the images without outputs; empty for a new job.
    part : int or None
        How many runs the job has had before this one; None for a new job.
    """

    outputs: OutputPlace | None
    images: int
    numbers: tuple[int, ...] = ()
    part: int | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether every image of a job that ended early has its outputs."""
        return self.part is not None and not self.numbers

    def provenance(self) -> dict[str, Any]:
        """Return what a trace says of the model's images in a part of a job, JSON-able; nothing for a new job."""
        if self.part is None:
            return {}
        return {"image_numbers": _ranges(self.numbers), "images_of_job": self.images}

    def summary(self) -> dict[str, Any] | None:
        """Return what the summary says of it, JSON-able; None for a new job."""
        if self.part is None:
            return None
        return {"part": self.part, "images_before": self.images - len(self.numbers), "images_of_job": self.images}


def hold_folder(request: JobRequest) -> HeldFolder:
    """Keep every other job off the output folder; raises `InputError` if one is there, or nothing to go on with."""
    if request.resume is None:
        return HeldFolder(request.folder, f"--output {request.folder}")
    if not request.folder.is_dir():
        raise _no_job(request.folder)
    return HeldFolder(request.folder, f"--resume {request.folder}")


def _no_job(folder: Path) -> InputError:
    return InputError(
        "no job that could be gone on with", where=f"--resume {folder}", remedy="start it without --resume"
    )


def check_folder(request: JobRequest, folders: Sequence[Path]) -> None:
    """Refuse an output folder that a job may not use.

    Parameters
    ----------
    request : JobRequest
        What is wanted.
    folders : sequence of Path
        Of its models.

    Raises
    ------
    InputError
        With ``--resume`` if there is nothing to go on with, or something of other models; without it if the folder
        holds a job that ended early, which would be lost.
    ArtifactError
        If what is there is damaged.
    """
    folder, there = request.folder, folders_there(request.folder)
    if request.resume is None:
        # a finished job has a summary, and may be replaced
        if there and not request.dry_run and not (folder / "summary.json").exists():
            raise InputError(
                "it holds a job that ended early, which would be lost",
                where=f"--output {folder}",
                remedy=f"go on with --resume {folder}, or remove the folder",
            )
        return
    if not carries_data(request.device):
        raise InputError("a run without data has no outputs to go on from", where=f"--device {request.device}")
    if not there:
        raise _no_job(folder)
    if sorted(there) != sorted(folders):
        names = [
            read_identity(outputs_folder(folder)).model if model == folder else model.name for model in sorted(there)
        ]
        raise InputError(
            f"what is there is of other models: {', '.join(names)}",
            where=f"--resume {folder}",
            remedy="repeat the --model options of the run that began it, or choose another folder",
        )


def find_remainder(request: JobRequest, model: ReadyModel, inputs: Inputs, folder: Path) -> Remainder:
    """Return what a run has to do: everything, or with ``--resume`` what an earlier run did not come to.

    Parameters
    ----------
    request : JobRequest
        What is wanted; its output folder has passed `check_folder`.
    model, inputs
        The model and all its images.
    folder : Path
        Of the model.

    Raises
    ------
    InputError
        If the outputs that are there are of something else.
    ArtifactError
        If they are damaged.
    """
    images = len(inputs.integers)
    if not carries_data(request.device):
        return Remainder(None, images)
    place = _place(outputs_folder(folder), model, inputs)
    if request.resume is None:
        return Remainder(place, images)
    left = np.arange(images)
    # one of several models may not have begun when the job ended
    if place.exists():
        with OutputSet(place) as outputs:
            left = np.flatnonzero(~outputs.done())
    return Remainder(place, images, tuple(left.tolist()), next_part(request.folder))


def _place(folder: Path, model: ReadyModel, inputs: Inputs) -> OutputPlace:
    shapes = {name: model.graph.values[name].shape for name in model.graph.outputs}
    identity = Identity(
        model.name, model.weights_note, model.graph.sha256, len(inputs.integers), array_sha256([inputs.integers])
    )
    scales = {name: int(model.graph.values[name].scale_log2 or 0) for name in model.graph.outputs}
    return OutputPlace(str(folder), identity, shapes, scales)


def part_path(folder: Path, part: int) -> Path:
    """Return where the trace of an earlier part is kept."""
    return folder / "parts" / f"part-{part:03d}.h5"


def next_part(folder: Path) -> int:
    """Return the number of the part that would come next: beyond those kept and the one whose trace is not merged."""
    kept = [int(path.stem.removeprefix("part-")) for path in folder.glob("parts/part-[0-9][0-9][0-9].h5")]
    if opening_path(folder).exists():
        kept.append(Opening.load(folder).part)
    elif (folder / "run.h5").exists():
        kept.append(max(kept, default=-1) + 1)
    return max(kept, default=-1) + 1


def clear(folder: Path) -> None:
    """Remove what an earlier, finished job left, before a new one begins there."""
    with writing("in the place of what is there", f"--output {folder}", "remove the folder"):
        models = folders_there(folder)
        for model in models:
            (outputs_folder(model) / SET_FILE).unlink(missing_ok=True)
        _check_own_folders(folder)
        answers = [model / ANSWERS_FILE for model in models]
        answers += [file for model in models for file in outputs_folder(model).glob("real-*.npy")]
        results = (folder / "run.h5", folder / "summary.json", *answers)
        for path in (list_path(folder), *results, *folder.glob("parts/part-*.h5")):
            path.unlink(missing_ok=True)
        forget_ranks(folder)


def keep_earlier_trace(folder: Path, part: int) -> None:
    """Make the trace of the part before `part` a file of its own, from the ranks' files or from ``run.h5``.

    Ending in the middle of this changes nothing: it is done again.
    """
    target = part_path(folder, part - 1)
    with writing("the trace of the part before", f"--resume {folder}"):
        _check_own_folders(folder)
        if opening_path(folder).exists():
            # once it is there, some of the ranks' files may be gone
            if not target.exists():
                _merge_what_is_left(folder, target)
            (folder / "run.h5").unlink(missing_ok=True)
            forget_ranks(folder)
        elif (folder / "run.h5").exists():
            make_own_folder(target.parent)
            (folder / "run.h5").replace(target)


def keep_last_trace(folder: Path) -> None:
    """Make ``run.h5`` of the ranks' files of a run that ended after its last image."""
    with writing("the trace", f"--resume {folder}"):
        _check_own_folders(folder)
        if opening_path(folder).exists():
            _merge_what_is_left(folder, folder / "run.h5")
        forget_ranks(folder)


def _check_own_folders(folder: Path) -> None:
    """Raise `OSError` if a folder in an output folder is a link or no folder: nothing is written through it."""
    for name in ("ranks", "parts"):
        with suppress(FileNotFoundError):
            os.close(open_own_folder(folder / name))


def _merge_what_is_left(folder: Path, target: Path) -> None:
    # a run may have ended before any rank on this host had a trace
    if any(folder.glob("ranks/rank-*.h5")):
        repair(folder, target, without_missing=True)


def forget_ranks(folder: Path) -> None:
    """Remove the ranks' own traces that lie on this host, as they are merged or of an earlier job."""
    for path in folder.glob("ranks/rank-*.h5*"):
        # a rank on this host may remove its own at the same time
        path.unlink(missing_ok=True)
    opening_path(folder).unlink(missing_ok=True)
    # it goes if it is empty
    with suppress(OSError):
        (folder / "ranks").rmdir()


def _ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers in short: ``0..3, 7``."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    runs = np.split(np.asarray(numbers), breaks)
    return ", ".join(f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs if len(run))


def resumed_line(summary: Mapping[str, Any]) -> list[str]:
    """Return the line that says what earlier runs had done; none for a job done at once."""
    resumed = summary.get("resumed")
    if resumed is None or not summary["images"]:
        return []
    return [
        f"resumed     part {resumed['part']}: {resumed['images_before']} of {resumed['images_of_job']} images "
        "were there; the figures above are this part's"
    ]
