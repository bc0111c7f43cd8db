"""How a failure ends the job: one line, from one rank, and no rank left waiting."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType, TracebackType

from mpi_vta.command_end import INTERNAL_STATUS, TRACEBACK_VARIABLE, error_line
from mpi_vta.errors import MpiVtaError, OutputLostError
from mpi_vta.runtime.faults.guardian import SIGNAL_STATUS
from mpi_vta.runtime.faults.process import Neighbour, ProcessId
from mpi_vta.runtime.faults.roll_call import RollCall
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.transport.protocol import Transport

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_GRACE_S = 3.0
# for files to be closed after a signal; then the job ends in any case
_UNWINDING_S = 15.0
_AGAIN_S = 0.05


class Ended(BaseException):
    """The batch system or the user wants the job to end; like KeyboardInterrupt nothing but `Ending` catches it."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"ended by {signal.Signals(number).name}")


def exit_status(fault: BaseException) -> int:
    """Return the status with which a process ends after `fault`."""
    if isinstance(fault, Ended):
        return SIGNAL_STATUS + fault.number
    return fault.exit_status if isinstance(fault, MpiVtaError) else INTERNAL_STATUS


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
    roll_call : RollCall
        Through which the fault is told; one that does nothing until `call_roll`.
    """

    def __init__(self, transport: Transport, watchdog: Watchdog) -> None:
        self._transport, self.watchdog = transport, watchdog
        self.roll_call = RollCall(transport, watchdog, 0)
        self._signalled = self._begun = False

    @classmethod
    def of(cls, transport: Transport) -> Ending:
        """Return one for a rank that nobody started as a process of its own."""
        return cls(transport, Watchdog(transport.rank, transport.host))

    def call_roll(self, limit_s: float, processes: Sequence[ProcessId]) -> None:
        """Begin a roll call of the ranks that have said which processes they are, by rank; see `RollCall`."""
        hosts = {rank: process.host for rank, process in enumerate(processes)}
        found = {rank: Neighbour.find(process) for rank, process in enumerate(processes)}
        neighbours = {rank: neighbour for rank, neighbour in found.items() if neighbour is not None}
        self.roll_call = RollCall(self._transport, self.watchdog, limit_s, hosts, neighbours)
        self.roll_call.start()

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
            if not self._signalled and not self._begun:
                self._signalled = True
                _later(_UNWINDING_S, lambda: self._end_unless_begun(number))
                raise Ended(number)

        def on_unraisable(what: sys.UnraisableHookArgs) -> None:
            if isinstance(what.exc_value, Ended):
                # it came where nothing can be raised, in a finaliser or a callback of native code: once more, elsewhere
                number, self._signalled = what.exc_value.number, False
                _later(_AGAIN_S, lambda: signal.pthread_kill(threading.main_thread().ident or 0, number))
            else:
                sys.__unraisablehook__(what)

        sys.excepthook = on_exception
        sys.unraisablehook = on_unraisable
        threading.excepthook = on_thread_exception
        for number in ENDING_SIGNALS:
            signal.signal(number, on_signal)

    def _end_unless_begun(self, number: int) -> None:
        """End the job on a signal of which native code has made nothing."""
        if not self._begun:
            self.end(Ended(number))

    def end(self, fault: BaseException) -> None:
        """End the job because of a fault; files were closed on the way here."""
        self._begun = True
        who, status = self.watchdog.position, exit_status(fault)
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exception(type(fault), fault, fault.__traceback__)
        if self.roll_call.told_to_end:
            # rank 0 has said why, and ends this process
            time.sleep(_GRACE_S)
            os._exit(status)
        if _is_consequence(fault) or (isinstance(fault, Ended) and self._transport.rank and not who.board):
            # whoever knows the cause says so within a moment, and ends the job
            time.sleep(_GRACE_S)
        if isinstance(fault, OutputLostError):
            # nothing is left to go on with
            who = replace(who, hint="")
        self.roll_call.report(error_line(fault, who.name) + who.circumstances, status)


def _later(after_s: float, what: Callable[[], None]) -> None:
    timer = threading.Timer(after_s, what)
    timer.daemon = True
    timer.start()


def _is_consequence(fault: BaseException) -> bool:
    """Tell whether MPI only says that another rank is gone."""
    return type(fault).__module__.partition(".")[0] == "mpi4py"


def abort_all_on_uncaught(transport: Transport) -> None:
    """Do what `Ending.install` does, for a command that runs no job."""
    Ending.of(transport).install()
