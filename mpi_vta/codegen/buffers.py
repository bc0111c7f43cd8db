"""What a tiled kernel keeps in the buffers: slots that are filled in turn, and how large they must be."""

from __future__ import annotations

from dataclasses import dataclass

from mpi_vta.codegen.bias import BiasPlan
from mpi_vta.codegen.kernel import Kernel
from mpi_vta.codegen.loops import axis_walks
from mpi_vta.codegen.nest import HAZARD_DISTANCE
from mpi_vta.codegen.tiling import (
    Plane,
    TileStep,
    TileWindow,
    Tiling,
    covered,
    planes,
    steps,
    tile_elements,
    tiles,
    window,
)
from mpi_vta.hw.config import VTAConfig


class Slots:
    """Equal pieces of a buffer, filled in turn; remembers what each holds."""

    def __init__(self, base: int, size: int, count: int) -> None:
        self.base, self.size, self.count = base, size, count
        self._position: dict[object, int] = {}
        self._holder: list[object] = [None] * count
        self._next = 0

    def get(self, key: object) -> tuple[int, bool]:
        """Return (first element, whether `key` is already there)."""
        if key in self._position:
            return self.base + self._position[key] * self.size, True
        slot = self._next
        self._next = (slot + 1) % self.count
        self._position.pop(self._holder[slot], None)
        self._holder[slot] = key
        self._position[key] = slot
        return self.base + slot * self.size, False


@dataclass(frozen=True)
class Footprint:
    """Buffer elements that a kernel needs under a tiling.

    ``inp`` and ``wgt`` are the largest step, ``acc`` the largest tile (all phases, one copy of the
    partial sums), ``copies`` the partial sums, ``temp`` the scratch tile of a leaky activation or a chain;
    ``wgt_fixed``, ``inp_fixed`` and ``acc_fixed`` stay for the whole kernel.
    """

    inp: int
    wgt: int
    acc: int
    copies: int
    temp: int
    inp_fixed: int
    wgt_fixed: int
    acc_fixed: int

    def fits(self, tiling: Tiling, config: VTAConfig) -> bool:
        """Return whether the slots of `tiling` fit the buffers."""
        return (
            tiling.inp_slots * self.inp + self.inp_fixed <= config.inp_depth
            and tiling.wgt_slots * self.wgt + self.wgt_fixed <= config.wgt_depth
            and tiling.acc_slots * self.acc * self.copies + self.temp + self.acc_fixed <= config.acc_depth
        )


def step_elements(kernel: Kernel, step: TileStep, win: TileWindow) -> tuple[int, int]:
    """Return the (inp, wgt) elements that a step keeps in slots."""
    term = kernel.terms[step.term]
    wgt = 0 if term.shared else step.out_blocks.size * step.in_blocks.size * term.taps // step.bands
    return step.in_blocks.size * win.height * win.width, wgt


def needs_copies(kernel: Kernel, step: TileStep, rows: Plane, cols: Plane) -> bool:
    """Return whether a step has too few accumulators to keep the hazard distance by itself."""
    term = kernel.terms[step.term]
    if term.taps * step.in_blocks.size == step.bands:
        return False
    least = step.out_blocks.size
    for axis, plane in enumerate((rows, cols)):
        least *= covered(term, axis, plane).valid.size // (kernel.pool.strides[axis] * term.spread[axis])
    if least >= HAZARD_DISTANCE:  # in every phase
        return False
    return any(
        step.out_blocks.size * y.cells * x.cells < HAZARD_DISTANCE
        for y in axis_walks(term, 0, rows, kernel.pool.strides[0])
        for x in axis_walks(term, 1, cols, kernel.pool.strides[1])
        if y.cells and x.cells and step.in_blocks.size * y.taps * x.taps > step.bands
    )


def footprint(kernel: Kernel, tiling: Tiling, bias: BiasPlan) -> Footprint:
    """Return the buffer elements that the tiling needs, over all its tiles."""
    inp = wgt = acc = temp = 0
    copies = 1
    shapes = {(t.blocks.size, t.rows, t.cols): t for t in tiles(kernel, tiling)}
    for tile in shapes.values():
        rows, cols = planes(kernel, tile)
        acc = max(acc, tile_elements(kernel, tile.blocks.size, rows, cols))
        if kernel.needs_scratch:
            temp = max(temp, tile.blocks.size * rows.size * cols.size)
        for step in steps(kernel, tiling, tile):
            needed = step_elements(kernel, step, window(kernel.terms[step.term], rows, cols))
            inp, wgt = max(inp, needed[0]), max(wgt, needed[1])
            if needs_copies(kernel, step, rows, cols):
                copies = HAZARD_DISTANCE
    diagonal = sum(term.shared for term in kernel.terms)
    return Footprint(inp, wgt, acc, copies, temp, bias.inp_elements, bias.wgt_elements + diagonal, bias.acc_elements)
