"""The main job with a simulated board on rank RANK that at launch LAUNCH does what WAY says."""

import os
import resource
import signal
import sys
import time

from mpi_vta import pipeline
from mpi_vta.errors import SimulationError
from mpi_vta.runtime.devices import registry
from mpi_vta.runtime.devices.sim import SimDevice, SimProgram
from mpi_vta.trace import writer

WAY, RANK, LAUNCH = os.environ["WAY"], os.environ["RANK"], int(os.environ["LAUNCH"])


class FaultyProgram(SimProgram):
    launches = 0

    def run(self, inputs):
        FaultyProgram.launches += 1
        if FaultyProgram.launches == LAUNCH:
            self.fail()
        return super().run(inputs)

    def fail(self):
        if WAY == "hang":
            time.sleep(3600)
        if WAY == "raise":
            raise SimulationError("the board broke", where="a launch")
        if WAY == "full":
            # the kernel refuses to make any file longer, as a full disk does, and every event is written at once
            writer.FLUSH_INTERVAL_S = 0.0
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return
        # SIGKILL, SIGSEGV, SIGSTOP, SIGTERM to this process, as a crash or an operator sends it
        os.kill(os.getpid(), signal.Signals[WAY])
        # a signal that is handled arrives at once, before anything else is done
        time.sleep(0)


class FaultyDevice(SimDevice):
    def load(self, program):
        return FaultyProgram(program)


if os.environ["PMI_RANK"] == RANK:
    sys.modules["faulty_device"] = sys.modules["__main__"]
    registry._DEVICES = {**registry._DEVICES, "sim": ("faulty_device", "FaultyDevice", "a board with a fault")}
sys.exit(pipeline.main(sys.argv[1:]))
