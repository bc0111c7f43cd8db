"""Where things lie: activations in DRAM segments by liveness, constants in their own segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.layout import channel_blocks
from mpi_vta.hw.config import VTAConfig

SCRATCH = "scratch"


@dataclass(frozen=True)
class Place:
    """An activation in DRAM.

    Attributes
    ----------
    segment : str
        Segment name.
    offset : int
        First element, in inp elements from the segment's start.
    blocks, height, width : int
        Size in channel blocks, rows and columns.
    tracked : int
        First element in the tracked DRAM space of the instruction stream.
    plane : int
        Elements from channel block to channel block: more than height * width in a view of a part.
    pitch : int
        Elements from row to row: more than width in a view of some columns.
    """

    segment: str
    offset: int
    blocks: int
    height: int
    width: int
    tracked: int
    plane: int
    pitch: int

    @property
    def elements(self) -> int:
        """Size in inp elements."""
        return self.blocks * self.height * self.width


@dataclass(frozen=True)
class Lifetime:
    """A buffer and the steps, inclusive, during which it must keep its content."""

    name: str
    elements: int
    first: int
    last: int


def first_fit(lifetimes: Iterable[Lifetime]) -> tuple[dict[str, int], int]:
    """Place buffers so that no two alive at the same step overlap; big ones first.

    Returns
    -------
    offsets : dict of str to int
        Offset of each buffer, in elements.
    total : int
        Elements needed in all.
    """
    placed: list[tuple[Lifetime, int]] = []
    for item in sorted(lifetimes, key=lambda entry: (-entry.elements, entry.first, entry.name)):
        busy = sorted(
            (offset, offset + other.elements)
            for other, offset in placed
            if other.first <= item.last and item.first <= other.last
        )
        position = 0
        for low, high in busy:
            if position + item.elements <= low:
                break
            position = max(position, high)
        placed.append((item, position))
    offsets = {item.name: offset for item, offset in placed}
    return offsets, max((offset + item.elements for item, offset in placed), default=0)


class Constants:
    """Collects the constant segments while kernels are emitted."""

    def __init__(self, config: VTAConfig) -> None:
        self._element_bytes = {"wgt": config.wgt_bytes, "inp": config.inp_bytes, "acc": config.acc_bytes}
        self._parts: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in self._element_bytes}
        self._size = dict.fromkeys(self._element_bytes, 0)
        self._known: dict[tuple[str, bytes], int] = {}

    def add(self, kind: str, content: NDArray[np.int8] | NDArray[np.int32]) -> int:
        """Store whole elements of kind ``wgt``, ``inp`` or ``acc``; return the first one's index."""
        raw = np.ascontiguousarray(content).reshape(-1).view(np.uint8)
        key = (kind, raw.tobytes()) if raw.size <= 4096 else (kind, b"")
        if key[1] and key in self._known:
            return self._known[key]
        index = self._size[kind] // self._element_bytes[kind]
        self._parts[kind].append(raw)
        self._size[kind] += raw.size
        if key[1]:
            self._known[key] = index
        return index

    def segments(self) -> dict[str, NDArray[np.uint8]]:
        """Return the contents of the non-empty segments, named ``const.wgt`` and so on."""
        return {f"const.{kind}": np.concatenate(parts) for kind, parts in self._parts.items() if parts}


def value_elements(shape: Sequence[int], config: VTAConfig) -> int:
    """Return the inp elements of a (1, C, H, W) activation."""
    return channel_blocks(shape[1], config) * shape[2] * shape[3]
