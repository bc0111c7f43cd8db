"""Choice of a schedule: closed-form ranking, a recurrence over steps, then the simulator decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpi_vta.codegen.bias import BiasPlan
from mpi_vta.codegen.buffers import Slots, footprint, step_elements
from mpi_vta.codegen.emitter import Emitter
from mpi_vta.codegen.kernel import Kernel, Term
from mpi_vta.codegen.memory import Constants, Place
from mpi_vta.codegen.microops import place_uops
from mpi_vta.codegen.space import INSTRUCTION_CYCLES, LOAD_CYCLES, ranked
from mpi_vta.codegen.stream import Stream
from mpi_vta.codegen.tiling import Plane, TileStep, TileWindow, Tiling, load_beats, planes, steps, tiles, window
from mpi_vta.errors import CompileError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import Instruction, encode
from mpi_vta.simulator.bursts import store_beat_cycles
from mpi_vta.simulator.timing import simulate

RANKED = 96  # candidates that closed form hands to the recurrence
SIMULATED = 4  # candidates that the recurrence hands to the simulator

Key = tuple[object, ...]
_known: dict[Key, Tiling] = {}


def choose(kernel: Kernel, bias: BiasPlan, config: VTAConfig) -> Tiling:
    """Return the fastest schedule found; the same for every kernel of the same shape.

    Raises
    ------
    CompileError
        If nothing fits the buffers.
    """
    key = missing_key(kernel, bias, config)
    if key is not None:
        _known[key] = _search(kernel, bias, config)
    return _known[shape_key(kernel, bias, config)]


def missing_key(kernel: Kernel, bias: BiasPlan, config: VTAConfig) -> Key | None:
    """Return None if the schedule of such a kernel was found before, else what to tell such kernels by."""
    key = shape_key(kernel, bias, config)
    return None if key in _known else key


def remember(kernel: Kernel, bias: BiasPlan, config: VTAConfig, tiling: Tiling) -> None:
    """Keep a schedule that was found elsewhere."""
    _known[shape_key(kernel, bias, config)] = tiling


def shape_key(kernel: Kernel, bias: BiasPlan, config: VTAConfig) -> Key:
    """Return all that decides the time of a kernel's schedules, so that kernels of one shape share a search."""
    return (_shape(kernel), bias.taps, bias.acc_elements, config)


def _search(kernel: Kernel, bias: BiasPlan, config: VTAConfig) -> Tiling:
    legal = [t for t in ranked(kernel, bias, config, RANKED) if footprint(kernel, t, bias).fits(t, config)]
    if not legal:
        raise CompileError(
            f"no tiling of {kernel.blocks} x {kernel.height} x {kernel.width} blocks fits the buffers",
            where=kernel.name,
            remedy=f"use a VTA configuration with larger buffers than {config.name}",
        )
    legal.sort(key=lambda tiling: estimate(kernel, tiling, config))
    timed = [(simulated_cycles(kernel, tiling, bias, config), index) for index, tiling in enumerate(legal[:SIMULATED])]
    return legal[min(timed)[1]]


def _shape(kernel: Kernel) -> tuple[object, ...]:
    """Return all of a kernel that decides its time."""
    terms = tuple((term.shared, *(vars(term)[key] for key in _TERM_KEYS)) for term in kernel.terms)
    size = (kernel.blocks, kernel.height, kernel.width, kernel.acc_height, kernel.acc_width)
    return (terms, size, kernel.pool, kernel.epilogue, kernel.lift)


_TERM_KEYS = tuple(name for name in Term.__dataclass_fields__ if name not in ("value", "weights"))


def simulated_cycles(kernel: Kernel, tiling: Tiling, bias: BiasPlan, config: VTAConfig) -> int:
    """Return the cycles of the kernel alone in a program under profile `rtl`."""
    values = {term.value: term for term in kernel.terms}
    places, offset = {}, 0
    for name, term in values.items():
        places[name] = _place("in", offset, term.blocks, term.height, term.width)
        offset += places[name].elements
    places[kernel.output] = _place("out", offset, kernel.blocks, kernel.height, kernel.width)
    stream = Stream(config, offset + places[kernel.output].elements)
    stream.layer = 0
    blank = tuple(
        term if term.shared else replace(term, weights=np.zeros_like(term.weights[:1])) for term in kernel.terms
    )
    Emitter(replace(kernel, terms=blank), tiling, bias, places, Constants(config), stream).run()
    stream.finish()
    entries, _ = place_uops(stream.entries, config)
    insns = encode([Instruction(entry.opcode, entry.fields) for entry in entries], config)
    return simulate(config, insns).cycles


def _place(segment: str, offset: int, blocks: int, height: int, width: int) -> Place:
    return Place(segment, offset, blocks, height, width, offset, height * width, width)


def estimate(kernel: Kernel, tiling: Tiling, config: VTAConfig) -> float:
    """Return the time of a tiling in cycles by a recurrence over its steps.

    The three units advance in order; a slot is refilled only after its last use, a tile's accumulator
    only after its store.
    """
    inp, wgt = Slots(0, 1, tiling.inp_slots), Slots(0, 1, tiling.wgt_slots)
    inp_free, wgt_free = [0.0] * tiling.inp_slots, [0.0] * tiling.wgt_slots
    inp_ready, wgt_ready = list(inp_free), list(wgt_free)
    acc_free = [0.0] * tiling.acc_slots
    phases = kernel.pool.strides[0] * kernel.pool.strides[1]
    load = compute = store = 0.0
    lists: dict[tuple[int, ...], int] = {}
    boxes: dict[tuple[int, int], tuple[Plane, Plane, list[TileWindow]]] = {}
    parts: dict[int, list[TileStep]] = {}
    for number, tile in enumerate(tiles(kernel, tiling)):
        corner = (tile.rows.low, tile.cols.low)
        if corner not in boxes:
            y, x = planes(kernel, tile)
            boxes[corner] = (y, x, [window(term, y, x) for term in kernel.terms])
        y, x, windows = boxes[corner]
        if tile.blocks.low not in parts:
            parts[tile.blocks.low] = list(steps(kernel, tiling, tile))
        cells = tile.blocks.size * y.size * x.size * phases
        slot = number % tiling.acc_slots
        compute = max(compute, acc_free[slot]) + cells + INSTRUCTION_CYCLES
        for step in parts[tile.blocks.low]:
            term, win = kernel.terms[step.term], windows[step.term]
            inp_size, wgt_size = step_elements(kernel, step, win)
            position, ready = 0, 0.0
            if wgt_size:
                position, present = wgt.get((step.out_blocks, step.in_blocks))
                if not present:
                    load = max(load, wgt_free[position]) + LOAD_CYCLES + load_beats(wgt_size, config.wgt_bytes, config)
                    wgt_ready[position] = load
                ready = wgt_ready[position]
            spot, present = inp.get((term.value, step.in_blocks, win))
            if not present:
                load = max(load, inp_free[spot]) + LOAD_CYCLES * step.in_blocks.size
                load += load_beats(inp_size, config.inp_bytes, config)
                inp_ready[spot] = load
            reduction = term.taps * step.in_blocks.size // step.bands
            uops = step.out_blocks.size * y.valid.size * x.valid.size * reduction
            where = (slot, step.term, spot, position, step.out_blocks.low - tile.blocks.low, win.width)
            if where not in lists:
                lists[where] = step.out_blocks.size * reduction
                compute += lists[where] / 2
            compute = max(compute, inp_ready[spot], ready) + uops + INSTRUCTION_CYCLES * phases
            inp_free[spot] = compute
            if wgt_size:
                wgt_free[position] = compute
        compute += _alu_cycles(kernel, tile.blocks.size, tile.rows.size, tile.cols.size)
        out = tile.blocks.size * tile.rows.size * tile.cols.size
        store = (
            max(store, compute)
            + store_beat_cycles(config) * load_beats(out, config.out_bytes, config)
            + INSTRUCTION_CYCLES
        )
        acc_free[slot] = store
    return max(store, compute)


def _alu_cycles(kernel: Kernel, blocks: int, rows: int, cols: int) -> int:
    """Return the cycles of pooling, bias, channel shifts, clamps and epilogue on a tile."""
    end, pool = kernel.epilogue, kernel.pool
    bits = end.leaky[0].bit_count() if end.leaky else 0
    passes = [
        2 * (pool.kernel[1] - 1) * pool.strides[0] + 2 * (pool.kernel[0] - 1),
        0 if kernel.bias is None else 1,
        bool(end.rounding) + bool(end.shift) + (end.lo is not None) + (end.hi is not None),
        3 * bits + 3 if bits else 0,
        0 if kernel.channel_shift is None else 2,
        sum(term.clamp is not None for term in kernel.terms) + 3 * max(term.chain for term in kernel.terms),
    ]
    instructions = sum(bool(count) for count in passes) + (2 * bits + 2 if bits else 0) + 2
    return sum(passes) * blocks * rows * cols + INSTRUCTION_CYCLES * instructions
