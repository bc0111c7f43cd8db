"""What a VTA build takes of an FPGA: memories from their geometry, logic from a fit to the published build.

Memories follow VTA's own build scripts (TVM's vta-hw, ``hardware/xilinx/scripts/vivado.tcl``): inp, wgt and out
are true dual-port block memories with 8-bit byte enables in banks of at most 1024 bits; the accumulator is
loaded bus word by bus word into its wide elements, so it has byte enables too; three instruction queues hold
512 words of 128 bits, four token queues 1024 bytes. With byte enables the parity bits are of no use.

Logic is counted per multiplier and per lane; one constant each for LUTs and flip-flops, the part that does
not grow with the GEMM core, makes the published 1x16 build come out exactly. There is no second published
build with these figures, so the growth is an assumption, and its error grows with the distance from that build.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.parts import Fpga
from mpi_vta.hw.targets import load_target

BANK_BITS = 1024  # the tools allow no wider memory port
URAM_DEPTH, URAM_BYTES = 4096, 8  # 4K x 72, the parity byte unused

LUT_PER_LUT_MULTIPLIER = 70  # 8 x 8 bits without a DSP: four pairs of partial products, three adders
LUT_PER_MAC = 18  # one adder of 16 to 20 bits of the dot product's tree
LUT_PER_LANE = 300  # 32 bits of accumulator: compare, add, shift, and the multiplexers between them
LUT_FIXED = 11_372  # fitted: 23.3 k LUTs of the published build; fetch, load, store, DMA, interconnect
FF_PER_MAC = 24  # operand and product
FF_PER_LANE = 256  # eight stages of 32 bits
FF_FIXED = 14_760  # fitted: 25 k flip-flops of the published build

GROWTH_ERROR = 0.5
"""Assumed relative error of what a build's LUTs differ by from the published build's."""


@dataclass(frozen=True)
class OnChipMemory:
    """One on-chip memory: block RAMs of 36 Kb (halves are 18 Kb ones) and UltraRAMs."""

    name: str
    bram36: float
    uram: int = 0


@dataclass(frozen=True)
class Resources:
    """What a build takes of a part (modelled).

    Attributes
    ----------
    dsp : int
        DSP slices, one multiplier each.
    lut_multipliers : int
        Multipliers for which no DSP is left.
    memories : tuple of OnChipMemory
        Every memory.
    lut, lut_error, ff : int
        Look-up tables, how far their number may be off either way, and flip-flops.
    why_not : str or None
        Why the build does not fit; None if it does.
    doubt : str or None
        Why a build that fits may not: its LUTs are within their error of what there is.
    """

    dsp: int
    lut_multipliers: int
    memories: tuple[OnChipMemory, ...]
    lut: int
    lut_error: int
    ff: int
    why_not: str | None
    doubt: str | None

    @property
    def bram36(self) -> float:
        """Block RAMs of 36 Kb."""
        return sum(memory.bram36 for memory in self.memories)

    @property
    def uram(self) -> int:
        """UltraRAMs."""
        return sum(memory.uram for memory in self.memories)

    @property
    def fits(self) -> bool:
        """Whether the build fits the part, as far as the estimate goes."""
        return self.why_not is None


def estimate(config: VTAConfig, part: Fpga, clock_mhz: float) -> Resources:
    """Return what a legal build takes of a part, and whether it fits.

    Parameters
    ----------
    config : VTAConfig
        The build.
    part : Fpga
        The FPGA.
    clock_mhz : float
        Clock that is wanted. It changes no number; a clock beyond every source's does not fit.
    """
    macs, lanes = multipliers(config), config.batch * config.block
    dsp = min(macs, part.dsp)
    lut = _lut(macs - dsp, macs, lanes)
    lut_error = round(GROWTH_ERROR * abs(lut - PUBLISHED_LUT))
    ff = FF_FIXED + FF_PER_MAC * macs + FF_PER_LANE * lanes
    memories = _memories(config, part)
    bus_bits, inp_bits = load_target(part.target).bus_bits, config.inp_bytes * 8
    narrow = f"an inp element of {inp_bits} bits, VTA's HLS source moves bus words of {bus_bits}"
    why_not = why_no_fit(
        config,
        part,
        clock_mhz,
        memories,
        lut,
        ff,
        narrow=narrow if inp_bits < bus_bits else "",
        lut_use=f": {macs:,} multipliers, {part.dsp:,} DSPs",
    )
    doubt = None if why_not else lut_doubt(part, lut, lut_error)
    return Resources(dsp, macs - dsp, memories, lut, lut_error, ff, why_not, doubt)


def multipliers(config: VTAConfig) -> int:
    """Return the multipliers of the GEMM core: one int8 product per cycle each."""
    return config.batch * config.block * config.block


def _lut(lut_multipliers: int, macs: int, lanes: int) -> int:
    return LUT_FIXED + LUT_PER_LUT_MULTIPLIER * lut_multipliers + LUT_PER_MAC * macs + LUT_PER_LANE * lanes


PUBLISHED_LUT = _lut(256 - 220, 256, 16)
"""LUTs of the published build, 1x16 on an XC7Z020: the point to which the fit is tied."""


def why_no_fit(
    config: VTAConfig,
    part: Fpga,
    clock_mhz: float,
    memories: Sequence[OnChipMemory],
    lut: int,
    ff: int,
    *,
    narrow: str = "",
    lut_use: str = "",
) -> str | None:
    """Return why a build does not fit a part, None if it does.

    Parameters
    ----------
    config, part, clock_mhz
        As for `estimate`.
    memories : sequence of OnChipMemory
        Every memory of the build.
    lut, ff : int
        What its logic takes.
    narrow : str
        Why its elements are too narrow for the bus; empty if they are not.
    lut_use : str
        What most of the LUTs are for, said where they are too many.
    """
    reasons = []
    bus_bits = load_target(part.target).bus_bits
    if config.bus_bits != bus_bits:
        reasons.append(f"a memory bus of {config.bus_bits} bits, {part.name} has {bus_bits}")
    if narrow:
        reasons.append(narrow)
    bram36 = sum(memory.bram36 for memory in memories)
    if bram36 > part.bram36:
        largest = max(memories, key=lambda memory: memory.bram36)
        reasons.append(f"{bram36:g} BRAM36 of {part.bram36}, {largest.bram36:g} of them for {largest.name}")
    if lut > part.lut:
        reasons.append(f"{lut:,} LUTs of {part.lut:,}{lut_use}")
    if ff > part.ff:
        reasons.append(f"{ff:,} flip-flops of {part.ff:,}")
    if clock_mhz > part.fastest_mhz:
        reasons.append(f"no source for {clock_mhz:g} MHz on {part.name}, the highest is {part.fastest_mhz:g}")
    return "; ".join(reasons) or None


def lut_doubt(part: Fpga, lut: int, lut_error: int) -> str | None:
    """Return why a build that fits may not: its LUTs, give or take their error; None if it surely does."""
    return f"{lut:,} LUTs, give or take {lut_error:,}, of {part.lut:,}" if lut + lut_error > part.lut else None


def weight_buffer(part: Fpga, bram36: float, room: float, banks: int, uram_per_bank: int) -> OnChipMemory:
    """Return the weight buffer, as many of its banks in UltraRAM as block RAM is short of.

    Parameters
    ----------
    part : Fpga
        The FPGA.
    bram36, room : float
        Block RAMs of the whole buffer, and those that the other memories leave.
    banks, uram_per_bank : int
        Parts of the buffer that may lie in UltraRAM, and what each takes of it.
    """
    missing = ceil(max(0.0, bram36 - room) * banks / bram36) if bram36 else 0
    moved = min(missing, banks, part.uram // uram_per_bank)
    return OnChipMemory("wgt", bram36 * (banks - moved) / banks, moved * uram_per_bank)


def _memories(config: VTAConfig, part: Fpga) -> tuple[OnChipMemory, ...]:
    wgt = _bram36(config.wgt_bytes, config.wgt_depth)
    memories = [
        OnChipMemory("uop", _bram36(config.uop_bytes, config.uop_depth)),
        OnChipMemory("inp", _bram36(config.inp_bytes, config.inp_depth)),
        OnChipMemory("acc", _bram36(config.acc_bytes, config.acc_depth)),
        OnChipMemory("out", _bram36(config.out_bytes, config.acc_depth)),
        OnChipMemory("instruction queues", 3 * 2.0),  # 128 bits as two 512 x 72 each
        OnChipMemory("token queues", 4 * 0.5),
        OnChipMemory("DMA ports", _dma_bram36(config.bus_bits)),
    ]
    room = part.bram36 - sum(memory.bram36 for memory in memories)
    banks = max(1, config.wgt_bytes * 8 // BANK_BITS)
    uram_per_bank = -(-config.wgt_bytes // banks // URAM_BYTES) * -(-config.wgt_depth // URAM_DEPTH)
    return (weight_buffer(part, wgt, room, banks, uram_per_bank), *memories)


def _bram36(element_bytes: int, depth: int) -> float:
    """Return the block RAMs of a dual-port memory with byte enables: 18 Kb as 1K x 2 or 2K x 1 bytes."""
    if depth <= 1024:
        return -(-element_bytes // 2) / 2
    return element_bytes * -(-depth // 2048) / 2


def _dma_bram36(bus_bits: int) -> float:
    """Return the buffers of the DMA ports of load, compute (data and micro-ops) and store.

    Each holds bus words and two flags in 18 Kb blocks of 512 x 36. Fetch's port is left out: with it the
    published build would come out two block RAMs above its published number.
    """
    return (3 * -(-(bus_bits + 2) // 36) + 1) / 2
