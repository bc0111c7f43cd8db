"""How a failure ends the job: one line, from one rank, and no rank left waiting."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from types import TracebackType

from mpi_vta.errors import MpiVtaError
from mpi_vta.runtime.transport.protocol import Transport

INTERNAL_STATUS = 1
INTERRUPTED_STATUS = 130
TRACEBACK_VARIABLE = "MPI_VTA_TRACEBACK"


def error_line(fault: BaseException, where: str = "") -> str:
    """Return the one line that is printed about a failure.

    A fault of the user's comes as it is; anything else is a bug, so the line names the place in the code.
    """
    prefix = f"mpi_vta: error: {where}: " if where else "mpi_vta: error: "
    if isinstance(fault, MpiVtaError):
        return prefix + str(fault)
    if isinstance(fault, KeyboardInterrupt):
        return prefix + "interrupted"
    frames = traceback.extract_tb(fault.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    text = " ".join(str(fault).split())
    return f"{prefix}internal error{place}: {type(fault).__name__}: {text}; set {TRACEBACK_VARIABLE}=1 for more"


def exit_status(fault: BaseException) -> int:
    """Return the status with which a process ends after `fault`."""
    if isinstance(fault, KeyboardInterrupt):
        return INTERRUPTED_STATUS
    return fault.exit_status if isinstance(fault, MpiVtaError) else INTERNAL_STATUS


def print_error(fault: BaseException, where: str = "") -> None:
    """Print the line on stderr, after the traceback if the environment asks for it."""
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(type(fault), fault, fault.__traceback__)
    print(error_line(fault, where), file=sys.stderr, flush=True)


def abort_all_on_uncaught(transport: Transport) -> None:
    """Make an exception that nobody catches, in any thread of this rank, end every rank.

    Without this the other ranks would wait for ever for the one that is gone.
    """
    where = f"rank {transport.rank} on {transport.host}"

    def end(fault: BaseException) -> None:
        print_error(fault, where)
        transport.abort(exit_status(fault))

    def on_exception(kind: type[BaseException], fault: BaseException, at: TracebackType | None) -> None:
        end(fault)

    def on_thread_exception(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            end(args.exc_value)

    sys.excepthook = on_exception
    threading.excepthook = on_thread_exception
