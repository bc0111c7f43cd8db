"""A vector run on the simulator and compared with what it expects; a vector made from a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.config import VTAConfig
from mpi_vta.simulator.checks import check_program
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.timing import RTL, Timing, TimingProfile, simulate
from mpi_vta.simulator.vectors import Extent, Vector

AGREED = "mpi_vta"


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
    outputs: Sequence[tuple[int, int]],
) -> Vector:
    """Run a program and record what it leaves as expected.

    Parameters
    ----------
    config : VTAConfig
        The build.
    insns : ndarray of uint64, shape (n, 2)
        Instructions with absolute addresses.
    initial : sequence of Extent
        DRAM before the run; all else is 0.
    outputs : sequence of (int, int)
        Byte address and size of what is to be compared.
    """
    blank = tuple(Extent(address, np.zeros(size, dtype=np.uint8)) for address, size in outputs)
    image = Vector(config, insns, tuple(initial), blank).image()
    Executable(config, insns, image).run(image)
    expected = tuple(Extent(address, image[address : address + size].copy()) for address, size in outputs)
    return Vector(config, insns, tuple(initial), expected, agreed=AGREED)
