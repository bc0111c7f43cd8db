"""How a kernel is cut: tiles of the output, steps of the reduction, slots of the buffers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from mpi_vta.codegen.kernel import Kernel, Term
from mpi_vta.hw.config import VTAConfig

_NUMBER = r"([1-9]\d{0,8})"
_NAME = re.compile(r"(c>yx|yx>c) {n}x{n}x{n} step {n}x{n} slots {n}/{n}/{n}".replace("{n}", _NUMBER), re.ASCII)


@dataclass(frozen=True)
class TileRange:
    """A half-open range."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """Length."""
        return self.high - self.low


@dataclass(frozen=True)
class Tile:
    """A box of the output: channel blocks, rows, columns."""

    blocks: TileRange
    rows: TileRange
    cols: TileRange


@dataclass(frozen=True)
class TileStep:
    """Part of a tile's accumulation: one term, some output blocks, some input blocks.

    Either several whole bands, or a part of one.
    """

    term: int
    out_blocks: TileRange
    in_blocks: TileRange
    bands: int


@dataclass(frozen=True)
class TileWindow:
    """What a term reads for a tile: input rows and columns present in DRAM, and zero pads around them.

    ``row_step`` > 1 means that only every row_step-th row is loaded (1-row windows with a stride).
    """

    rows: TileRange
    cols: TileRange
    pad_top: int
    pad_bottom: int
    pad_left: int
    pad_right: int
    row_step: int

    @cached_property
    def height(self) -> int:
        """Rows in the buffer, pads included."""
        return self.pad_top + -(-self.rows.size // self.row_step) + self.pad_bottom

    @cached_property
    def width(self) -> int:
        """Elements of a row in the buffer, pads included."""
        return self.pad_left + self.cols.size + self.pad_right


@dataclass(frozen=True)
class Tiling:
    """One schedule of a kernel.

    Attributes
    ----------
    rows, cols, blocks : int
        Largest tile of the output.
    step_out, step_in : int
        Output and input blocks per step; a shared term takes ``step_in``.
    channels_outer : bool
        Loop order: channel tiles outside spatial tiles (weights stay) or inside (inputs stay).
    inp_slots, wgt_slots, acc_slots : int
        Buffered copies of each operand.
    """

    rows: int
    cols: int
    blocks: int
    step_out: int
    step_in: int
    channels_outer: bool
    inp_slots: int
    wgt_slots: int
    acc_slots: int

    def __str__(self) -> str:
        """Return a short name, unique within the kernel."""
        order = "c>yx" if self.channels_outer else "yx>c"
        return (
            f"{order} {self.blocks}x{self.rows}x{self.cols} step {self.step_out}x{self.step_in} "
            f"slots {self.inp_slots}/{self.wgt_slots}/{self.acc_slots}"
        )

    @classmethod
    def parse(cls, name: str) -> Tiling:
        """Return the schedule of a name that `str` gave; raises `ValueError` for another text."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"{name!r} names no schedule")
        blocks, rows, cols, step_out, step_in, *slots = map(int, found.groups()[1:])
        return cls(rows, cols, blocks, step_out, step_in, found[1] == "c>yx", *slots)


def spans(total: int, size: int) -> list[TileRange]:
    """Cut [0, total) into spans of at most `size`."""
    return [TileRange(low, min(low + size, total)) for low in range(0, total, size)]


def tiles(kernel: Kernel, tiling: Tiling) -> Iterator[Tile]:
    """Yield the tiles in execution order."""
    blocks = spans(kernel.blocks, tiling.blocks)
    places = [(r, c) for r in spans(kernel.height, tiling.rows) for c in spans(kernel.width, tiling.cols)]
    if tiling.channels_outer:
        yield from (Tile(b, r, c) for b in blocks for r, c in places)
    else:
        yield from (Tile(b, r, c) for r, c in places for b in blocks)


def steps(kernel: Kernel, tiling: Tiling, tile: Tile) -> Iterator[TileStep]:
    """Yield the accumulation steps of a tile in execution order."""
    for index, term in enumerate(kernel.terms):
        yield from _term_steps(index, term, tiling, tile)


def _term_steps(index: int, term: Term, tiling: Tiling, tile: Tile) -> Iterator[TileStep]:
    outs, ins = term.band
    step_out = term.out_blocks if term.shared else tiling.step_out
    together = min(tiling.step_in // ins, step_out // outs)  # 0: not even one whole band
    position = max(tile.blocks.low, term.first_block)
    high = min(tile.blocks.high, term.first_block + term.out_blocks)
    while position < high:
        band = (position - term.first_block) // outs
        start, source = term.first_block + band * outs, term.first_source + band * ins
        ins_here = min(ins, term.blocks - source)  # the last band may end early
        whole = min(together, (high - start) // outs, (term.blocks - source) // ins) if position == start else 0
        if whole:
            end = start + whole * outs
            yield TileStep(index, TileRange(start, end), TileRange(source, source + whole * ins), whole)
        else:
            end = min(start + outs, high)
            for chunk in spans(ins_here, tiling.step_in):
                for part in spans(end - position, step_out):
                    out = TileRange(position + part.low, position + part.high)
                    yield TileStep(index, out, TileRange(source + chunk.low, source + chunk.high), 1)
        position = end


@dataclass(frozen=True)
class Plane:
    """How the accumulated map of a tile lies in the accumulator, cut into pooling phases.

    Rows (and columns) that share a position modulo the pooling stride form a phase, so that pooling is
    elementwise between phases. ``first`` is the accumulated row of plane row 0 in phase 0 (negative in
    the padding), ``needed`` the rows that windows read, ``size`` the rows of one phase's plane.
    """

    first: int
    needed: int
    size: int
    valid: TileRange


def plane(out: TileRange, kernel_size: int, stride: int, pad: int, extent: int) -> Plane:
    """Return the plane geometry of one axis for output rows (or columns) `out`."""
    first = out.low * stride - pad
    needed = (out.size - 1) * stride + kernel_size
    return Plane(first, needed, -(-needed // stride), TileRange(max(first, 0), min(first + needed, extent)))


def planes(kernel: Kernel, tile: Tile) -> tuple[Plane, Plane]:
    """Return the plane geometry of a tile, (rows, columns)."""
    pool = kernel.pool
    return (
        plane(tile.rows, pool.kernel[0], pool.strides[0], pool.pads[0], kernel.acc_height),
        plane(tile.cols, pool.kernel[1], pool.strides[1], pool.pads[1], kernel.acc_width),
    )


def tile_elements(kernel: Kernel, blocks: int, rows: Plane, cols: Plane) -> int:
    """Return the accumulator elements that a tile's phases take."""
    return blocks * kernel.pool.strides[0] * kernel.pool.strides[1] * rows.size * cols.size


def covered(term: Term, axis: int, plane: Plane) -> Plane:
    """Return the geometry of rows (axis 0) or columns (1) without those that a window of one tap sees as padding."""
    top, stride = term.pads[axis], term.strides[axis]
    if term.kernel[axis] > 1 or not (top or term.pads[axis + 2]):
        return plane
    extent = ((term.height, term.width)[axis] - 1) * term.spread[axis]
    low = max(plane.valid.low, -(-top // stride))
    high = min(plane.valid.high, (extent + top) // stride + 1)
    return replace(plane, valid=TileRange(low, max(high, low)))


def window(term: Term, rows: Plane, cols: Plane) -> TileWindow:
    """Return what `term` reads for the accumulated rows and columns of a tile."""
    row_step = term.strides[0] if term.kernel[0] == 1 and term.pads[0] == term.pads[2] == 0 else 1
    rows, cols = covered(term, 0, rows), covered(term, 1, cols)
    low_y, high_y = reach(term, 0, rows.valid)
    low_x, high_x = reach(term, 1, cols.valid)
    real_y, real_x = _inside(low_y, high_y, term.height), _inside(low_x, high_x, term.width)
    return TileWindow(
        real_y,
        real_x,
        max(0, min(-low_y, high_y - low_y)),
        max(0, high_y - max(term.height, low_y)),
        max(0, min(-low_x, high_x - low_x)),
        max(0, high_x - max(term.width, low_x)),
        row_step,
    )


def reach(term: Term, axis: int, valid: TileRange) -> tuple[int, int]:
    """Return the input rows [low, high) that accumulated rows read, padding counted; columns likewise."""
    low, high = valid.low // term.upsample[axis], -(-valid.high // term.upsample[axis])
    stride, pad, spread = term.strides[axis], term.pads[axis], term.spread[axis]
    first, last = low * stride - pad, (high - 1) * stride - pad + (term.kernel[axis] - 1) * term.dilations[axis]
    if spread == 1:
        return first, max(last + 1, first)
    low = -(-first // spread)
    return low, max(last // spread + 1, low)


def _inside(low: int, high: int, extent: int) -> TileRange:
    return TileRange(min(max(low, 0), extent), max(min(high, extent), 0))


def load_beats(elements: int, element_bytes: int, config: VTAConfig) -> int:
    """Return the bus beats that move `elements`."""
    return -(-elements * element_bytes * 8 // config.bus_bits)
