"""What VTA's driver needs of a board: registers to read and write, and memory that VTA and the processor share."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class RegisterBlock(Protocol):
    """The memory-mapped registers of one unit."""

    def read(self, offset: int) -> int:
        """Return the 32-bit word at a byte offset."""

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit word at a byte offset."""


class BoardBuffer(Protocol):
    """Physically contiguous memory."""

    @property
    def address(self) -> int:
        """Of the first byte, as VTA sees it."""

    @property
    def data(self) -> NDArray[np.uint8]:
        """The bytes as the processor sees them, shape (bytes,)."""

    def flush(self) -> None:
        """Write what the processor's caches hold of it back to memory."""

    def invalidate(self) -> None:
        """Drop what the processor's caches hold of it."""


class BoardAccess(Protocol):
    """The way to one board: pynq's, or that of a model of the hardware.

    Attributes
    ----------
    where : str
        The board, for messages.
    """

    where: str

    def registers(self, address: int, size_bytes: int) -> RegisterBlock:
        """Return the registers from a physical address on."""

    def allocate(self, size_bytes: int, *, cacheable: bool) -> BoardBuffer:
        """Return new contiguous memory.

        Raises
        ------
        DeviceError
            If there is none left.
        """
