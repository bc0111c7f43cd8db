"""A board without data: launches take their modelled cycles and compute nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.runtime.devices.protocol import Buffers, DeviceSetup
from mpi_vta.runtime.devices.sim import time_launch


class TimedProgram:
    """The cycles of one program."""

    launch_ns = None

    def __init__(self, program: Program) -> None:
        self.cycles, self.profile = time_launch(program)

    def run(self, inputs: Buffers) -> dict[str, NDArray[np.uint8]]:
        """Compute nothing; the runtime adds the cycles to the rank's clock."""
        return {}


class TimingDevice:
    """A VTA of which only the time is modelled."""

    name = "timing"
    carries_data = False
    simulated = True

    def __init__(self, setup: DeviceSetup) -> None:
        """Take a setup as every device does; a simulated one has no hardware to set up."""

    def load(self, program: Program) -> TimedProgram:
        """Time the program once."""
        return TimedProgram(program)
