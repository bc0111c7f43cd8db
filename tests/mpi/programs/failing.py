"""Rank 1 fails in the way named on the command line while the others wait for it."""

import sys
import threading

import numpy as np

from mpi_vta.errors import SimulationError
from mpi_vta.runtime.failure import abort_all_on_uncaught
from mpi_vta.runtime.transport.mpi import MpiTransport
from mpi_vta.runtime.transport.protocol import wait
from mpi_vta.runtime.watchdog import Watchdog


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
    elif sys.argv[1] != "silent":
        fail()
    wait(transport.irecv(np.zeros(1, np.uint8), 0, 0))
else:
    limit_s = 1.0 if sys.argv[1] == "silent" and transport.rank == 0 else 0.0
    with (
        Watchdog(limit_s, transport.rank, transport.host, transport.abort).running() as watchdog,
        watchdog.waiting("conv1 (stage 1 to sink), message 0 from rank 1"),
    ):
        wait(transport.irecv(np.zeros(1, np.uint8), 1, 0))
