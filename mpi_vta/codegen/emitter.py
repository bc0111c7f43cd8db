"""Turns one tiled kernel into instructions: loads, GEMMs, ALU work, stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen import alu
from mpi_vta.codegen.bias import BiasPlan
from mpi_vta.codegen.buffers import Slots, footprint
from mpi_vta.codegen.kernel import Kernel, Term
from mpi_vta.codegen.loops import step_loops
from mpi_vta.codegen.memory import Constants, Place
from mpi_vta.codegen.nest import Dim, Nest, dealt, split
from mpi_vta.codegen.operands import MAX_STRIDE, Operands
from mpi_vta.codegen.stream import Access, Stream
from mpi_vta.codegen.tiling import Plane, Tile, TileStep, Tiling, planes, steps, tile_elements, tiles, window
from mpi_vta.codegen.work import Work
from mpi_vta.errors import CompileError
from mpi_vta.isa.table import AluOpcode, MemoryType, Opcode


@dataclass(frozen=True)
class _Spot:
    """A tile and where it lies in the accumulator."""

    tile: Tile
    rows: Plane
    cols: Plane
    base: int
    cells: int
    region: Access
    scratch: Access
    alu: alu.TileAlu


@dataclass
class Emitter:
    """Emits one kernel.

    Parameters
    ----------
    kernel, tiling, bias : Kernel, Tiling, BiasPlan
        What to emit and how.
    places : mapping of str to Place
        Where the activations lie.
    constants : Constants
        Receives weights and biases.
    stream : Stream
        Receives the instructions.
    """

    kernel: Kernel
    tiling: Tiling
    bias: BiasPlan
    places: Mapping[str, Place]
    constants: Constants
    stream: Stream
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        """Lay out the buffers."""
        config = self.config = self.stream.config
        need = footprint(self.kernel, self.tiling, self.bias)
        if not need.fits(self.tiling, config):
            raise CompileError(f"schedule {self.tiling} does not fit the buffers", where=self.kernel.name)
        self.copies = need.copies
        self.tile_cells = need.acc
        self.acc = Slots(need.acc_fixed + need.temp, need.acc * need.copies, self.tiling.acc_slots)
        self.temp = need.acc_fixed
        self.operands = Operands(
            self.kernel, self.tiling, self.bias, need, self.places, self.constants, self.stream, self.work
        )

    def run(self) -> Work:
        """Emit every tile."""
        self.operands.load_fixed()
        for number, tile in enumerate(tiles(self.kernel, self.tiling)):
            self._tile(number, tile)
        return self.work

    def _tile(self, number: int, tile: Tile) -> None:
        kernel = self.kernel
        rows, cols = planes(kernel, tile)
        cells = tile_elements(kernel, tile.blocks.size, rows, cols)
        base, _ = self.acc.get(number)
        region = Access("out", base, base + self.tile_cells * self.copies)
        work = alu.TileAlu(self.stream, self.work, region, tile.blocks.size, rows.size * cols.size, cols.size)
        spot = _Spot(tile, rows, cols, base, cells, region, Access("out", self.temp, self.temp + cells), work)
        for copy in self._copies(spot):
            self._reset(copy, cells, [region])
        entered, written = -1, False
        for step in steps(kernel, self.tiling, tile):
            while entered < step.term:
                entered += 1
                self._enter(entered, spot)
            written |= self._step(step, spot)
        self._leave(kernel.terms[-1], None, spot)
        if not written and not self._rewritten:  # a reset alone does not reach the out buffer
            work.immediate(AluOpcode.ADD, base, [Dim(cells, 1)], 0)
        self._lift(kernel.lift, spot)
        if not kernel.late_terms:
            self._settle(spot)
        alu.epilogue(work, base, self.temp, tile.rows.size, tile.cols.size, kernel.epilogue, self._reset)
        self._store(tile, base, rows, cols)

    @property
    def _rewritten(self) -> bool:
        """Whether bias, shifts or epilogue write every element of a result."""
        end = self.kernel.epilogue
        passes = end.leaky or end.rounding or end.shift or self.kernel.lift
        return bool(passes or self.bias.taps or self.bias.acc_elements) or end.lo is not None or end.hi is not None

    def _copies(self, spot: _Spot) -> list[int]:
        """Return the first elements of the partial sums."""
        return [spot.base + copy * self.tile_cells for copy in range(self.copies)]

    def _enter(self, index: int, spot: _Spot) -> None:
        """Do what comes before a term and behind the one before it."""
        terms = self.kernel.terms
        term, before = terms[index], terms[index - 1] if index else None
        if before is not None:
            self._leave(before, term, spot)
        if index and index == len(terms) - self.kernel.late_terms:
            self._settle(spot)
        if term.chain and (before is None or before.chain != term.chain):
            self._reset(self.temp, spot.cells, [spot.scratch])
        self._lift(term.lift, spot)

    def _leave(self, term: Term, following: Term | None, spot: _Spot) -> None:
        """Clamp what a term left, and add a scratch chain that ends here."""
        whole = [Dim(spot.cells, 1)]
        if term.clamp is not None:
            side, threshold = term.clamp
            target, region = (self.temp, spot.scratch) if term.chain else (spot.base, spot.region)
            spot.alu.immediate(AluOpcode.MAX if side > 0 else AluOpcode.MIN, target, whole, threshold, region)
        if term.chain and (following is None or following.chain != term.chain):
            spot.alu.add_copy(spot.base, self.temp, spot.cells)

    def _settle(self, spot: _Spot) -> None:
        """Join the partial sums, pool, add the bias, shift by channels."""
        for copy in self._copies(spot)[1:]:
            spot.alu.add_copy(spot.base, copy, spot.cells)
        pool, tile = self.kernel.pool, spot.tile
        if pool.pads != (0, 0, 0, 0) or pool.kernel != (1, 1):
            alu.fill_padding(spot.alu, spot.base, spot.rows, spot.cols, pool)
            alu.pool_maximum(spot.alu, spot.base, tile, spot.rows, spot.cols, pool)
        pixels = [Dim(tile.rows.size, spot.alu.pitch), Dim(tile.cols.size, 1)]
        self._bias(spot, pixels)
        if len(self.bias.shifts):
            spot.alu.shift_rows(spot.base, len(self.bias.accumulator) + tile.blocks.low, pixels)

    def _reset(self, base: int, cells: int, writes: Sequence[Access]) -> None:
        self._gemm(Nest(Dim(1, 0), Dim(cells, 1), *_zeros()), base, 0, 0, writes, reset=True)

    def _step(self, step: TileStep, spot: _Spot) -> bool:
        """Accumulate one step; return whether it wrote every accumulator that is not padding."""
        term, pool = self.kernel.terms[step.term], self.kernel.pool
        win = window(term, spot.rows, spot.cols)
        if not (win.rows.size and win.cols.size):
            return False
        wgt, row = self.operands.weights(term, step)
        inp = self.operands.inputs(term, step, win)
        inp_read = Access("inp", inp, inp + step.in_blocks.size * win.height * win.width)
        wgt_read = Access("wgt", wgt, wgt + max(1, step.out_blocks.size * row))
        base, region = (self.temp, spot.scratch) if term.chain else (spot.base, spot.region)
        cells = 0
        for loops in step_loops(term, step, win, (spot.rows, spot.cols), pool.strides, spot.tile.blocks):
            nest = self._split(loops.dims)
            if nest is None:
                nest = dealt(loops.dims, self.tile_cells)
            self._gemm(nest, base + loops.dst, inp + loops.src, wgt + loops.wgt, [region], reads=[inp_read, wgt_read])
            cells += loops.cells
        return cells == spot.rows.valid.size * spot.cols.valid.size

    def _lift(self, amount: int, spot: _Spot) -> None:
        if amount:
            for copy in self._copies(spot):
                spot.alu.immediate(AluOpcode.SHR, copy, [Dim(spot.cells, 1)], -amount)

    def _split(self, dims: list[Dim]) -> Nest | None:
        return split(dims, (self.config.acc_depth, self.config.inp_depth, self.config.wgt_depth))

    def _gemm(
        self,
        nest: Nest,
        dst: int,
        src: int,
        wgt: int,
        writes: Sequence[Access],
        reads: Sequence[Access] = (),
        *,
        reset: bool = False,
    ) -> None:
        wgt_fields = {"wgt_factor_out": nest.outer.wgt, "wgt_factor_in": nest.inner.wgt}
        fields = {"reset": int(reset), **nest.loop_fields(), **wgt_fields}
        uops = nest.uops(dst, src, wgt)
        self.stream.emit(Opcode.GEMM, fields, uops=uops, reads=reads, writes=writes)
        self.work.gemm_uops += nest.steps

    def _bias(self, spot: _Spot, pixels: Sequence[Dim]) -> None:
        blocks = spot.tile.blocks
        if self.bias.taps:
            for tap in range(self.bias.taps):
                dims = [Dim(blocks.size, spot.alu.block_cells, 0, self.bias.taps), *pixels]
                nest = self._split(dims)
                if nest is None:
                    raise AssertionError("a nest without reduction always splits")
                wgt = blocks.low * self.bias.taps + tap
                reads = [
                    Access("wgt", wgt, wgt + blocks.size * self.bias.taps - tap),
                    Access("inp", tap, tap + 1),
                ]
                self._gemm(nest, spot.base, tap, wgt, [spot.region], reads=reads)
        elif len(self.bias.accumulator):
            spot.alu.add_rows(spot.base, blocks.low, pixels)

    def _store(self, tile: Tile, base: int, rows: Plane, cols: Plane) -> None:
        place = self.places[self.kernel.output]
        plane_cells = place.plane
        height, width = tile.rows.size, tile.cols.size
        origin = tile.blocks.low * plane_cells + tile.rows.low * place.width + tile.cols.low
        dense = rows.size == height and cols.size == width
        if dense and width == place.width and (plane_cells <= MAX_STRIDE or tile.blocks.size == 1):
            self._store_box(place, base, origin, tile.blocks.size, height * width, min(plane_cells, MAX_STRIDE))
            return
        for block in range(tile.blocks.size):
            sram, dram = base + block * rows.size * cols.size, origin + block * plane_cells
            if cols.size == width:
                self._store_box(place, sram, dram, height, width, place.width)
            else:
                for row in range(height):
                    self._store_box(place, sram + row * cols.size, dram + row * place.width, 1, width, place.width)

    def _store_box(self, place: Place, sram: int, dram: int, rows: int, row: int, stride: int) -> None:
        if row == stride:
            rows, row = 1, rows * row
        fields = {
            "memory_type": MemoryType.OUT,
            "sram_base": sram,
            "dram_base": place.offset + dram,
            "y_size": rows,
            "x_size": row,
            "x_stride": stride,
        }
        tracked = place.tracked + dram
        writes = [Access("dram", tracked + y * stride, tracked + y * stride + row) for y in range(rows)]
        self.stream.emit(
            Opcode.STORE, fields, segment=place.segment, reads=[Access("out", sram, sram + rows * row)], writes=writes
        )
        self.work.store_bytes += rows * row * self.config.out_bytes


def _zeros() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
