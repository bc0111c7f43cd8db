"""The loops of one accumulation step: which accumulators, which inputs, which weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from mpi_vta.codegen.kernel import Term
from mpi_vta.codegen.nest import Dim
from mpi_vta.codegen.tiling import Plane, TileRange, TileStep, TileWindow, covered, reach


@dataclass(frozen=True)
class AxisWalk:
    """How one axis of a tile is accumulated, in one phase.

    Rows that share a position modulo the pooling stride, or that read the same window positions of a spread
    map, are one phase.

    Attributes
    ----------
    phase : int
        Pooling phase.
    start, count, step, copies : int
        First plane row, how many input rows land, every how many plane rows, on how many plane rows each.
    source, source_step : int
        First row of the window in the buffer, and rows from one to the next.
    tap, taps, tap_step, tap_source : int
        First window position, how many, every how many, input rows from one to the next.
    """

    phase: int
    start: int
    count: int
    step: int
    copies: int
    source: int
    source_step: int
    tap: int
    taps: int
    tap_step: int
    tap_source: int

    @property
    def cells(self) -> int:
        """Plane rows that are accumulated."""
        return self.count * self.copies


@dataclass(frozen=True)
class StepLoops:
    """One GEMM instruction: loops, first elements counted from those of the tile and the operands, cells of a block."""

    dims: list[Dim]
    dst: int
    src: int
    wgt: int
    cells: int


def axis_walks(term: Term, axis: int, plane: Plane, pool_stride: int, row_step: int = 1) -> list[AxisWalk]:
    """Return the phases of an axis; ``count`` or ``taps`` may be 0.

    Parameters
    ----------
    term : Term
        What is accumulated.
    axis : int
        0 for rows, 1 for columns.
    plane : Plane
        The tile's geometry on that axis.
    pool_stride : int
        Stride of the pooling behind, 1 without.
    row_step : int
        Input rows from one row in the buffer to the next.
    """
    plane = covered(term, axis, plane)
    if term.spread[axis] > 1:
        return [_spread_walk(term, axis, plane, phase) for phase in range(term.spread[axis])]
    walks = []
    up, stride = term.upsample[axis], term.strides[axis] // row_step
    for phase, rows in enumerate(real_phases(plane, pool_stride)):
        first = plane.first + rows.low * pool_stride + phase - plane.valid.low
        source, step = first // up * stride, stride * pool_stride
        taps, far = term.kernel[axis], term.dilations[axis]
        walks.append(AxisWalk(phase, rows.low, rows.size // up, up, up, source, step, 0, taps, 1, far))
    return walks


def _spread_walk(term: Term, axis: int, plane: Plane, phase: int) -> AxisWalk:
    """Return the walk of every spread-th row from `phase` on: those whose windows meet the same pixels."""
    spread, far, valid = term.spread[axis], term.dilations[axis], plane.valid
    first = valid.low + phase - term.pads[axis]
    positions = [tap for tap in range(term.kernel[axis]) if (first + tap * far) % spread == 0]
    count = max(-(-(valid.size - phase) // spread), 0)
    tap, together = (positions[0] if positions else 0), gcd(far, spread)
    source = (first + tap * far) // spread - reach(term, axis, valid)[0]
    start = valid.low - plane.first + phase
    return AxisWalk(0, start, count, spread, 1, source, 1, tap, len(positions), spread // together, far // together)


def real_phases(axis: Plane, stride: int) -> list[TileRange]:
    """Return, per phase, the plane rows that hold real (not padding) accumulated rows."""
    result = []
    for phase in range(stride):
        low = -(-(axis.valid.low - axis.first - phase) // stride)
        high = -(-(axis.valid.high - axis.first - phase) // stride)
        result.append(TileRange(max(low, 0), max(high, max(low, 0))))
    return result


def step_loops(
    term: Term,
    step: TileStep,
    win: TileWindow,
    planes: tuple[Plane, Plane],
    pool_strides: tuple[int, int],
    blocks: TileRange,
) -> Iterator[StepLoops]:
    """Yield the GEMM instructions of a step.

    Parameters
    ----------
    term, step, win
        What is accumulated, and the window that lies in the buffer.
    planes : tuple of Plane
        Rows and columns of the tile.
    pool_strides : tuple of int
        Strides of the pooling behind.
    blocks : TileRange
        Channel blocks of the tile.
    """
    rows, cols = planes
    pitch, block_cells = cols.size, rows.size * cols.size
    for y in axis_walks(term, 0, rows, pool_strides[0], win.row_step):
        for x in axis_walks(term, 1, cols, pool_strides[1]):
            if not (y.count and x.count and y.taps and x.taps):
                continue
            dst = (y.phase * pool_strides[1] + x.phase) * blocks.size * block_cells + y.start * pitch + x.start
            dst += (step.out_blocks.low - blocks.low) * block_cells
            src = y.source * win.width + x.source
            wgt = 0 if term.shared else y.tap * term.kernel[1] + x.tap
            yield StepLoops(_dims(term, step, win, y, x, pitch, block_cells), dst, src, wgt, y.cells * x.cells)


def _dims(
    term: Term, step: TileStep, win: TileWindow, y: AxisWalk, x: AxisWalk, pitch: int, block_cells: int
) -> list[Dim]:
    """Return the loops over accumulators (bands, blocks, rows, columns, copies), then those of the reduction."""
    own = int(not term.shared)
    area, width = win.height * win.width, term.kernel[1]
    outs, ins = step.out_blocks.size // step.bands, step.in_blocks.size // step.bands
    row = ins * term.taps * own
    return [
        Dim(step.bands, outs * block_cells, ins * area, outs * row),
        Dim(outs, block_cells, 0, row),
        Dim(y.count, pitch * y.step, win.width * y.source_step),
        Dim(y.copies, pitch),
        Dim(x.count, x.step, x.source_step),
        Dim(x.copies, 1),
        Dim(ins, 0, area, term.taps * own),
        Dim(y.taps, 0, y.tap_source * win.width, y.tap_step * width * own),
        Dim(x.taps, 0, x.tap_source, x.tap_step * own),
    ]
