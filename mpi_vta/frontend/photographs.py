"""Photographs: those that ship with the project, to calibrate with and to show, and one more of a package's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import InputError
from mpi_vta.frontend.images import Preprocess, load_images, synthetic_images
from mpi_vta.frontend.package_index import Archived
from mpi_vta.text_table import counted

_FOLDER = Path(__file__).parent / "data" / "photographs"
SHOWN, CALIBRATION = _FOLDER / "shown", _FOLDER / "calibration"
MOST_CALIBRATION_IMAGES = 1024
SYNTHETIC_SEED = 1_000_003  # far from the seeds of the pictures that are run
# of the Middlebury stereo benchmark of 2014, whose pictures are not ours to ship
MOTORCYCLE = Archived(
    "scikit-image",
    "0.26.0",
    "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    13_711_217,
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    "skimage/data/motorcycle_left.png",
    "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    "BSD 3-Clause",
)


def calibration_inputs(preprocess: Preprocess) -> NDArray[np.float32]:
    """Return the photographs to calibrate with as inputs (n, 3, H, W); none of them is among those shown."""
    return load_images(CALIBRATION, preprocess).inputs


def stated_calibration(stated: str, preprocess: Preprocess) -> NDArray[np.float32]:
    """Return what ``--calibration-images`` names as inputs (n, C, H, W).

    Parameters
    ----------
    stated : str
        A folder of pictures, one picture, an ``.npy`` or ``.npz`` file of inputs, or a number: as many of the shipped
        photographs, then synthetic pictures.
    preprocess : Preprocess

    Raises
    ------
    InputError
        If there is nothing there, it cannot be read, or the number is below 1.
    """
    if not stated.lstrip("-").isdecimal():
        return load_images(Path(stated), preprocess, MOST_CALIBRATION_IMAGES).inputs
    count = int(stated)
    if not 1 <= count <= MOST_CALIBRATION_IMAGES:
        raise InputError(
            counted(count, "picture"), where="--calibration-images", allowed=f"1 to {MOST_CALIBRATION_IMAGES}"
        )
    found = calibration_inputs(preprocess)[:count] if preprocess.channels in (1, 3) else None
    more = count - (0 if found is None else len(found))
    parts = [] if found is None else [found]
    return np.concatenate([*parts, *([synthetic_images(more, preprocess, SYNTHETIC_SEED).inputs] if more else [])])


def shown_photographs() -> tuple[Path, ...]:
    """Return the photographs that are shown, in the order of their names; the motorcycle if it is in the cache."""
    more = MOTORCYCLE.kept()
    files = [*SHOWN.iterdir(), *([] if more is None else [more])]
    return tuple(sorted(files, key=lambda file: file.name))
