"""Choice of a schedule: enumerate tilings that fit, rank them in closed form, time the best step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, lcm

from mpi_vta.codegen.bias import BiasPlan
from mpi_vta.codegen.buffers import Slots, footprint, step_elements
from mpi_vta.codegen.kernel import Kernel
from mpi_vta.codegen.tiling import Span, Tile, Tiling, load_beats, planes, steps, tiles, window
from mpi_vta.errors import CompileError
from mpi_vta.hw.config import VTAConfig

INSTRUCTION_CYCLES = 7  # pipeline depth plus the idle cycle
LOAD_CYCLES = 23  # memory latency 16, set-up, idle cycle
STORE_BEAT_CYCLES = 1.5
TIMED_CANDIDATES = 24
MAX_SLOTS = 16


def choose(kernel: Kernel, bias: BiasPlan, config: VTAConfig) -> Tiling:
    """Return the tiling with the lowest estimated time; ties go to the first in a fixed order."""
    ranked = sorted(
        ((_closed_form(kernel, tiling, config), str(tiling), tiling) for tiling in space(kernel, bias, config)),
        key=lambda entry: entry[:2],
    )
    best: tuple[float, str, Tiling] | None = None
    timed = 0
    for _, name, tiling in ranked:
        if not footprint(kernel, tiling, bias).fits(tiling, config):
            continue
        entry = (estimate(kernel, tiling, config), name, tiling)
        if best is None or entry[:2] < best[:2]:
            best = entry
        timed += 1
        if timed == TIMED_CANDIDATES:
            break
    if best is None:
        raise CompileError(
            f"no tiling of {kernel.blocks} x {kernel.height} x {kernel.width} blocks fits the buffers",
            where=kernel.name,
            remedy=f"use a VTA configuration with larger buffers than {config.name}",
        )
    return best[2]


def _cuts(total: int, limit: int = 64) -> list[int]:
    """Return the sizes of even cuts of `total`, largest first."""
    return sorted({ceil(total / parts) for parts in range(1, min(total, limit) + 1)}, reverse=True)


@dataclass(frozen=True)
class _Box:
    """Sizes of the largest tile: accumulator cells per channel block, input window area per input block."""

    rows: int
    cols: int
    cells: int
    area: int


def _boxes(kernel: Kernel, config: VTAConfig) -> Iterator[_Box]:
    unit_y = lcm(*(term.upsample[0] for term in kernel.terms))
    unit_x = lcm(*(term.upsample[1] for term in kernel.terms))
    for cols in _cuts(kernel.width // unit_x, 32):
        for rows in _cuts(kernel.height // unit_y):
            tile = Tile(Span(0, 1), Span(0, rows * unit_y), Span(0, cols * unit_x))
            y, x = planes(kernel, tile)
            pool = kernel.pool.strides
            cells = y.size * x.size * pool[0] * pool[1]
            area = max((w.height + 1) * (w.width + 1) for w in (window(term, y, x) for term in kernel.terms))
            if cells <= config.acc_depth:
                yield _Box(rows * unit_y, cols * unit_x, cells, area)


def space(kernel: Kernel, bias: BiasPlan, config: VTAConfig) -> Iterator[Tiling]:
    """Yield the tilings that roughly fit (`Footprint.fits` decides); the largest tiles of each kind are enough."""
    acc_room = config.acc_depth - bias.acc_elements
    inp_room = config.inp_depth - bias.inp_elements
    diagonal = sum(not term.dense for term in kernel.terms)
    wgt_room = config.wgt_depth - bias.wgt_elements - diagonal
    dense = [term for term in kernel.terms if term.dense]
    taps = max((term.taps for term in dense), default=0)
    in_blocks = max((term.blocks for term in dense), default=kernel.blocks)
    temp = 1 if kernel.epilogue.leaky else 0
    phases = kernel.pool.strides[0] * kernel.pool.strides[1]
    for blocks in _cuts(kernel.blocks):
        seen: dict[tuple[int, int], int] = {}
        for box, acc_slots in product(_boxes(kernel, config), (2, 1)):
            if blocks * (box.cells * acc_slots + temp * (box.cells // phases)) > acc_room:
                continue
            # per width, the three tallest tiles
            if seen.get((box.cols, acc_slots), 0) == 3:
                continue
            steps_in = [cut for cut in _cuts(in_blocks) if cut * box.area <= inp_room][:3]
            if not steps_in:
                continue
            seen[box.cols, acc_slots] = seen.get((box.cols, acc_slots), 0) + 1
            outs = [c for c in _cuts(blocks) if c >= 3 or c == blocks or box.cells >= 3] if dense else [blocks]
            for step_in, step_out, outer in product(steps_in, outs, (False, True)):
                size = step_in * step_out * taps
                if size > wgt_room:
                    continue
                inp_slots = min(inp_room // (step_in * box.area), MAX_SLOTS)
                wgt_slots = min(wgt_room // size, MAX_SLOTS) if size else 1
                for few in (False, True):
                    yield Tiling(
                        box.rows,
                        box.cols,
                        blocks,
                        step_out,
                        step_in,
                        outer,
                        min(inp_slots, 2) if few else inp_slots,
                        min(wgt_slots, 2) if few else wgt_slots,
                        acc_slots,
                    )


def _closed_form(kernel: Kernel, tiling: Tiling, config: VTAConfig) -> float:
    """Return a rough time in cycles: the busiest unit plus what cannot overlap."""
    first = next(iter(tiles(kernel, tiling)))
    y, x = planes(kernel, first)
    spatial = ceil(kernel.height / tiling.rows) * ceil(kernel.width / tiling.cols)
    channel = ceil(kernel.blocks / tiling.blocks)
    gemm = loads = beats = 0.0
    for term in kernel.terms:
        win = window(term, y, x)
        area = win.height * win.width
        chunks = ceil(term.blocks / tiling.step_in)
        if term.dense:
            parts = ceil(tiling.blocks / tiling.step_out)
            held = chunks * spatial if tiling.channels_outer else chunks
            again = 1 if held <= tiling.inp_slots else channel
            wgt_held = chunks * parts * (1 if tiling.channels_outer else channel)
            wgt_again = 1 if wgt_held <= tiling.wgt_slots else spatial
            beats += wgt_again * load_beats(kernel.blocks * term.blocks * term.taps, config.wgt_bytes, config)
            loads += wgt_again * channel * chunks * parts
            gemm += spatial * channel * chunks * parts * INSTRUCTION_CYCLES
        else:
            again = 1
            gemm += spatial * channel * INSTRUCTION_CYCLES
        beats += again * spatial * load_beats(term.blocks * area, config.inp_bytes, config)
        loads += again * spatial * term.blocks
    cells = spatial * kernel.blocks * y.size * x.size * kernel.pool.strides[0] * kernel.pool.strides[1]
    compute = gemm + cells * sum((t.blocks if t.dense else 1) * t.taps for t in kernel.terms)
    store = STORE_BEAT_CYCLES * load_beats(kernel.blocks * kernel.height * kernel.width, config.out_bytes, config)
    load = beats + loads * LOAD_CYCLES
    serial = store if tiling.acc_slots == 1 else store / (spatial * channel)
    return max(compute, load, store) + serial + load / (spatial * channel)


def estimate(kernel: Kernel, tiling: Tiling, config: VTAConfig) -> float:
    """Return the time of a tiling in cycles by a recurrence over its steps.

    The three units advance in order; a slot is refilled only after its last use, a tile's accumulator
    only after its store.
    """
    inp, wgt = Slots(0, 1, tiling.inp_slots), Slots(0, 1, tiling.wgt_slots)
    inp_free, wgt_free = [0.0] * tiling.inp_slots, [0.0] * tiling.wgt_slots
    inp_ready, wgt_ready = list(inp_free), list(wgt_free)
    acc_free = [0.0] * tiling.acc_slots
    load = compute = store = 0.0
    lists: set[tuple[int, ...]] = set()
    for number, tile in enumerate(tiles(kernel, tiling)):
        y, x = planes(kernel, tile)
        cells = tile.blocks.size * y.size * x.size * kernel.pool.strides[0] * kernel.pool.strides[1]
        slot = number % tiling.acc_slots
        compute = max(compute, acc_free[slot]) + cells + INSTRUCTION_CYCLES
        for step in steps(kernel, tiling, tile):
            term = kernel.terms[step.term]
            win = window(term, y, x)
            inp_size, wgt_size = step_elements(kernel, step, win)
            position = 0
            if wgt_size:
                position, present = wgt.get((step.out_blocks, step.in_blocks))
                if not present:
                    load = max(load, wgt_free[position]) + LOAD_CYCLES + load_beats(wgt_size, config.wgt_bytes, config)
                    wgt_ready[position] = load
            spot, present = inp.get((step.term, step.in_blocks, win))
            if not present:
                load = max(load, inp_free[spot]) + LOAD_CYCLES * step.in_blocks.size
                load += load_beats(inp_size, config.inp_bytes, config)
                inp_ready[spot] = load
            uops = step.out_blocks.size * y.valid.size * x.valid.size * term.taps
            uops *= step.in_blocks.size if term.dense else 1
            phases = kernel.pool.strides[0] * kernel.pool.strides[1]
            start = max(compute, inp_ready[spot], wgt_ready[position] if wgt_size else 0.0)
            lists.add((slot, step.term, spot, position, step.out_blocks.low - tile.blocks.low, step.out_blocks.size))
            compute = start + uops + INSTRUCTION_CYCLES * phases
            inp_free[spot] = compute
            if wgt_size:
                wgt_free[position] = compute
        compute += _alu_cycles(kernel, tile.blocks.size, tile.rows.size, tile.cols.size)
        out = tile.blocks.size * tile.rows.size * tile.cols.size
        store = max(store, compute) + STORE_BEAT_CYCLES * load_beats(out, config.out_bytes, config) + INSTRUCTION_CYCLES
        acc_free[slot] = store
    taps = max(term.taps for term in kernel.terms)
    return max(store, compute) + len(lists) * tiling.step_in * tiling.step_out * taps / 2


def _alu_cycles(kernel: Kernel, blocks: int, rows: int, cols: int) -> int:
    """Return the cycles of pooling, bias and epilogue on a tile."""
    pixels = blocks * rows * cols
    end = kernel.epilogue
    passes: Sequence[int] = [
        2 * (kernel.pool.kernel[1] - 1) * kernel.pool.strides[0] + 2 * (kernel.pool.kernel[0] - 1),
        0 if kernel.bias is None else 1,
        bool(end.rounding) + bool(end.shift) + (end.lo is not None) + (end.hi is not None),
        9 if end.leaky else 0,
    ]
    return sum(passes) * pixels + INSTRUCTION_CYCLES * 6
