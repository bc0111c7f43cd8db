"""LOAD and STORE instructions as strided copies between the DRAM image and the buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Move:
    """Geometry of a LOAD or STORE.

    Attributes
    ----------
    sram_base : int
        First element in the buffer.
    dram_begin_bytes : int
        First byte in DRAM.
    element_bytes : int
        Size of an element in DRAM.
    rows, columns, stride : int
        y_size, x_size and x_stride, in elements.
    pads : (int, int, int, int)
        Zero rows above and below, zero elements left and right.
    """

    sram_base: int
    dram_begin_bytes: int
    element_bytes: int
    rows: int
    columns: int
    stride: int
    pads: tuple[int, int, int, int]

    @property
    def padded_shape(self) -> tuple[int, int]:
        """Rows and columns in the buffer."""
        top, bottom, left, right = self.pads
        return top + self.rows + bottom, left + self.columns + right

    def window(self, buffer: NDArray[Any]) -> NDArray[Any]:
        """Return a view (batch, rows, columns, lanes) of a (batch, depth, lanes) buffer, padding included."""
        rows, columns = self.padded_shape
        span = buffer[:, self.sram_base : self.sram_base + rows * columns]
        return span.reshape(buffer.shape[0], rows, columns, buffer.shape[2])

    def dram_view(self, dram: NDArray[np.uint8], batch: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the DRAM side of the move as (batch, rows, columns, lanes)."""
        lane_bytes = dtype.itemsize
        batch_bytes = self.element_bytes // batch
        return np.ndarray(
            (batch, self.rows, self.columns, batch_bytes // lane_bytes),
            dtype,
            dram,
            self.dram_begin_bytes,
            (batch_bytes, self.stride * self.element_bytes, self.element_bytes, lane_bytes),
        )


class LoadStep:
    """A LOAD bound to a buffer of shape (batch, depth, lanes), ready to run."""

    def __init__(self, move: Move, buffer: NDArray[Any], dram_dtype: np.dtype[Any]) -> None:
        self._move = move
        self._batch = buffer.shape[0]
        self._dtype = dram_dtype
        window = move.window(buffer)
        top, bottom, left, right = move.pads
        rows, columns = move.padded_shape
        self._data = window[:, top : rows - bottom, left : columns - right]
        borders = (window[:, :top], window[:, rows - bottom :], window[:, :, :left], window[:, :, columns - right :])
        self._borders = [border for border in borders if border.size]

    def __call__(self, dram: NDArray[np.uint8]) -> None:
        """Copy from DRAM and clear the padding."""
        self._data[...] = self._move.dram_view(dram, self._batch, self._dtype)
        for border in self._borders:
            border[...] = 0


class StoreStep:
    """A STORE bound to the buffer that it reads, keeping the low 8 bits, ready to run."""

    def __init__(self, move: Move, buffer: NDArray[Any]) -> None:
        self._move = move
        self._window = move.window(buffer)

    def __call__(self, dram: NDArray[np.uint8]) -> None:
        """Copy to DRAM."""
        self._move.dram_view(dram, self._window.shape[0], _INT8)[...] = self._window


_INT8 = np.dtype(np.int8)
