"""What this project's own core (`mpi_vta.gateware`) takes of an FPGA: memories from geometry, logic from yosys' counts.

Memories are the buffers and the instruction queues, mapped as yosys maps them: to the block RAMs of the one aspect
ratio that are fewest. Of the logic the adder trees and the operand registers are exact; one constant and one count per
lane of the datapath each are fitted to the cores of ``benchmarks/core_counts.json`` by ``benchmarks/resource_fit.py``.
The counts are of parts synthesised by themselves, before place and route.
"""

from __future__ import annotations

from math import ceil

from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.multipliers import multipliers_for
from mpi_vta.hw.parts import Fpga
from mpi_vta.hw.resources import URAM_DEPTH, OnChipMemory, Resources, lut_doubt, weight_buffer, why_no_fit

LUT_FIXED, LUT_PER_LANE = 3_948, 782
FF_FIXED, FF_PER_LANE = 3_131, 166
LUT_PER_PAIR, FF_PER_PAIR = 104, 82
"""Of two products without a DSP slice: counted, 1x4 with all and with none of them in slices."""
LUT_ERROR = 0.1
"""Relative error that is granted to the LUTs of a core that was not counted."""

_QUEUES, _QUEUE_BITS, _QUEUE_DEPTH = 3, 129, 512
_SMALLEST_BLOCK_RAM_DEPTH = 65  # up to 64 elements are distributed memory
_PRODUCT_BITS = 16
# width by depth of a block RAM's aspect ratios
_RAMB36 = {512: 72, 1024: 36, 2048: 18, 4096: 9, 8192: 4, 16384: 2, 32768: 1}
_RAMB18 = {512: 36, 1024: 18, 2048: 9, 4096: 4, 8192: 2, 16384: 1}
_URAM_WIDTH = 72
# a primitive of four look-up tables holds 64 x 3 bits
_DISTRIBUTED_BITS, _DISTRIBUTED_LUTS = 3, 4


def estimate_core(config: VTAConfig, part: Fpga, clock_mhz: float) -> Resources:
    """Return what a legal build takes of a part as this project's own core, and whether it fits (modelled).

    Parameters
    ----------
    config : VTAConfig
        The build.
    part : Fpga
        The FPGA.
    clock_mhz : float
        Clock that is wanted. It changes no number; a clock beyond every source's does not fit.
    """
    made = multipliers_for(config, part.dsp)
    lanes = config.batch * config.block
    lut = LUT_FIXED + LUT_PER_LANE * lanes + LUT_PER_PAIR * made.luts + exact_lut(config)
    ff = FF_FIXED + FF_PER_LANE * lanes + FF_PER_PAIR * made.luts + exact_ff(config)
    memories = _memories(config, part)
    why_not = why_no_fit(config, part, clock_mhz, memories, lut, ff)
    lut_error = round(LUT_ERROR * lut)
    doubt = None if why_not else lut_doubt(part, lut, lut_error)
    return Resources(made.packed, 2 * made.luts, memories, lut, lut_error, ff, why_not, doubt)


def exact_lut(config: VTAConfig) -> int:
    """Return the LUTs of the adder trees, and of an accumulator that is too small for block RAM."""
    levels = range(1, config.log_block + 1)
    tree = sum((config.block >> level) * (_PRODUCT_BITS - 1 + level) for level in levels)
    distributed = 0
    if _distributed(config):
        width = min(config.bus_bits, 8 * config.acc_bytes)
        words = 2 * max(1, 8 * config.acc_bytes // config.bus_bits)
        distributed = words * _DISTRIBUTED_LUTS * ceil(width / _DISTRIBUTED_BITS)
    return config.batch * config.block * tree + distributed


def exact_ff(config: VTAConfig) -> int:
    """Return the flip-flops of the weights' operands, of the adder trees, and of a small accumulator's outputs."""
    levels = config.log_block
    # registered half way up and at the top
    tree = sum((config.block >> level) * (_PRODUCT_BITS + level) for level in {levels // 2, levels})
    outputs = 16 * config.acc_bytes if _distributed(config) else 0
    return 8 * config.block**2 + config.batch * config.block * tree + outputs


def _distributed(config: VTAConfig) -> bool:
    """Whether the two banks of the accumulator are too small for block RAM."""
    return config.acc_depth // 2 < _SMALLEST_BLOCK_RAM_DEPTH


def bram36(width: int, depth: int) -> float:
    """Return the block RAMs of 36 Kb of a simple dual-port memory, halves being 18 Kb ones; 0 if it is too small."""
    if depth < _SMALLEST_BLOCK_RAM_DEPTH:
        return 0.0
    whole = min(-(-width // bits) * -(-depth // words) for words, bits in _RAMB36.items())
    halves = min(-(-width // bits) * -(-depth // words) for words, bits in _RAMB18.items())
    return min(float(whole), halves / 2)


def _memories(config: VTAConfig, part: Fpga) -> tuple[OnChipMemory, ...]:
    bus = config.bus_bits

    def lanes(element_bytes: int, depth: int) -> float:
        bits = 8 * element_bytes
        return max(1, bits // bus) * bram36(min(bits, bus), depth)

    uops_per_word = bus // (8 * config.uop_bytes)
    memories = [
        OnChipMemory("uop", uops_per_word * bram36(8 * config.uop_bytes, config.uop_depth // uops_per_word)),
        OnChipMemory("inp", lanes(config.inp_bytes, config.inp_depth)),
        OnChipMemory("acc", 2 * lanes(config.acc_bytes, config.acc_depth // 2)),
        OnChipMemory("out", bram36(8 * config.out_bytes, config.acc_depth)),
        OnChipMemory("instruction queues", _QUEUES * bram36(_QUEUE_BITS, _QUEUE_DEPTH)),
    ]
    room = part.bram36 - sum(memory.bram36 for memory in memories)
    wgt_bits = 8 * config.wgt_bytes
    uram_per_lane = -(-min(wgt_bits, bus) // _URAM_WIDTH) * -(-config.wgt_depth // URAM_DEPTH)
    wgt = lanes(config.wgt_bytes, config.wgt_depth)
    return (weight_buffer(part, wgt, room, max(1, wgt_bits // bus), uram_per_lane), *memories)
