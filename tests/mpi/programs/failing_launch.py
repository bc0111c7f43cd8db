"""The main job with a simulated board on rank 1 that breaks, or hangs, at its third launch."""

import os
import sys
import time

from mpi_vta import pipeline
from mpi_vta.errors import SimulationError
from mpi_vta.runtime.devices import sim
from mpi_vta.runtime.transport.mpi import MPI

launches = 0
original = sim.SimProgram.run


def run(self, inputs):
    global launches
    launches += 1
    if MPI.COMM_WORLD.rank == 1 and launches == 3:
        if os.environ["BOARD"] == "hangs":
            time.sleep(3600)
        raise SimulationError("the board broke", where="launch 3")
    return original(self, inputs)


sim.SimProgram.run = run
sys.exit(pipeline.main(sys.argv[1:]))
