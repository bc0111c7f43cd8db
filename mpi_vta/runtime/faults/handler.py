"""What a rank does about a fault: the actions of its transition table."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mpi_vta.command_end import TRACEBACK_VARIABLE
from mpi_vta.runtime.faults.blame import ENDING_S
from mpi_vta.runtime.faults.transitions import RANK_TABLE, Action, Event, JobState, Machine, MainThread, State
from mpi_vta.runtime.transport.protocol import Transport
from mpi_vta.standard_output import say_error

# kinds of the small messages between ranks, beside the job's own
BEAT, FAULT, END, BYE = "beat", "fault", "end", "bye"
GRACE_S = 3.0
# for files to be closed after a signal; then the job ends in any case
_UNWINDING_S = 15.0
_AGAIN_S = 0.05
# for MPI to end all ranks; with the deputy's wait a host that is cut off is empty within the limit too
_ABORT_S = 2.0


class Ended(BaseException):
    """The batch system or the user wants the job to end; like KeyboardInterrupt nothing but `Ending` catches it."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"ended by {signal.Signals(number).name}")


@dataclass(frozen=True)
class Occurrence:
    """What an event is about.

    Attributes
    ----------
    line : str
        What there is to say.
    status : int
        With which the job ends.
    fault : BaseException or None
        The exception, if it is one of this rank.
    """

    line: str = ""
    status: int = 0
    fault: BaseException | None = None


class FaultHandler:
    """Moves one rank through its transition table.

    Parameters
    ----------
    transport : Transport
        Of all ranks.

    Attributes
    ----------
    rank_0_listens : callable or None
        Whether rank 0 can take a report, under a roll call of this rank; None without one.
    on_overdue : callable
        Takes a signal of which native code has made nothing, as an exception.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.rank_0_listens: Callable[[], bool] | None = None
        self.on_overdue: Callable[[BaseException], None] = lambda fault: None
        self._machine = Machine(
            RANK_TABLE,
            State(MainThread.AT_WORK, JobState.RUNNING),
            {
                Action.LIMIT_UNWINDING: lambda about: _later(_UNWINDING_S, lambda: self.handle(Event.OVERDUE, about)),
                Action.RAISE: _raise,
                Action.SIGNAL_AGAIN: lambda about: _later(_AGAIN_S, lambda: _signal_main(about)),
                Action.FAIL: lambda about: self.on_overdue(_ended(about)),
                Action.TRACE: _trace,
                Action.HOLD: lambda about: time.sleep(GRACE_S),
                Action.LEAVE: lambda about: os._exit(about.status),
                Action.REPORT: self._report,
                Action.TELL_RANK_0: lambda about: self.post(0, FAULT, line=about.line, status=about.status),
                Action.TAKE_OVER: lambda about: self.handle(Event.MUST_SPEAK, about),
                Action.SAY: lambda about: say_error(about.line),
                Action.LIMIT_ABORT: self._limit_abort,
                Action.ORDER_OTHERS: self._order_others,
                Action.ORDER_MAIN: _order_main,
                Action.ABORT: lambda about: self.transport.abort(about.status),
                Action.WAIT: lambda about: time.sleep(ENDING_S),
            },
        )

    @property
    def state(self) -> State:
        """Where the rank is in its table."""
        return self._machine.state

    def handle(self, event: Event, about: Occurrence) -> None:
        """Do what the table says; returns when that is done, if this process is still there."""
        self._machine.handle(event, about)

    def post(self, peer: int, kind: str, **content: Any) -> None:
        """Send a small message to a rank."""
        self.transport.post(json.dumps({"kind": kind, **content}).encode(), peer)

    def post_all(self, kind: str, **content: Any) -> None:
        """Send one from rank 0 to every other rank."""
        for peer in range(1, self.transport.size):
            self.post(peer, kind, **content)

    def _report(self, about: Occurrence) -> None:
        listens = self.transport.rank != 0 and self.rank_0_listens is not None and self.rank_0_listens()
        self.handle(Event.RANK_0_LISTENS if listens else Event.MUST_SPEAK, about)

    def _limit_abort(self, about: Occurrence) -> None:
        if self.rank_0_listens is not None:
            # Abort itself may block on a link that is cut
            timer = threading.Timer(_ABORT_S, os._exit, args=(about.status,))
            timer.daemon = True
            timer.start()

    def _order_others(self, about: Occurrence) -> None:
        if self.rank_0_listens is not None and self.transport.rank == 0:
            self.post_all(END)


def _ended(about: Occurrence) -> BaseException:
    assert about.fault is not None, "what comes of a signal tells which"
    return about.fault


def _raise(about: Occurrence) -> None:
    raise _ended(about)


def _signal_main(about: Occurrence) -> None:
    fault = about.fault
    number = fault.number if isinstance(fault, Ended) else signal.SIGTERM
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def _order_main(about: Occurrence) -> None:
    """Let the main thread close its files and wait, as if the batch system had asked for it."""
    if threading.current_thread() is not threading.main_thread():
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _trace(about: Occurrence) -> None:
    fault = about.fault
    if fault is not None and os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(type(fault), fault, fault.__traceback__)


def _later(after_s: float, what: Callable[[], None]) -> None:
    timer = threading.Timer(after_s, what)
    timer.daemon = True
    timer.start()
