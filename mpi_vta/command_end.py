"""How a command ends: with a status, and of a fault with one line."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from mpi_vta.errors import MpiVtaError
from mpi_vta.printable import printable
from mpi_vta.standard_output import reader_may_leave, say_error

INTERNAL_STATUS = 1
TRACEBACK_VARIABLE = "MPI_VTA_TRACEBACK"


def bug_line(fault: BaseException) -> str:
    """Return what is said about a fault that no user can mend, with its place in the code."""
    frames = traceback.extract_tb(fault.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    text = printable(" ".join(str(fault).split()))
    return f"internal error{place}: {type(fault).__name__}: {text}; set {TRACEBACK_VARIABLE}=1 for more"


def error_line(fault: BaseException, where: str = "", command: str = "mpi_vta") -> str:
    """Return the one line that is printed about a failure.

    A fault of the user's, and the wish that the command end, comes as it is; anything else is a bug, so the line
    names the place in the code.
    """
    is_bug = isinstance(fault, Exception) and not isinstance(fault, MpiVtaError)
    return f"{command}: error: {f'{where}: ' if where else ''}{bug_line(fault) if is_bug else fault}"


def print_error(fault: BaseException, where: str = "", command: str = "mpi_vta") -> None:
    """Print the line on stderr, after the traceback if the environment asks for it."""
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(type(fault), fault, fault.__traceback__)
    say_error(error_line(fault, where, command))


def status_of(command: Callable[[], int], name: str = "mpi_vta") -> int:
    """Run a command of one process; return its exit status, after one line about a fault.

    Parameters
    ----------
    command : callable
        Returns the status.
    name : str
        With which the line begins.
    """
    status = 0
    try:
        with reader_may_leave():
            status = command()
    except MpiVtaError as fault:
        print_error(fault, command=name)
        return fault.exit_status
    except Exception as fault:
        print_error(fault, command=name)
        return INTERNAL_STATUS
    return status
