"""A command, but on rank RANK that does what WAY says while Python still starts."""

import os
import signal
import sys

if os.environ["PMI_RANK"] == os.environ["RANK"]:
    if os.environ["WAY"] == "import":
        import no_such_module  # noqa: F401
    os.kill(os.getpid(), signal.SIGSTOP)

from importlib import import_module

sys.exit(import_module(f"mpi_vta.{sys.argv[1]}").main(sys.argv[2:]))
