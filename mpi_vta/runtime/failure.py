"""How a failure ends the job: one line, from one rank, and no rank left waiting."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from types import FrameType, TracebackType

from mpi_vta.errors import MpiVtaError
from mpi_vta.runtime.guardian import SIGNAL_STATUS
from mpi_vta.runtime.roll_call import RollCall
from mpi_vta.runtime.transport.protocol import Transport
from mpi_vta.runtime.watchdog import Watchdog

INTERNAL_STATUS = 1
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_GRACE_S = 3.0
TRACEBACK_VARIABLE = "MPI_VTA_TRACEBACK"


class Ended(BaseException):
    """The batch system or the user wants the job to end; like KeyboardInterrupt nothing but `Ending` catches it."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"ended by {signal.Signals(number).name}")


def error_line(fault: BaseException, where: str = "") -> str:
    """Return the one line that is printed about a failure.

    A fault of the user's comes as it is; anything else is a bug, so the line names the place in the code.
    """
    prefix = f"mpi_vta: error: {where}: " if where else "mpi_vta: error: "
    if isinstance(fault, MpiVtaError):
        return prefix + str(fault)
    if isinstance(fault, Ended):
        return prefix + str(fault)
    frames = traceback.extract_tb(fault.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    text = " ".join(str(fault).split())
    return f"{prefix}internal error{place}: {type(fault).__name__}: {text}; set {TRACEBACK_VARIABLE}=1 for more"


def exit_status(fault: BaseException) -> int:
    """Return the status with which a process ends after `fault`."""
    if isinstance(fault, Ended):
        return SIGNAL_STATUS + fault.number
    return fault.exit_status if isinstance(fault, MpiVtaError) else INTERNAL_STATUS


def print_error(fault: BaseException, where: str = "") -> None:
    """Print the line on stderr, after the traceback if the environment asks for it."""
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(type(fault), fault, fault.__traceback__)
    print(error_line(fault, where), file=sys.stderr, flush=True)


class Ending:
    """How a fault of this rank, or a signal to it, ends the job: one line, and no rank left waiting.

    Parameters
    ----------
    transport : Transport
        Of all ranks.
    watchdog : Watchdog
        What this rank is at.

    Attributes
    ----------
    watchdog : Watchdog
        As given.
    roll_call : RollCall or None
        Through which the fault is told while a job runs.
    """

    def __init__(self, transport: Transport, watchdog: Watchdog) -> None:
        self._transport, self.watchdog = transport, watchdog
        self.roll_call: RollCall | None = None
        self._begun = False

    @classmethod
    def of(cls, transport: Transport) -> Ending:
        """Return one for a rank that nobody started as a process of its own."""
        return cls(transport, Watchdog(transport.rank, transport.host))

    def call_roll(self, limit_s: float) -> RollCall:
        """Begin a roll call; see `RollCall`."""
        self.roll_call = RollCall(self._transport, self.watchdog, limit_s)
        self.roll_call.start()
        return self.roll_call

    def install(self) -> None:
        """Make an exception that nobody catches, in any thread, and the signals that end jobs, end every rank.

        Without this the other ranks would wait for ever for the one that is gone.
        """

        def on_exception(kind: type[BaseException], fault: BaseException, at: TracebackType | None) -> None:
            self.end(fault)

        def on_thread_exception(args: threading.ExceptHookArgs) -> None:
            if args.exc_value is not None:
                self.end(args.exc_value)

        def on_signal(number: int, frame: FrameType | None) -> None:
            if not self._begun:
                self._begun = True
                raise Ended(number)

        sys.excepthook = on_exception
        threading.excepthook = on_thread_exception
        for number in ENDING_SIGNALS:
            signal.signal(number, on_signal)

    def end(self, fault: BaseException) -> None:
        """End the job because of a fault; files were closed on the way here."""
        self._begun = True
        who, status = self.watchdog.whereabouts, exit_status(fault)
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exception(type(fault), fault, fault.__traceback__)
        if self.roll_call is not None and self.roll_call.told_to_end:
            # rank 0 has said why, and ends this process
            time.sleep(_GRACE_S)
            os._exit(status)
        if _is_consequence(fault) or (isinstance(fault, Ended) and self.roll_call is None and self._transport.rank):
            # whoever knows the cause says so within a moment, and ends the job
            time.sleep(_GRACE_S)
        line = error_line(fault, who.name) + who.circumstances
        if self.roll_call is not None:
            self.roll_call.report(line, status)
            return
        print(line, file=sys.stderr, flush=True)
        self._transport.abort(status)


def _is_consequence(fault: BaseException) -> bool:
    """Tell whether MPI only says that another rank is gone."""
    return type(fault).__module__.partition(".")[0] == "mpi4py"


def abort_all_on_uncaught(transport: Transport) -> None:
    """Do what `Ending.install` does, for a command that runs no job."""
    Ending.of(transport).install()
