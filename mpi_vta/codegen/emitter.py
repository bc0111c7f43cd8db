"""Turns one tiled kernel into instructions: loads, GEMMs, ALU work, stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen import alu
from mpi_vta.codegen.bias import BiasPlan
from mpi_vta.codegen.buffers import Slots, footprint, real_phases
from mpi_vta.codegen.kernel import Kernel, Term
from mpi_vta.codegen.memory import Constants, Place
from mpi_vta.codegen.nest import Dim, Nest, dealt, split
from mpi_vta.codegen.stream import Access, Stream
from mpi_vta.codegen.tiling import Plane, Span, Step, Tile, Tiling, Window, planes, steps, tile_elements, tiles, window
from mpi_vta.errors import CompileError
from mpi_vta.isa.table import AluOpcode, MemoryType, Opcode

MAX_STRIDE = (1 << 16) - 1
MAX_PAD = 15


@dataclass
class Work:
    """Counts of what was emitted for a kernel."""

    gemm_uops: int = 0
    alu_uops: int = 0
    load_bytes: int = 0
    store_bytes: int = 0


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
        self.inp = Slots(need.inp_fixed, need.inp, self.tiling.inp_slots)
        self.wgt = Slots(need.wgt_fixed, need.wgt, self.tiling.wgt_slots)
        self.tile_cells = need.acc
        self.acc = Slots(need.acc_fixed + need.temp, need.acc * need.copies, self.tiling.acc_slots)
        self.temp = need.acc_fixed
        self.diagonal: dict[int, int] = {}
        self.weights = {index: self.constants.add("wgt", term.weights) for index, term in enumerate(self.kernel.terms)}

    def run(self) -> Work:
        """Emit every tile."""
        self._load_fixed()
        for number, tile in enumerate(tiles(self.kernel, self.tiling)):
            self._tile(number, tile)
        return self.work

    # -- operands that stay for the whole kernel ------------------------------------------------

    def _load_fixed(self) -> None:
        position = self.bias.wgt_elements
        for index, term in enumerate(self.kernel.terms):
            if not term.dense:
                self._load_wgt(self.weights[index], position, 1, 1, 1)
                self.diagonal[index] = position
                position += 1
        if self.bias.taps:
            blocks = self.kernel.blocks
            self._load_wgt(self.constants.add("wgt", self.bias.weights), 0, 1, blocks * self.bias.taps, 1)
            self._load(
                MemoryType.INP, 0, "const.inp", self.constants.add("inp", self.bias.vector), 1, self.bias.taps, 1
            )
        elif self.bias.acc_elements:
            first = self.constants.add("acc", self.bias.accumulator)
            self._load(MemoryType.ACC, 0, "const.acc", first, 1, self.bias.acc_elements, 1)

    def _load_wgt(self, first: int, sram: int, rows: int, row: int, stride: int) -> None:
        self._load(MemoryType.WGT, sram, "const.wgt", first, rows, row, stride)

    def _load(
        self,
        kind: MemoryType,
        sram: int,
        segment: str,
        dram: int,
        rows: int,
        row: int,
        stride: int,
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        reads: Sequence[Access] = (),
    ) -> None:
        """Emit a load of `rows` x `row` elements; pads are (top, bottom, left, right)."""
        if max(pads) > MAX_PAD or stride > MAX_STRIDE:
            raise CompileError(
                f"a load needs pads {pads} and stride {stride}",
                where=self.kernel.name,
                allowed=f"pads up to {MAX_PAD}, strides up to {MAX_STRIDE}",
            )
        fields = {
            "memory_type": kind,
            "sram_base": sram,
            "dram_base": dram,
            "y_size": rows,
            "x_size": row,
            "x_stride": stride,
            "y_pad_0": pads[0],
            "y_pad_1": pads[1],
            "x_pad_0": pads[2],
            "x_pad_1": pads[3],
        }
        extent = (pads[0] + rows + pads[1]) * (pads[2] + row + pads[3])
        space = {MemoryType.INP: "inp", MemoryType.WGT: "wgt", MemoryType.ACC: "out"}[kind]
        writes = [Access(space, sram, sram + extent)]
        self.stream.emit(Opcode.LOAD, fields, segment=segment, reads=reads, writes=writes)
        size = {MemoryType.INP: self.config.inp_bytes, MemoryType.WGT: self.config.wgt_bytes}
        self.work.load_bytes += rows * row * size.get(kind, self.config.acc_bytes)

    # -- one tile ---------------------------------------------------------------------------------

    def _tile(self, number: int, tile: Tile) -> None:
        rows, cols = planes(self.kernel, tile)
        cells = tile_elements(self.kernel, tile.blocks.size, rows, cols)
        base, _ = self.acc.get(number)
        region = Access("out", base, base + self.tile_cells * self.copies)
        work = alu.TileAlu(self.stream, self.work, region, tile.blocks.size, rows.size * cols.size, cols.size)
        used = [copy * self.tile_cells for copy in range(self.copies)]
        for offset in used:
            self._gemm(Nest(Dim(1, 0), Dim(cells, 1), *_zeros()), base + offset, 0, 0, [region], reset=True)
        lifted, accumulated = 0, False
        for step in steps(self.kernel, self.tiling, tile):
            for index in range(lifted, step.term + 1):
                self._lift(work, [base + offset for offset in used], cells, self.kernel.terms[index].lift)
            lifted = step.term + 1
            accumulated |= self._step(tile, step, rows, cols, base, region)
        if not accumulated:  # a reset alone does not reach the out buffer
            work.immediate(AluOpcode.ADD, base, [Dim(cells, 1)], 0)
        self._lift(work, [base + offset for offset in used], cells, self.kernel.lift)
        for offset in used[1:]:
            work.add_copy(base, base + offset, cells)
        pool = self.kernel.pool
        if pool.pads != (0, 0, 0, 0) or pool.kernel != (1, 1):
            alu.fill_padding(work, base, rows, cols, pool)
            alu.pool_maximum(work, base, tile, rows, cols, pool)
        height, width = tile.rows.size, tile.cols.size
        self._bias(work, base, tile, height, width, region)
        alu.epilogue(work, base, self.temp, height, width, self.kernel.epilogue, self._reset)
        self._store(tile, base, rows, cols)

    def _reset(self, base: int, cells: int, writes: Sequence[Access]) -> None:
        self._gemm(Nest(Dim(1, 0), Dim(cells, 1), *_zeros()), base, 0, 0, writes, reset=True)

    def _step(self, tile: Tile, step: Step, rows: Plane, cols: Plane, base: int, region: Access) -> bool:
        """Accumulate one step; return False if its window holds nothing but padding."""
        term = self.kernel.terms[step.term]
        win = window(term, rows, cols)
        if not (win.rows.size and win.cols.size):
            return False
        wgt, row = self._step_weights(term, step)
        inp = self._step_inputs(term, step, win)
        area = win.height * win.width
        inp_read = Access("inp", inp, inp + step.in_blocks.size * area)
        wgt_read = Access("wgt", wgt, wgt + max(1, step.out_blocks.size * row))
        pitch = cols.size
        block_cells = rows.size * pitch
        phase_cells = tile.blocks.size * block_cells
        strides = self.kernel.pool.strides
        for py, y in enumerate(real_phases(rows, strides[0])):
            for px, x in enumerate(real_phases(cols, strides[1])):
                if not (y.size and x.size):
                    continue
                first_row = rows.first + y.low * strides[0] + py - rows.valid.low
                first_col = cols.first + x.low * strides[1] + px - cols.valid.low
                dst = base + (py * strides[1] + px) * phase_cells + y.low * pitch + x.low
                dst += (step.out_blocks.low - tile.blocks.low) * block_cells
                step_y = term.strides[0] // win.row_step * strides[0]
                src = inp + first_row // max(1, term.upsample[0]) * (term.strides[0] // win.row_step) * win.width
                src += first_col // max(1, term.upsample[1]) * term.strides[1]
                dims = _spread_dims(
                    term, step, y, x, block_cells, pitch, area, win.width * step_y, term.strides[1] * strides[1], row
                )
                dims += _reduction_dims(term, step, win, area)
                nest = self._split(dims)
                if nest is None:
                    nest = dealt(dims, self.tile_cells)
                self._gemm(nest, dst, src, wgt, [region], reads=[inp_read, wgt_read])
        return True

    @staticmethod
    def _lift(work: alu.TileAlu, bases: Sequence[int], cells: int, amount: int) -> None:
        if amount:
            for base in bases:
                work.immediate(AluOpcode.SHR, base, [Dim(cells, 1)], -amount)

    def _split(self, dims: list[Dim]) -> Nest | None:
        return split(dims, (self.config.acc_depth, self.config.inp_depth, self.config.wgt_depth))

    def _step_weights(self, term: Term, step: Step) -> tuple[int, int]:
        """Make the step's weights resident; return (first element, elements per output block)."""
        if not term.dense:
            return self.diagonal[step.term], 0
        row = step.in_blocks.size * term.taps
        first, present = self.wgt.get((step.term, step.out_blocks, step.in_blocks))
        if not present:
            stride = term.blocks * term.taps
            dram = self.weights[step.term] + step.out_blocks.low * stride + step.in_blocks.low * term.taps
            if row == stride:
                self._load_wgt(dram, first, 1, step.out_blocks.size * row, 1)
            else:
                self._load_wgt(dram, first, step.out_blocks.size, row, stride)
        return first, row

    def _step_inputs(self, term: Term, step: Step, win: Window) -> int:
        """Make the step's inputs resident; return the first element."""
        first, present = self.inp.get((step.term, step.in_blocks, win))
        if present:
            return first
        place = self.places[term.value]
        pads = (win.pad_top, win.pad_bottom, win.pad_left, win.pad_right)
        area, plane_cells = win.height * win.width, place.plane
        whole = win.cols.size == place.width and win.row_step == 1 and max(pads) == 0
        if whole and plane_cells <= MAX_STRIDE:
            origin = step.in_blocks.low * plane_cells + win.rows.low * place.width
            reads = [
                Access("dram", place.tracked + low, place.tracked + low + area)
                for low in range(origin, origin + step.in_blocks.size * plane_cells, plane_cells)
            ]
            self._load(
                MemoryType.INP,
                first,
                place.segment,
                place.offset + origin,
                step.in_blocks.size,
                area,
                plane_cells,
                reads=reads,
            )
            return first
        for index in range(step.in_blocks.size):
            start = (step.in_blocks.low + index) * plane_cells + win.rows.low * place.width
            low = place.tracked + start
            self._load(
                MemoryType.INP,
                first + index * area,
                place.segment,
                place.offset + start + win.cols.low,
                -(-win.rows.size // win.row_step),
                win.cols.size,
                place.width * win.row_step,
                pads,
                [Access("dram", low, low + win.rows.size * place.width)],
            )
        return first

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

    def _bias(self, work: alu.TileAlu, base: int, tile: Tile, height: int, width: int, region: Access) -> None:
        pixels = [Dim(height, work.pitch), Dim(width, 1)]
        if self.bias.taps:
            for tap in range(self.bias.taps):
                dims = [Dim(tile.blocks.size, work.block_cells, 0, self.bias.taps), *pixels]
                nest = self._split(dims)
                if nest is None:
                    raise AssertionError("a nest without reduction always splits")
                wgt = tile.blocks.low * self.bias.taps + tap
                reads = [
                    Access("wgt", wgt, wgt + tile.blocks.size * self.bias.taps - tap),
                    Access("inp", tap, tap + 1),
                ]
                self._gemm(nest, base, tap, wgt, [region], reads=reads)
        elif self.bias.acc_elements:
            work.add_rows(base, tile.blocks.low, pixels)

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


def _spread_dims(
    term: Term, step: Step, y: Span, x: Span, block_cells: int, pitch: int, area: int, row: int, col: int, wgt_row: int
) -> list[Dim]:
    """Return the loops over accumulators: output blocks, rows, columns (and copies of an upsampling)."""
    blocks = Dim(step.out_blocks.size, block_cells, 0 if term.dense else area, wgt_row)
    up_y, up_x = term.upsample
    return [
        blocks,
        Dim(y.size // up_y, pitch * up_y, row),
        Dim(up_y, pitch),
        Dim(x.size // up_x, up_x, col),
        Dim(up_x, 1),
    ]


def _reduction_dims(term: Term, step: Step, win: Window, area: int) -> list[Dim]:
    """Return the loops over input blocks and window positions."""
    dense = int(term.dense)
    kh, kw = term.kernel
    return [
        Dim(step.in_blocks.size if term.dense else 1, 0, area, kh * kw * dense),
        Dim(kh, 0, term.dilations[0] * win.width, kw * dense),
        Dim(kw, 0, term.dilations[1], dense),
    ]
