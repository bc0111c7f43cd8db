"""The images of a run: the model's held-out examples, pictures from disk, or synthetic ones."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import InputError
from mpi_vta.frontend.images import ImageBatch, PicturePlacement, load_images, load_pictures, synthetic_images
from mpi_vta.frontend.photographs import shown_photographs
from mpi_vta.frontend.truth import Truth
from mpi_vta.job.labels import read_labels
from mpi_vta.job.ready_model import ReadyModel
from mpi_vta.text_table import counted

DEFAULT_IMAGES = 8
MOST_IMAGES = 2**31 - 1
# of a picture for each number of the input: as int8, as float32 and as uint8
_PIXEL_BYTES = 6
# of each image in a plan: its start, end and latency, as Python's integers and in the trace
_TIMES_BYTES = 150


@dataclass(frozen=True)
class Inputs:
    """What goes in.

    Attributes
    ----------
    integers : ndarray of int8, shape (n, C, H, W)
        Quantised for the model.
    floats : ndarray of float32, same shape, or None
        Before quantisation; None for a run without data.
    truth : Truth or None
        The right answers, where they are known.
    batch : ImageBatch or None
        The pictures, to draw on.
    image_ids : tuple of int or None
        Of labelled pictures, the numbers that their labels give them.
    """

    integers: NDArray[np.int8]
    floats: NDArray[np.float32] | None = None
    truth: Truth | None = None
    batch: ImageBatch | None = None
    image_ids: tuple[int, ...] | None = None

    def image_id(self, index: int) -> int:
        """Return the number of an image in ``answers.json``."""
        return index if self.image_ids is None else self.image_ids[index]


def read_inputs(
    model: ReadyModel, images: str | None, seed: int, *, with_data: bool, labels: Path | None = None
) -> Inputs:
    """Return the images that ``--images`` names.

    Parameters
    ----------
    model : ReadyModel
        Says how large they are and how they are quantised.
    images : str or None
        A number, a picture, a folder or an ``.npy`` file; None for every held-out example, for
        photographs, or some synthetic ones.
    seed : int
        Of synthetic pictures.
    with_data : bool
        False for a device that only takes time: a number of images then costs nothing to make.

    labels : Path or None
        What ``--labels`` names: the pictures and what they show; see `mpi_vta.job.labels`.

    Raises
    ------
    InputError
        If there is nothing there, a picture cannot be read, or the number is below 1 or beyond the memory.
    """
    if labels is not None:
        names = model.class_names if model.detector is None else model.detector.class_names
        labelled = read_labels(labels, images, model.task, names)
        batch = load_pictures(labelled.files, model.preprocess)
        made = _quantized(model, batch.inputs, labelled.truth(batch), batch)
        return replace(made, image_ids=labelled.image_ids)
    count = _count(model, images)
    if count is None:
        batch = load_images(Path(str(images)), model.preprocess)
        return _quantized(model, batch.inputs, batch=batch)
    if images is None and model.shows_photographs and with_data:
        batch = load_pictures(shown_photographs(), model.preprocess)
        return _quantized(model, batch.inputs, batch=batch)
    (name,) = model.graph.inputs
    shape = (count, *model.graph.values[name].shape[1:])
    if not with_data:
        check_memory(count)
        return Inputs(np.broadcast_to(np.zeros(1, np.int8), shape))
    check_memory(count, math.prod(shape) // count * _PIXEL_BYTES)
    if model.truth is not None:
        truth = model.truth.rows(np.arange(count) % len(model.truth.images))
        return _quantized(model, truth.images, truth, None if truth.boxes is None else _pictures(truth))
    batch = synthetic_images(count, model.preprocess, seed)
    return _quantized(model, batch.inputs, batch=batch)


def check_memory(images: int, bytes_each: int = _TIMES_BYTES) -> None:
    """Refuse with `InputError` more images than this machine's memory holds, or than traces can number."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = min(memory_bytes // bytes_each, MOST_IMAGES)
    if images > most:
        raise InputError(
            counted(images, "image"), where="--images", allowed=f"1 to {most}, by the memory of this machine"
        )


def _count(model: ReadyModel, images: str | None) -> int | None:
    """Return the number of images asked for, or None if a path is named."""
    if images is None:
        return len(model.truth.images) if model.truth is not None else DEFAULT_IMAGES
    try:
        count = int(images)
    except ValueError:
        return None
    if count < 1:
        raise InputError(
            counted(count, "image"), where="--images", allowed="1 or more, a picture, a folder or an .npy file"
        )
    return count


def _pictures(truth: Truth) -> ImageBatch:
    """Return held-out inputs, pixels in 0..1 of the model's own size, as the pictures that they are."""
    pictures = np.rint(truth.images * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    names = tuple(f"held-out-{number:04d}" for number in range(len(pictures)))
    return ImageBatch(names, truth.images, tuple(pictures), (PicturePlacement(1.0, 0, 0),) * len(pictures))


def _quantized(
    model: ReadyModel, floats: NDArray[np.float32], truth: Truth | None = None, batch: ImageBatch | None = None
) -> Inputs:
    (integers,) = model.quantized.quantize_input(floats).values()
    return Inputs(integers, floats, truth, batch)
