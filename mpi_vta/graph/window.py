"""A rectangle of a value: some of its rows and channels, all of its columns; cut out and put together as it lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.layout import channel_blocks
from mpi_vta.hw.config import VTAConfig


@dataclass(frozen=True, order=True)
class Window:
    """Rows [low, high) and channels [low, high) of a value of shape (1, C, H, W).

    In packed data a window begins at a whole block of channels and ends at one, or at the last channel.

    Attributes
    ----------
    rows, channels : tuple of int
        Low and high; neither is empty.
    """

    rows: tuple[int, int]
    channels: tuple[int, int]

    def check_read(self) -> None:
        """Refuse a window read from a file that is empty or begins before 0, with `ValueError`."""
        if not (0 <= self.rows[0] < self.rows[1] and 0 <= self.channels[0] < self.channels[1]):
            raise ValueError(f"window {self.rows}, {self.channels} is empty")

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Window:
        """Return the window that holds all of a value."""
        return cls((0, shape[2]), (0, shape[1]))

    def shape(self, width: int) -> tuple[int, int, int, int]:
        """Return the shape (1, C, H, W) of the window's content."""
        return (1, self.channels[1] - self.channels[0], self.rows[1] - self.rows[0], width)

    @property
    def area(self) -> int:
        """Rows times channels."""
        return (self.rows[1] - self.rows[0]) * (self.channels[1] - self.channels[0])

    def __and__(self, other: Window) -> Window | None:
        """Return what both hold, None if nothing."""
        rows = (max(self.rows[0], other.rows[0]), min(self.rows[1], other.rows[1]))
        channels = (max(self.channels[0], other.channels[0]), min(self.channels[1], other.channels[1]))
        return Window(rows, channels) if rows[0] < rows[1] and channels[0] < channels[1] else None

    def __or__(self, other: Window) -> Window:
        """Return the smallest window that holds both."""
        return Window(
            (min(self.rows[0], other.rows[0]), max(self.rows[1], other.rows[1])),
            (min(self.channels[0], other.channels[0]), max(self.channels[1], other.channels[1])),
        )

    def minus(self, other: Window) -> tuple[Window, ...]:
        """Return windows without overlap that hold what is here and not in `other`."""
        common = self & other
        if common is None:
            return (self,)
        pieces = []
        if self.rows[0] < common.rows[0]:
            pieces.append(Window((self.rows[0], common.rows[0]), self.channels))
        if self.channels[0] < common.channels[0]:
            pieces.append(Window(common.rows, (self.channels[0], common.channels[0])))
        if common.channels[1] < self.channels[1]:
            pieces.append(Window(common.rows, (common.channels[1], self.channels[1])))
        if common.rows[1] < self.rows[1]:
            pieces.append(Window((common.rows[1], self.rows[1]), self.channels))
        return tuple(pieces)

    def within(self, frame: Window) -> Window:
        """Return this window counted from the corner of `frame`."""
        row, channel = frame.rows[0], frame.channels[0]
        return Window(
            (self.rows[0] - row, self.rows[1] - row), (self.channels[0] - channel, self.channels[1] - channel)
        )


def packed_view(
    data: NDArray[np.uint8], frame: Window, window: Window, width: int, config: VTAConfig
) -> NDArray[np.uint8]:
    """Return a window of packed data as a view, to read or to write.

    Parameters
    ----------
    data : ndarray of uint8, 1-D
        One GEMM batch of what `frame` holds, in the layout of `mpi_vta.graph.layout`.
    frame, window : Window
        What `data` holds of a value, and the part of it that is wanted.
    width : int
        Columns of the value.

    Returns
    -------
    ndarray of uint8, shape (blocks, rows, bytes of a row)
    """
    inner = window.within(frame)
    height = frame.rows[1] - frame.rows[0]
    lying = data.reshape(-1, height, width * config.inp_bytes)
    first, end = inner.channels[0] // config.block, channel_blocks(inner.channels[1], config)
    return lying[first:end, inner.rows[0] : inner.rows[1]]


def image_view(data: NDArray[np.uint8], frame: Window, window: Window, width: int, batch: int) -> NDArray[np.uint8]:
    """Return a window of raw images as a view of shape (batch, channels, rows, width); see `packed_view`."""
    _, channels, height, _ = frame.shape(width)
    inner = window.within(frame)
    return data.reshape(batch, channels, height, width)[:, slice(*inner.channels), slice(*inner.rows)]
