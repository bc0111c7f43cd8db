"""Tensor-ALU work on a tile in the accumulator: pooling, leaky activation, rounding, shift, clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from mpi_vta.codegen.kernel import Epilogue, Pool
from mpi_vta.codegen.nest import Dim, split
from mpi_vta.codegen.stream import Access, Stream
from mpi_vta.codegen.tiling import Plane, Tile
from mpi_vta.isa.table import MAX_SHIFT, AluOpcode, Opcode

MAX_IMMEDIATE = (1 << 15) - 1


class Counter(Protocol):
    """Where executed ALU micro-ops are counted."""

    alu_uops: int


@dataclass
class TileAlu:
    """Emits ALU instructions on one tile.

    Attributes
    ----------
    stream : Stream
        Receives the instructions.
    work : Counter
        Counts executed micro-ops.
    region : Access
        Accumulator elements of the tile.
    blocks, block_cells, pitch : int
        Channel blocks, elements from block to block, elements from row to row, in one phase.
    """

    stream: Stream
    work: Counter
    region: Access
    blocks: int
    block_cells: int
    pitch: int

    def immediate(
        self, opcode: AluOpcode, dst: int, dims: Sequence[Dim], imm: int, region: Access | None = None
    ) -> None:
        """Emit acc[dst] = op(acc[dst], imm) over `dims`, block loop included by the caller."""
        same = [Dim(dim.count, dim.dst, dim.dst) for dim in dims]
        self._emit(opcode, dst, dst, same, {"use_imm": 1, "imm": imm}, region)

    def register(
        self, opcode: AluOpcode, dst: int, src: int, dims: Sequence[Dim], region: Access | None = None
    ) -> None:
        """Emit acc[dst] = op(acc[dst], acc[src]) over `dims`."""
        self._emit(opcode, dst, src, dims, {}, region)

    def _emit(
        self, opcode: AluOpcode, dst: int, src: int, dims: Sequence[Dim], fields: dict[str, int], region: Access | None
    ) -> None:
        depth = self.stream.config.acc_depth
        nest = split(dims, (depth, depth, 1))
        if nest is None:
            raise AssertionError("ALU loops have no reduction")
        values = {"alu_opcode": int(opcode), **nest.loop_fields(), **fields}
        uops = nest.uops(dst, src)
        self.stream.emit(Opcode.ALU, values, uops=uops, writes=[region or self.region])
        self.work.alu_uops += nest.steps

    def box(self, rows: int, cols: int, blocks: int | None = None) -> list[Dim]:
        """Return the loops over a box of every block of a phase, dst and src walking alike."""
        count = self.blocks if blocks is None else blocks
        return [
            Dim(count, self.block_cells, self.block_cells),
            Dim(rows, self.pitch, self.pitch),
            Dim(cols, 1, 1),
        ]

    def add_copy(self, dst: int, src: int, cells: int) -> None:
        """Add a partial sum."""
        self.register(AluOpcode.ADD, dst, src, [Dim(cells, 1, 1)])

    def add_rows(self, dst: int, bias: int, pixels: Sequence[Dim]) -> None:
        """Add one accumulator element per block (from `bias` on) to all the block's pixels."""
        self.per_block(AluOpcode.ADD, dst, bias, pixels)

    def shift_rows(self, dst: int, shifts: int, pixels: Sequence[Dim]) -> None:
        """Shift all the block's pixels right by one accumulator element per block (from `shifts` on)."""
        self.per_block(AluOpcode.SHR, dst, shifts, pixels)

    def per_block(self, opcode: AluOpcode, dst: int, src: int, pixels: Sequence[Dim]) -> None:
        """Emit acc[dst] = op(acc[dst], acc[src]) over pixels, one `src` element per block."""
        dims = [Dim(self.blocks, self.block_cells, 1), *(Dim(dim.count, dim.dst, 0) for dim in pixels)]
        self.register(opcode, dst, src, dims)


def fill_padding(alu: TileAlu, base: int, rows: Plane, cols: Plane, pool: Pool) -> None:
    """Set the padding cells that windows read to -2**30, which never wins a maximum.

    The cells hold 0 here (reset, never accumulated).
    """
    for phase_y in range(pool.strides[0]):
        for phase_x in range(pool.strides[1]):
            start = base + (phase_y * pool.strides[1] + phase_x) * alu.blocks * alu.block_cells
            y_low, y_high, y_end = _real(rows, pool.strides[0], phase_y)
            x_low, x_high, x_end = _real(cols, pool.strides[1], phase_x)
            boxes = [
                (0, y_low, 0, x_end),
                (y_high, y_end, 0, x_end),
                (y_low, y_high, 0, x_low),
                (y_low, y_high, x_high, x_end),
            ]
            for top, bottom, left, right in boxes:
                if bottom > top and right > left:
                    cell = start + top * alu.pitch + left
                    dims = alu.box(bottom - top, right - left)
                    alu.immediate(AluOpcode.MIN, cell, dims, -(1 << 15))
                    alu.immediate(AluOpcode.SHR, cell, dims, -MAX_SHIFT)


def _real(axis: Plane, stride: int, phase: int) -> tuple[int, int, int]:
    """Return (first real, end of real, end of needed) plane rows of a phase."""
    end = -(-(axis.needed - phase) // stride)
    low = -(-(axis.valid.low - axis.first - phase) // stride)
    high = -(-(axis.valid.high - axis.first - phase) // stride)
    low = min(max(low, 0), end)
    return low, max(min(high, end), low), end


def pool_maximum(alu: TileAlu, base: int, tile: Tile, rows: Plane, cols: Plane, pool: Pool) -> None:
    """Reduce every window to its maximum, in place, into phase (0, 0): columns first, then rows."""
    phase = alu.blocks * alu.block_cells
    (ky, kx), (sy, sx) = pool.kernel, pool.strides
    for phase_y in range(sy):
        count = -(-(rows.needed - phase_y) // sy)
        start = base + phase_y * sx * phase
        for target, shift, extent in _passes(kx, sx, tile.cols.size):
            plane_y, plane_x = target
            dst, src = start + plane_y * phase, start + plane_x * phase + shift
            alu.register(AluOpcode.MAX, dst, src, alu.box(count, extent))
    for target, shift, extent in _passes(ky, sy, tile.rows.size):
        dst, src = base + target[0] * sx * phase, base + target[1] * sx * phase + shift * alu.pitch
        alu.register(AluOpcode.MAX, dst, src, alu.box(extent, tile.cols.size))


def _passes(kernel: int, stride: int, size: int) -> list[tuple[tuple[int, int], int, int]]:
    """Return ((dst phase, src phase), shift, length) of the maxima that reduce one axis of the windows.

    Within a phase the covered run of cells doubles; ascending order reads each cell before it changes.
    """
    result: list[tuple[tuple[int, int], int, int]] = []
    for phase in range(min(stride, kernel)):
        wanted = (kernel - 1 - phase) // stride + 1
        covered = 1
        while covered < wanted:
            shift = min(covered, wanted - covered)
            covered += shift
            result.append(((phase, phase), shift, size + wanted - covered))
    result += [((0, phase), 0, size) for phase in range(1, min(stride, kernel))]
    return result


def epilogue(
    alu: TileAlu,
    base: int,
    temp: int,
    height: int,
    width: int,
    steps: Epilogue,
    reset: Callable[[int, int, Sequence[Access]], None],
) -> None:
    """Emit leaky, rounding, shift and clip on the result plane."""
    dims = alu.box(height, width)
    if steps.leaky:
        cells = alu.blocks * alu.block_cells
        scratch = Access("out", temp, temp + cells)
        reset(temp, cells, [scratch])
        multiplier, shift = steps.leaky
        for gap in _set_bit_gaps(multiplier):
            _shift(alu, temp, dims, -gap, scratch)
            alu.register(AluOpcode.ADD, temp, base, dims, scratch)
        trailing = (multiplier & -multiplier).bit_length() - 1
        _shift(alu, temp, dims, shift - trailing, scratch)
        alu.register(AluOpcode.MAX, base, temp, dims)
    rounding = steps.rounding
    while rounding:
        part = max(-MAX_IMMEDIATE, min(rounding, MAX_IMMEDIATE))
        alu.immediate(AluOpcode.ADD, base, dims, part)
        rounding -= part
    _shift(alu, base, dims, steps.shift, alu.region)
    if steps.lo is not None:
        alu.immediate(AluOpcode.MAX, base, dims, steps.lo)
    if steps.hi is not None:
        alu.immediate(AluOpcode.MIN, base, dims, steps.hi)


def _set_bit_gaps(number: int) -> list[int]:
    """Return the distances from each set bit to the next lower one, from the top; 0 for the first."""
    bits = [index for index in range(number.bit_length()) if number >> index & 1][::-1]
    return [0] + [high - low for high, low in pairwise(bits)]


def _shift(alu: TileAlu, base: int, dims: Sequence[Dim], amount: int, region: Access) -> None:
    """Shift right by `amount` (left if negative), in pieces that the portable subset allows."""
    while amount:
        part = max(-MAX_SHIFT, min(MAX_SHIFT, amount))
        alu.immediate(AluOpcode.SHR, base, dims, part, region)
        amount -= part
