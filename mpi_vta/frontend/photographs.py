"""Photographs: those that ship with the project, to calibrate with and to show, and one more of a package's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.frontend.images import Preprocess, load_images
from mpi_vta.frontend.package_index import Archived

_FOLDER = Path(__file__).parent / "data" / "photographs"
SHOWN, CALIBRATION = _FOLDER / "shown", _FOLDER / "calibration"
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


def shown_photographs() -> tuple[Path, ...]:
    """Return the photographs that are shown, in the order of their names; the motorcycle if it is in the cache."""
    more = MOTORCYCLE.kept()
    files = [*SHOWN.iterdir(), *([] if more is None else [more])]
    return tuple(sorted(files, key=lambda file: file.name))
