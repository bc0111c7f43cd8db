"""Weights in darknet's format: ``yolov3-tiny.weights`` as its authors publish it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError

# (layer in yolov3-tiny.cfg, filters, input channels, kernel) of each convolution in file order
CONVOLUTIONS = (
    (0, 16, 3, 3),
    (2, 32, 16, 3),
    (4, 64, 32, 3),
    (6, 128, 64, 3),
    (8, 256, 128, 3),
    (10, 512, 256, 3),
    (12, 1024, 512, 3),
    (13, 256, 1024, 1),
    (14, 512, 256, 3),
    (15, 255, 512, 1),
    (18, 128, 256, 1),
    (21, 256, 384, 3),
    (22, 255, 256, 1),
)
HEADS = (15, 22)  # these have a bias where the others have batch norm
NORM_ROLES = ("bias", "weight", "running_mean", "running_var")


def read_darknet(path: Path) -> dict[str, NDArray[Any]]:
    """Return the weights of YOLOv3-tiny under the names of the zoo's ``yolo``.

    The file is a header of three int32 (version) and the number of images seen (int64 from version 0.2
    on), then float32 numbers, layer by layer: batch norm's shift, scale, mean and variance, or the
    bias; then the filters.

    Raises
    ------
    ModelError
        If the file cannot be read or does not hold exactly the numbers of YOLOv3-tiny.
    """
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise ModelError(f"cannot read the weights ({fault.strerror})", where=str(path)) from fault
    version = np.frombuffer(data[:8], "<i4") if len(data) >= 8 else np.zeros(2, np.int32)
    header_bytes = 20 if version[0] * 10 + version[1] >= 2 else 16
    wanted = sum(_layer_size(*layer) for layer in CONVOLUTIONS)
    if len(data) != header_bytes + 4 * wanted:
        raise ModelError(
            f"{len(data)} bytes",
            where=str(path),
            allowed=f"{header_bytes + 4 * wanted} bytes: yolov3-tiny.weights for 80 classes",
        )
    numbers = np.frombuffer(data, "<f4", offset=header_bytes)
    arrays: dict[str, NDArray[Any]] = {}
    start = 0
    for index, filters, inputs, kernel in CONVOLUTIONS:
        roles = [f"layer{index}.conv.bias"] if index in HEADS else [f"layer{index}.bn.{role}" for role in NORM_ROLES]
        for role in roles:
            arrays[role], start = numbers[start : start + filters], start + filters
        size = filters * inputs * kernel * kernel
        arrays[f"layer{index}.conv.weight"] = numbers[start : start + size].reshape(filters, inputs, kernel, kernel)
        start += size
    return arrays


def _layer_size(index: int, filters: int, inputs: int, kernel: int) -> int:
    per_filter = 1 if index in HEADS else len(NORM_ROLES)
    return filters * (per_filter + inputs * kernel * kernel)
