"""The schedules of a kernel: tilings that fit the buffers, ranked in closed form, all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, lcm

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.bias import BiasPlan
from mpi_vta.codegen.kernel import Kernel
from mpi_vta.codegen.nest import HAZARD_DISTANCE
from mpi_vta.codegen.tiling import Tile, TileRange, Tiling, load_beats, planes, window
from mpi_vta.hw.config import VTAConfig
from mpi_vta.simulator.bursts import store_beat_cycles

INSTRUCTION_CYCLES = 7  # pipeline depth plus the idle cycle
LOAD_CYCLES = 23  # memory latency 16, set-up, idle cycle
MAX_SLOTS = 16
WIDTHS, HEIGHTS, CHANNELS, CHUNKS, PARTS = 12, 4, 12, 10, 6  # how many cuts of each kind are tried

Column = NDArray[np.float64]


@dataclass(frozen=True)
class _Room:
    """Buffer elements that a kernel's slots may use."""

    inp: int
    wgt: int
    acc: int


@dataclass(frozen=True)
class _Box:
    """A tile size and what one channel block of it takes.

    ``cells`` and ``temp`` are accumulator elements, ``area`` the largest input window, ``loads`` the
    LOAD instructions per input block.
    """

    rows: int
    cols: int
    cells: int
    temp: int
    area: int
    loads: float


def ranked(kernel: Kernel, bias: BiasPlan, config: VTAConfig, count: int) -> list[Tiling]:
    """Return up to `count` tilings, the fastest in closed form first.

    They roughly fit; `mpi_vta.codegen.buffers.Footprint.fits` decides.
    """
    table = _table(kernel, _room(kernel, bias, config), config)
    if not len(table):
        return []
    order = np.argsort(_closed_form(kernel, table, config), kind="stable")[:count]
    return [_tiling(table[index]) for index in order]


def least_cycles(kernel: Kernel, bias: BiasPlan, config: VTAConfig) -> float | None:
    """Return the closed-form time of the best tiling in cycles, or None if none fits even roughly."""
    table = _table(kernel, _room(kernel, bias, config), config)
    return float(_closed_form(kernel, table, config).min()) if len(table) else None


def _tiling(row: Column) -> Tiling:
    rows, cols, blocks, step_out, step_in, outer, inp, wgt, acc = (int(value) for value in row[:9])
    return Tiling(rows, cols, blocks, step_out, step_in, bool(outer), inp, wgt, acc)


def cuts(total: int, limit: int = 64) -> list[int]:
    """Return the sizes of even cuts of `total`, largest first."""
    return sorted({ceil(total / parts) for parts in range(1, min(total, limit) + 1)}, reverse=True)


def _room(kernel: Kernel, bias: BiasPlan, config: VTAConfig) -> _Room:
    shared = sum(term.shared for term in kernel.terms)
    return _Room(
        config.inp_depth - bias.inp_elements,
        config.wgt_depth - bias.wgt_elements - shared,
        config.acc_depth - bias.acc_elements,
    )


def _boxes(kernel: Kernel, limit: int) -> list[_Box]:
    unit_y = lcm(*(term.upsample[0] for term in kernel.terms))
    unit_x = lcm(*(term.upsample[1] for term in kernel.terms))
    phases = kernel.pool.strides[0] * kernel.pool.strides[1]
    padded = any(max(term.pads) for term in kernel.terms)
    result = []
    for cols, rows in product(cuts(kernel.width // unit_x)[:WIDTHS], cuts(kernel.height // unit_y)):
        y, x = planes(kernel, Tile(TileRange(0, 1), TileRange(0, rows * unit_y), TileRange(0, cols * unit_x)))
        plane = y.size * x.size
        if plane * phases > limit:
            continue
        windows = [window(term, y, x) for term in kernel.terms]
        # an inner tile has no pads but as many rows and columns; one more of each is the usual halo
        area = max((win.height + padded) * (win.width + padded) for win in windows)
        whole = cols * unit_x == kernel.width and not padded
        result.append(
            _Box(
                rows * unit_y,
                cols * unit_x,
                plane * phases,
                plane if kernel.needs_scratch else 0,
                area,
                0.2 if whole else 1.0,
            )
        )
    return result


def _table(kernel: Kernel, room: _Room, config: VTAConfig) -> Column:
    """Return the candidates, one a row: the nine fields of `Tiling`, then cells, area, loads."""
    boxes, channels = _boxes(kernel, room.acc), cuts(kernel.blocks)
    rows: list[tuple[float, ...]] = []
    for first in range(0, len(channels), CHANNELS):  # smaller cuts where none of the larger ones fits
        for blocks, acc_slots in product(channels[first : first + CHANNELS], (2, 1)):
            rows += _candidates(kernel, room, boxes, blocks, acc_slots)
        if rows:
            break
    return np.array(sorted(rows), dtype=np.float64)


def _candidates(
    kernel: Kernel, room: _Room, boxes: list[_Box], blocks: int, acc_slots: int
) -> Iterator[tuple[float, ...]]:
    """Yield the candidates of tiles of `blocks` channel blocks with `acc_slots` accumulators."""
    kept: dict[int, int] = {}
    for box in boxes:
        if blocks * (box.cells * acc_slots + box.temp) > room.acc or kept.get(box.cols, 0) == HEIGHTS:
            continue
        pairs = _step_sizes(kernel, blocks, box, room.inp)
        kept[box.cols] = kept.get(box.cols, 0) + bool(pairs)
        for (step_in, step_out, size), outer in product(pairs, (0, 1)):
            if size > room.wgt:
                continue
            inp_slots = min(room.inp // (step_in * box.area), MAX_SLOTS)
            wgt_slots = min(room.wgt // size, MAX_SLOTS) if size else 1
            fixed = (box.rows, box.cols, blocks, step_out, step_in, outer)
            tail = (acc_slots, box.cells, box.area, box.loads)
            for inp, wgt in {(inp_slots, wgt_slots), (min(inp_slots, 2), min(wgt_slots, 2))}:
                yield (*fixed, inp, wgt, *tail)


def _step_sizes(kernel: Kernel, blocks: int, box: _Box, most: int) -> list[tuple[int, int, int]]:
    """Return (input blocks, output blocks, weight blocks) of the steps to try for tiles of `blocks` x `box`.

    `most` are the inp elements that a step may take.
    """
    own = [term for term in kernel.terms if not term.shared]
    banded = next((term for term in own if term.bands > 1), None)
    taps = max((term.taps for term in own), default=0)
    sizes = []
    if banded is not None:
        outs, ins = banded.band
        together = [cut for cut in cuts(-(-blocks // outs)) if cut * ins * box.area <= most][:CHUNKS]
        sizes = [(cut * ins, cut * outs, cut * outs * ins * taps) for cut in together]
        if sizes and outs * ins == 1:
            return sizes
        most_in, most_out = ins, min(outs, blocks)
    else:
        most_in, most_out = max((term.band[1] for term in own), default=kernel.blocks), blocks
    chunks = [cut for cut in cuts(most_in) if cut * box.area <= most][:CHUNKS]
    parts = [c for c in cuts(most_out) if c == most_out or min(c, box.cells) >= HAZARD_DISTANCE][:PARTS]
    return sizes + [(into, out, into * out * taps) for into, out in product(chunks, parts if own else [blocks])]


def _closed_form(kernel: Kernel, table: Column, config: VTAConfig) -> Column:
    """Return a rough time in cycles of each candidate: the busiest unit plus what cannot overlap."""
    rows, cols, blocks, step_out, step_in, outer, inp_slots, wgt_slots, acc_slots, cells, area, loads = table.T
    spatial = np.ceil(kernel.height / rows) * np.ceil(kernel.width / cols)
    channel = np.ceil(kernel.blocks / blocks)
    phases = kernel.pool.strides[0] * kernel.pool.strides[1]
    gemm = np.zeros(len(table))
    instructions, beats = gemm.copy(), gemm.copy()
    for term in kernel.terms:
        work = cells * spatial * kernel.blocks * term.taps
        if term.shared:
            again = np.ones(len(table))
            gemm += work + spatial * channel * phases * INSTRUCTION_CYCLES
        else:
            ins = term.band[1]
            chunks, parts = np.ceil(ins / step_in), np.ceil(blocks / step_out)
            again = np.where(np.where(outer > 0, chunks * spatial, chunks) <= inp_slots, 1, channel)
            if term.bands > 1:  # every tile of channels has inputs of its own
                again = np.ones(len(table))
            held = chunks * parts * np.where(outer > 0, 1, channel)
            wgt_again = np.where(held <= wgt_slots, 1, spatial)
            beats += wgt_again * load_beats(term.out_blocks * ins * term.taps, config.wgt_bytes, config)
            instructions += wgt_again * channel * chunks * parts
            gemm += work * ins * term.out_blocks / kernel.blocks
            gemm += spatial * channel * chunks * parts * phases * INSTRUCTION_CYCLES
        beats += again * spatial * term.blocks * area * load_beats(64, config.inp_bytes, config) / 64
        instructions += again * spatial * term.blocks * loads
    load = beats + instructions * LOAD_CYCLES
    compute = gemm + cells * spatial * kernel.blocks + spatial * channel * 10 * INSTRUCTION_CYCLES
    store = store_beat_cycles(config) * load_beats(
        kernel.blocks * kernel.height * kernel.width, config.out_bytes, config
    )
    tiles = spatial * channel
    single = (inp_slots < 2) | ((wgt_slots < 2) & (tiles > 1))
    serial = np.where(acc_slots == 1, store, store / tiles) + np.where(single, load, load / tiles)
    total: Column = np.maximum(np.maximum(compute, load), store) + serial + 0.02 * load
    return total
