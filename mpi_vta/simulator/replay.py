"""A vector run on the simulator and compared with what it expects; a vector made from a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import InputError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import decode_columns
from mpi_vta.isa.table import MemoryType, Opcode
from mpi_vta.simulator.checks import check_program
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.timing import RTL, Timing, TimingProfile, simulate
from mpi_vta.simulator.vectors import Extent, Vector

AGREED = "mpi_vta"
# what VTA's Chisel source holds unless it is built otherwise; beyond it computes wrong bits and says nothing
CHISEL_MICRO_OPS = 2048
MERGED_GAP_BYTES = 64  # two numbers describe a run


@dataclass(frozen=True, eq=False)
class Replay:
    """What came of a vector.

    Attributes
    ----------
    mismatched_bytes : int
        Expected bytes that came out otherwise.
    timing : Timing
        Modelled times.
    expected_cycles : int
        Cycles that the RTL took, -1 if unknown.
    """

    mismatched_bytes: int
    timing: Timing
    expected_cycles: int

    @property
    def match(self) -> bool:
        """Whether every expected byte came out."""
        return self.mismatched_bytes == 0

    def summary(self) -> Mapping[str, Any]:
        """Return what scripts read."""
        return {
            "match": self.match,
            "mismatched_bytes": self.mismatched_bytes,
            "cycles": self.timing.cycles,
            "expected_cycles": self.expected_cycles,
        }


def replay(vector: Vector, *, check: bool = False, profile: TimingProfile = RTL) -> Replay:
    """Run a vector's program and compare the DRAM that it leaves.

    Parameters
    ----------
    vector : Vector
        Program, initial and expected DRAM.
    check : bool
        Check the portable subset and races first.
    profile : TimingProfile
        Constants of the timing model.

    Raises
    ------
    SimulationError
        If the program cannot be run, or fails the check.
    InputError
        If it reaches beyond the DRAM that can be modelled.
    """
    image = vector.image()
    if check:
        check_program(vector.config, vector.insns, image)
    timing = simulate(vector.config, vector.insns, profile)
    Executable(vector.config, vector.insns, image).run(image)
    return Replay(vector.mismatched_bytes(image), timing, vector.rtl_cycles)


def make_vector(
    config: VTAConfig,
    insns: NDArray[np.uint64],
    initial: Sequence[Extent],
    outputs: Sequence[tuple[int, int]] | None,
) -> Vector:
    """Run a program and record what it leaves as expected, and its modelled cycles.

    Parameters
    ----------
    config : VTAConfig
        The build.
    insns : ndarray of uint64, shape (n, 2)
        Instructions with absolute addresses.
    initial : sequence of Extent
        DRAM before the run; all else is 0.
    outputs : sequence of (int, int), or None
        Byte address and size of what is to be compared; None for every byte that the program changes.
    """
    blank = tuple(Extent(address, np.zeros(size, dtype=np.uint8)) for address, size in outputs or ())
    before = Vector(config, insns, tuple(initial), blank).image()
    image = before.copy()
    Executable(config, insns, image).run(image)
    compared = _changed(before, image) if outputs is None else outputs
    expected = tuple(Extent(address, image[address : address + size].copy()) for address, size in compared)
    cycles = simulate(config, insns).cycles
    return Vector(config, insns, tuple(initial), expected, agreed=AGREED, modelled_cycles=cycles)


def _changed(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return address and size of the runs of bytes that differ, those with few equal bytes between them as one."""
    places = np.flatnonzero(before != after)
    if not places.size:
        return []
    breaks = np.flatnonzero(np.diff(places) > MERGED_GAP_BYTES)
    firsts = places[np.concatenate([[0], breaks + 1])]
    lasts = places[np.concatenate([breaks, [places.size - 1]])]
    return [(int(first), int(last - first + 1)) for first, last in zip(firsts, lasts, strict=True)]


def record(vector: Vector, oracle: str, cycles: int | None, dram: NDArray[np.uint8] | None) -> Vector:
    """Return a vector with what another model of VTA made of it.

    Parameters
    ----------
    vector : Vector
        What the oracle ran.
    oracle : str
        Its name, for ``agreed``.
    cycles : int or None
        Cycles from launch to FINISH.
    dram : ndarray of uint8, or None
        The DRAM that it left, from byte 0 on.

    Raises
    ------
    InputError
        If the DRAM is too short or does not hold every expected byte: nothing is to be recorded then.
    """
    if dram is not None:
        needed = max((extent.end for extent in vector.expected), default=0)
        if dram.size < needed:
            raise InputError(f"it holds {dram.size} bytes", where="--dram", allowed=f"{needed} or more, from byte 0 on")
        wrong = vector.mismatched_bytes(dram)
        if wrong:
            raise InputError(
                f"{wrong} of the expected bytes are others in what {oracle} left",
                where="--dram",
                remedy="find out which model is wrong; nothing was recorded",
            )
        names = [name for name in vector.agreed.split(",") if name]
        vector = replace(vector, agreed=",".join(dict.fromkeys((*names, oracle))))
    return vector if cycles is None else replace(vector, rtl_cycles=cycles)


def most_micro_ops(config: VTAConfig, insns: NDArray[np.uint64]) -> int:
    """Return how many places of the micro-op buffer a program fills."""
    columns = decode_columns(insns, config)
    loads = (columns["opcode"] == Opcode.LOAD) & (columns["memory_type"] == MemoryType.UOP)
    return int((columns["sram_base"] + columns["x_size"])[loads].max(initial=0))
