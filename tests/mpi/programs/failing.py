"""Rank 1 fails in the way named on the command line while the others wait for it."""

import sys
import threading

import numpy as np

from mpi_vta.errors import SimulationError
from mpi_vta.runtime.faults.failure import abort_all_on_uncaught
from mpi_vta.runtime.transport.mpi import MpiTransport
from mpi_vta.runtime.transport.protocol import wait


def fail():
    if sys.argv[1] == "fault":
        raise SimulationError("a rule is broken", where="insn 3")
    raise ValueError("a bug\nof two lines")


transport = MpiTransport()
abort_all_on_uncaught(transport)
if transport.rank == 1:
    if sys.argv[1] == "thread":
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    else:
        fail()
wait(transport.irecv(np.zeros(1, np.uint8), 1 - min(transport.rank, 1), 0))
