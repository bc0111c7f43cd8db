"""The on-chip buffers of one VTA, laid out for matrix products, and views on sets of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.config import VTAConfig


@dataclass(frozen=True, eq=False)
class Sram:
    """Buffer contents; a row is one vector of `block` lanes.

    Attributes
    ----------
    inp : ndarray of float32, shape (batch, inp_depth, block)
        int8 values, kept as the floats that the products need.
    wgt : ndarray of float32, shape (wgt_depth, block_out, block_in)
        int8 values, likewise.
    acc : ndarray of int32, shape (batch, acc_depth, block)
        The register file.
    out : ndarray of int8, shape (batch, acc_depth, block)
        What GEMM and ALU results leave for STORE.
    """

    inp: NDArray[np.float32]
    wgt: NDArray[np.float32]
    acc: NDArray[np.int32]
    out: NDArray[np.int8]

    @classmethod
    def zeros(cls, config: VTAConfig) -> Sram:
        """Return buffers full of zeros."""
        batch, block = config.batch, config.block
        return cls(
            np.zeros((batch, config.inp_depth, block), dtype=np.float32),
            np.zeros((config.wgt_depth, block, block), dtype=np.float32),
            np.zeros((batch, config.acc_depth, block), dtype=np.int32),
            np.zeros((batch, config.acc_depth, block), dtype=np.int8),
        )


class Rows:
    """A set of distinct elements of a (batch, depth, block) buffer, in a given shape.

    Where the indices are a regular grid, reads and writes go through a strided view, which costs
    neither a gather nor a scatter.

    Parameters
    ----------
    buffer : ndarray, shape (batch, depth, block)
        The buffer.
    index : ndarray of int64, shape (n,) or (p, o)
        Distinct element indices.
    """

    def __init__(self, buffer: NDArray[Any], index: NDArray[np.int64]) -> None:
        self._buffer = buffer
        self._index = index
        self.view = _regular_view(buffer, index)

    def read(self) -> NDArray[Any]:
        """Return the elements, shape (batch, *index.shape, block): a view, or a copy if irregular."""
        if self.view is not None:
            return self.view
        picked: NDArray[Any] = self._buffer[:, self._index]
        return picked

    def write(self, values: NDArray[Any] | int) -> None:
        """Set the elements."""
        if self.view is not None:
            self.view[...] = values
        else:
            self._buffer[:, self._index] = values


def _regular_view(buffer: NDArray[Any], index: NDArray[np.int64]) -> NDArray[Any] | None:
    """Return a view of the elements when their indices form an affine grid, else None."""
    first = int(index.flat[0])
    steps = []
    grid = np.full((1,) * index.ndim, first)
    for axis, extent in enumerate(index.shape):
        neighbour = [0] * index.ndim
        neighbour[axis] = min(1, extent - 1)
        step = int(index[tuple(neighbour)]) - first
        shape = [1] * index.ndim
        shape[axis] = extent
        grid = grid + (np.arange(extent) * step).reshape(shape)
        steps.append(step)
    if not np.array_equal(grid, index):
        return None
    batch_stride, row_stride, lane_stride = buffer.strides
    return np.lib.stride_tricks.as_strided(
        buffer[:, first:],
        shape=(buffer.shape[0], *index.shape, buffer.shape[2]),
        strides=(batch_stride, *(step * row_stride for step in steps), lane_stride),
    )
