"""How a failure of this rank, or a signal to it, becomes an event: the process's hooks."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType, TracebackType

from mpi_vta.command_end import INTERNAL_STATUS, error_line
from mpi_vta.errors import MpiVtaError, OutputLostError
from mpi_vta.runtime.faults.guardian import SIGNAL_STATUS
from mpi_vta.runtime.faults.handler import Ended, FaultHandler, Occurrence
from mpi_vta.runtime.faults.process import Neighbour, ProcessId
from mpi_vta.runtime.faults.roll_call import RollCall
from mpi_vta.runtime.faults.transitions import Event
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.transport.protocol import Transport

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
        Of this rank; one that does nothing until `call_roll`.
    """

    def __init__(self, transport: Transport, watchdog: Watchdog) -> None:
        self.watchdog, self._handler = watchdog, FaultHandler(transport)
        self._handler.on_overdue = self.end
        self._rank = transport.rank
        self.roll_call = RollCall(self._handler, watchdog, 0)

    @classmethod
    def of(cls, transport: Transport) -> Ending:
        """Return one for a rank that nobody started as a process of its own."""
        return cls(transport, Watchdog(transport.rank, transport.host))

    def call_roll(self, limit_s: float, processes: Sequence[ProcessId]) -> None:
        """Begin a roll call of the ranks that have said which processes they are, by rank; see `RollCall`."""
        hosts = {rank: process.host for rank, process in enumerate(processes)}
        found = {rank: Neighbour.find(process) for rank, process in enumerate(processes)}
        neighbours = {rank: neighbour for rank, neighbour in found.items() if neighbour is not None}
        self.roll_call = RollCall(self._handler, self.watchdog, limit_s, hosts, neighbours)
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
            self._handler.handle(Event.SIGNAL, Occurrence(fault=Ended(number)))

        def on_unraisable(what: sys.UnraisableHookArgs) -> None:
            if isinstance(what.exc_value, Ended):
                # it came where nothing can be raised, in a finaliser or a callback of native code: once more, elsewhere
                self._handler.handle(Event.SIGNAL_LOST, Occurrence(fault=what.exc_value))
            else:
                sys.__unraisablehook__(what)

        sys.excepthook = on_exception
        sys.unraisablehook = on_unraisable
        threading.excepthook = on_thread_exception
        for number in ENDING_SIGNALS:
            signal.signal(number, on_signal)

    def end(self, fault: BaseException) -> None:
        """End the job because of a fault; files were closed on the way here."""
        who = self.watchdog.position
        early = isinstance(fault, Ended) and self._rank and not who.board
        if isinstance(fault, OutputLostError):
            # nothing is left to go on with
            who = replace(who, hint="")
        about = Occurrence(error_line(fault, who.name) + who.circumstances, exit_status(fault), fault)
        self._handler.handle(Event.CONSEQUENCE if early or _is_consequence(fault) else Event.FAULT, about)


def _is_consequence(fault: BaseException) -> bool:
    """Tell whether MPI only says that another rank is gone."""
    return type(fault).__module__.partition(".")[0] == "mpi4py"


def abort_all_on_uncaught(transport: Transport) -> None:
    """Do what `Ending.install` does, for a command that runs no job."""
    Ending.of(transport).install()
