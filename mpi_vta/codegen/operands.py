"""Operands of a kernel in the buffers: loaded once, or step by step into slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.bias import BiasPlan
from mpi_vta.codegen.buffers import Footprint, Slots
from mpi_vta.codegen.kernel import Kernel, Term
from mpi_vta.codegen.memory import Constants, Place
from mpi_vta.codegen.stream import Access, Stream
from mpi_vta.codegen.tiling import TileStep, TileWindow, Tiling
from mpi_vta.codegen.work import Work
from mpi_vta.errors import CompileError
from mpi_vta.isa.table import MemoryType, Opcode

MAX_STRIDE = (1 << 16) - 1
MAX_PAD = 15


@dataclass(frozen=True)
class ConstantPlaces:
    """First elements of a kernel's constants in their segments.

    Attributes
    ----------
    weights : tuple of int
        Of each term.
    bias_weights, bias_vector : int
        Of a bias that the GEMM core adds; 0 without one.
    accumulators : tuple of (int, ndarray)
        What the ALU needs, bias and channel shifts, with its place.
    """

    weights: tuple[int, ...]
    bias_weights: int
    bias_vector: int
    accumulators: tuple[tuple[int, NDArray[np.int32]], ...]


def add_constants(kernel: Kernel, bias: BiasPlan, constants: Constants) -> ConstantPlaces:
    """Add all constants of a kernel, which do not depend on its schedule; return where they lie."""
    weights = tuple(constants.add("wgt", term.weights) for term in kernel.terms)
    bias_weights = constants.add("wgt", bias.weights) if bias.taps else 0
    bias_vector = constants.add("inp", bias.vector) if bias.taps else 0
    for_alu = [content for content in (bias.accumulator, bias.shifts) if len(content)]
    places = tuple((constants.add("acc", content), content) for content in for_alu)
    return ConstantPlaces(weights, bias_weights, bias_vector, places)


class Operands:
    """Loads what a kernel multiplies and adds.

    Parameters
    ----------
    kernel, tiling, bias, need
        What is emitted, how, and the buffer elements that it takes.
    places : mapping of str to Place
        Where the activations lie.
    constants : Constants
        Receives weights and biases.
    stream : Stream
        Receives the instructions.
    work : Work
        Counts the bytes.
    """

    def __init__(
        self,
        kernel: Kernel,
        tiling: Tiling,
        bias: BiasPlan,
        need: Footprint,
        places: Mapping[str, Place],
        constants: Constants,
        stream: Stream,
        work: Work,
    ) -> None:
        self._kernel, self._bias, self._places = kernel, bias, places
        self._stream, self._work, self._config = stream, work, stream.config
        self._inp = Slots(need.inp_fixed, need.inp, tiling.inp_slots)
        self._wgt = Slots(need.wgt_fixed, need.wgt, tiling.wgt_slots)
        self._shared: dict[int, int] = {}
        self._constants = add_constants(kernel, bias, constants)

    def load_fixed(self) -> None:
        """Load what stays for the whole kernel: shared weight blocks, bias, channel shifts."""
        position = self._bias.wgt_elements
        for index, term in enumerate(self._kernel.terms):
            if term.shared:
                self._load_wgt(self._constants.weights[index], position, 1, 1, 1)
                self._shared[index] = position
                position += 1
        if self._bias.taps:
            blocks = self._kernel.blocks
            self._load_wgt(self._constants.bias_weights, 0, 1, blocks * self._bias.taps, 1)
            self._load(MemoryType.INP, 0, "const.inp", self._constants.bias_vector, 1, self._bias.taps, 1)
        position = 0
        for place, content in self._constants.accumulators:
            self._load(MemoryType.ACC, position, "const.acc", place, 1, len(content), 1)
            position += len(content)

    def weights(self, term: Term, step: TileStep) -> tuple[int, int]:
        """Make the step's weights resident; return (first element, elements per output block)."""
        if term.shared:
            return self._shared[step.term], 0
        row = step.in_blocks.size // step.bands * term.taps
        first, present = self._wgt.get((step.term, step.out_blocks, step.in_blocks))
        if not present:
            outs, ins = term.band
            stride = ins * term.taps
            own_row = step.out_blocks.low - term.first_block
            own_col = step.in_blocks.low - term.first_source - own_row // outs * ins
            dram = self._constants.weights[step.term] + own_row * stride + own_col * term.taps
            if row == stride:
                self._load_wgt(dram, first, 1, step.out_blocks.size * row, 1)
            else:
                self._load_wgt(dram, first, step.out_blocks.size, row, stride)
        return first, row

    def inputs(self, term: Term, step: TileStep, win: TileWindow) -> int:
        """Make the step's inputs resident; return the first element."""
        first, present = self._inp.get((term.value, step.in_blocks, win))
        if present:
            return first
        place = self._places[term.value]
        pads = (win.pad_top, win.pad_bottom, win.pad_left, win.pad_right)
        area, plane_cells = win.height * win.width, place.plane
        whole = win.cols.size == place.pitch and win.row_step == 1 and max(pads) == 0
        if whole and plane_cells <= MAX_STRIDE:
            origin = step.in_blocks.low * plane_cells + win.rows.low * place.pitch
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
            start = (step.in_blocks.low + index) * plane_cells + win.rows.low * place.pitch
            low = place.tracked + start
            self._load(
                MemoryType.INP,
                first + index * area,
                place.segment,
                place.offset + start + win.cols.low,
                -(-win.rows.size // win.row_step),
                win.cols.size,
                place.pitch * win.row_step,
                pads,
                [Access("dram", low, low + win.rows.size * place.pitch)],
            )
        return first

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
                where=self._kernel.name,
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
        self._stream.emit(Opcode.LOAD, fields, segment=segment, reads=reads, writes=writes)
        size = {MemoryType.INP: self._config.inp_bytes, MemoryType.WGT: self._config.wgt_bytes}
        self._work.load_bytes += rows * row * size.get(kind, self._config.acc_bytes)
