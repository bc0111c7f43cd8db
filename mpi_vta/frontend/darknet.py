"""Weights in darknet's format: ``yolov3-tiny.weights`` as its authors publish it, and those of any ``.cfg``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import read_bytes
from mpi_vta.errors import ModelError

LEAKY_SLOPE = 0.1
DARKNET_EPSILON = 1e-6
NORM_ROLES = ("bias", "weight", "running_mean", "running_var")


@dataclass(frozen=True)
class Convolution:
    """One convolution's place in a file of weights.

    Attributes
    ----------
    index : int
        Number of the layer in the ``.cfg``.
    filters, inputs, kernel : int
        Extents of its weights; `inputs` are those of one group.
    normalized : bool
        Whether batch norm's four arrays stand in front instead of a bias.
    """

    index: int
    filters: int
    inputs: int
    kernel: int
    normalized: bool = True

    @property
    def size(self) -> int:
        """Numbers in the file."""
        return self.filters * ((len(NORM_ROLES) if self.normalized else 1) + self.inputs * self.kernel * self.kernel)


# yolov3-tiny.cfg; the two heads have a bias where the others have batch norm
YOLOV3_TINY_CONVOLUTIONS = (
    Convolution(0, 16, 3, 3),
    Convolution(2, 32, 16, 3),
    Convolution(4, 64, 32, 3),
    Convolution(6, 128, 64, 3),
    Convolution(8, 256, 128, 3),
    Convolution(10, 512, 256, 3),
    Convolution(12, 1024, 512, 3),
    Convolution(13, 256, 1024, 1),
    Convolution(14, 512, 256, 3),
    Convolution(15, 255, 512, 1, normalized=False),
    Convolution(18, 128, 256, 1),
    Convolution(21, 256, 384, 3),
    Convolution(22, 255, 256, 1, normalized=False),
)


def read_darknet(
    path: Path,
    convolutions: Sequence[Convolution] = YOLOV3_TINY_CONVOLUTIONS,
    of_what: str = "yolov3-tiny.weights for 80 classes",
) -> dict[str, NDArray[Any]]:
    """Return the weights of a network under names such as ``layer0.conv.weight`` and ``layer0.bn.bias``.

    The file is a header of three int32 (version) and the number of images seen (int64 from version 0.2
    on), then float32 numbers, layer by layer: batch norm's shift, scale, mean and variance, or the
    bias; then the filters.

    Parameters
    ----------
    path : Path
        The file.
    convolutions : sequence of Convolution
        In the order of the file.
    of_what : str
        Named when the file has another size.

    Raises
    ------
    ModelError
        If the file cannot be read or does not hold exactly the numbers of these convolutions.
    """
    try:
        data = read_bytes(path)
    except OSError as fault:
        raise ModelError(
            f"cannot read the weights ({fault.strerror})", where=str(path), allowed="a file that can be read"
        ) from fault
    version = np.frombuffer(data[:8], "<i4") if len(data) >= 8 else np.zeros(2, np.int32)
    header_bytes = 20 if int(version[0]) * 10 + int(version[1]) >= 2 else 16
    wanted = sum(layer.size for layer in convolutions)
    if len(data) != header_bytes + 4 * wanted:
        raise ModelError(f"{len(data)} bytes", where=str(path), allowed=f"{header_bytes + 4 * wanted} bytes: {of_what}")
    numbers = np.frombuffer(data, "<f4", offset=header_bytes)
    arrays: dict[str, NDArray[Any]] = {}
    start = 0
    for layer in convolutions:
        name = f"layer{layer.index}"
        roles = [f"{name}.bn.{role}" for role in NORM_ROLES] if layer.normalized else [f"{name}.conv.bias"]
        for role in roles:
            arrays[role], start = numbers[start : start + layer.filters], start + layer.filters
        size = layer.filters * layer.inputs * layer.kernel * layer.kernel
        shape = (layer.filters, layer.inputs, layer.kernel, layer.kernel)
        arrays[f"{name}.conv.weight"] = numbers[start : start + size].reshape(shape)
        start += size
    return arrays
