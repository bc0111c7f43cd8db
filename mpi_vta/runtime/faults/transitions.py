"""What becomes of a fault, as data: for each state and event the next state and what is done, in order.

`RANK_TABLE` is the table of a rank, `GUARDIAN_TABLE` that of the small process between a rank and its launcher; the
page on both is the docstring of `mpi_vta.runtime.faults`. A `Machine` executes a table: it moves on first, so that of
two threads with the same event one acts and the other finds the next state, then does the actions, which may take time
or make events.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from itertools import product
from typing import Generic, NamedTuple, TypeVar


class MainThread(Enum):
    """What the main thread of a rank is at."""

    AT_WORK = auto()
    """The job."""
    CLOSING = auto()
    """A signal has come: files are closed on the way out."""
    REPORTING = auto()
    """A fault of this rank is known, and files are closed."""


class JobState(Enum):
    """How far a rank knows that the job has to end."""

    RUNNING = auto()
    """It has not."""
    ORDERED = auto()
    """Rank 0 has said so."""
    SPEAKING = auto()
    """This rank itself says the one line, and ends all ranks."""


class State(NamedTuple):
    """State of a rank."""

    main: MainThread
    job: JobState


class Event(Enum):
    """What can happen to a rank."""

    SIGNAL = auto()
    """SIGTERM or SIGINT, in the main thread."""
    SIGNAL_LOST = auto()
    """It came where Python can raise nothing."""
    OVERDUE = auto()
    """Long after a signal this process is still there."""
    FAULT = auto()
    """Nobody has caught an exception."""
    CONSEQUENCE = auto()
    """The same, and another rank knows the cause: MPI fails, or a signal was sent to all before there was a job."""
    FOUND = auto()
    """The roll call misses a rank, or a launch here hangs."""
    RANK_0_LISTENS = auto()
    """There is a report to make, and rank 0 can take it."""
    MUST_SPEAK = auto()
    """There is a report to make and nobody above: this is rank 0 (it may be another's report), or rank 0 is silent."""
    ORDER = auto()
    """Rank 0 says that the job ends."""


class Action(Enum):
    """What a rank does about it."""

    LIMIT_UNWINDING = auto()
    """Make OVERDUE, later."""
    RAISE = auto()
    """Let the main thread close its files, by an exception."""
    SIGNAL_AGAIN = auto()
    """Send the signal once more, a moment later."""
    FAIL = auto()
    """Take the signal for an exception that nobody has caught."""
    TRACE = auto()
    """Print the traceback, if it is asked for."""
    HOLD = auto()
    """Wait for a grace in which rank 0 ends this process."""
    LEAVE = auto()
    """End this process."""
    REPORT = auto()
    """Make RANK_0_LISTENS or MUST_SPEAK, whichever is so."""
    TELL_RANK_0 = auto()
    """Send the report."""
    TAKE_OVER = auto()
    """Rank 0 did nothing with it: make MUST_SPEAK."""
    SAY = auto()
    """Print the line."""
    LIMIT_ABORT = auto()
    """Let this process end soon though MPI's Abort may block, under a roll call."""
    ORDER_OTHERS = auto()
    """Tell all ranks that the job ends, at rank 0 under a roll call."""
    ORDER_MAIN = auto()
    """Send SIGTERM to the main thread, from another one."""
    ABORT = auto()
    """Let MPI end all ranks."""
    WAIT = auto()
    """Another thread of this rank is at it: wait for the end."""


class Watch(Enum):
    """State of a guardian."""

    WATCHING = auto()
    """The rank is there."""
    CLEARING = auto()
    """It has ended, and what it had started is ended."""
    OVER = auto()
    """So does the guardian."""


class Sight(Enum):
    """What a guardian can see."""

    LAUNCHER_GONE = auto()
    """The launcher's process on this host is."""
    STOPPED = auto()
    """The rank is, by SIGSTOP, for too long."""
    ABSENT = auto()
    """Another rank does not come, and MPI has not begun."""
    ENDED = auto()
    """The rank has, however."""
    EXITED = auto()
    """It has ended with a status of its own."""
    ASKED = auto()
    """It was ended by a signal that says enough, or there is no launcher to read a line."""
    KILLED = auto()
    """It was ended by another signal."""


class Deed(Enum):
    """What a guardian does about it."""

    CLOSE_RANK = auto()
    """End the rank by SIGTERM, and by SIGKILL if it takes long."""
    KILL_ABSENT = auto()
    """End the process that keeps MPI from beginning."""
    SAY = auto()
    """Print the line."""
    KILL_RANK = auto()
    """End the rank."""
    SIGNALS_OFF = auto()
    """Hand no more signals on to it."""
    CLEAR = auto()
    """Take note of its end, and end what it had started."""
    JUDGE = auto()
    """Make EXITED, ASKED or KILLED, whichever is so."""
    LET_OTHERS_SPEAK = auto()
    """Wait: another guardian may know more, and a launcher that ends the job ends this process too."""
    LET_PASS = auto()
    """Wait until the line has reached the terminal."""
    EXIT_ALIKE = auto()
    """Exit with the rank's status."""
    DIE_ALIKE = auto()
    """End by the rank's signal, so that the launcher learns of it."""
    DIE = auto()
    """End by SIGKILL: an end that no launcher overlooks."""


StateT = TypeVar("StateT")
EventT = TypeVar("EventT")
ActionT = TypeVar("ActionT")
AboutT = TypeVar("AboutT")


class Row(NamedTuple):
    """A line of a rank's table, for several states: None for the next part of a state leaves it as it is."""

    main: tuple[MainThread, ...]
    job: tuple[JobState, ...]
    event: Event
    next_main: MainThread | None
    next_job: JobState | None
    actions: tuple[Action, ...]


_ANY_MAIN, _ANY_JOB = tuple(MainThread), tuple(JobState)
_W, _C, _R = MainThread.AT_WORK, MainThread.CLOSING, MainThread.REPORTING
_RUNNING, _ORDERED, _SPEAKING = JobState.RUNNING, JobState.ORDERED, JobState.SPEAKING
_ALONE = (Action.TRACE, Action.HOLD, Action.LEAVE)
_SPEAK = (Action.SAY, Action.LIMIT_ABORT, Action.ORDER_OTHERS, Action.ORDER_MAIN, Action.ABORT)

RANK_ROWS = (
    # signals: the first one closes the files
    Row((_W,), _ANY_JOB, Event.SIGNAL, _C, None, (Action.LIMIT_UNWINDING, Action.RAISE)),
    Row((_C, _R), _ANY_JOB, Event.SIGNAL, None, None, ()),
    Row((_W, _C), _ANY_JOB, Event.SIGNAL_LOST, _W, None, (Action.SIGNAL_AGAIN,)),
    Row((_R,), _ANY_JOB, Event.SIGNAL_LOST, None, None, ()),
    Row((_W, _C), _ANY_JOB, Event.OVERDUE, None, None, (Action.FAIL,)),
    Row((_R,), _ANY_JOB, Event.OVERDUE, None, None, ()),
    # a fault of this rank is told, unless the job ends already
    Row(_ANY_MAIN, (_RUNNING,), Event.FAULT, _R, None, (Action.TRACE, Action.REPORT)),
    Row(_ANY_MAIN, (_RUNNING,), Event.CONSEQUENCE, _R, None, (Action.TRACE, Action.HOLD, Action.REPORT)),
    Row(_ANY_MAIN, (_ORDERED,), Event.FAULT, _R, None, _ALONE),
    Row(_ANY_MAIN, (_ORDERED,), Event.CONSEQUENCE, _R, None, _ALONE),
    Row((_W, _C), (_SPEAKING,), Event.FAULT, _R, None, _ALONE),
    Row((_W, _C), (_SPEAKING,), Event.CONSEQUENCE, _R, None, _ALONE),
    Row((_R,), (_SPEAKING,), Event.FAULT, None, None, (Action.TRACE, Action.WAIT)),
    Row((_R,), (_SPEAKING,), Event.CONSEQUENCE, None, None, (Action.TRACE, Action.WAIT)),
    # so is one of others
    Row(_ANY_MAIN, _ANY_JOB, Event.FOUND, None, None, (Action.REPORT,)),
    # one rank speaks, once
    Row(_ANY_MAIN, _ANY_JOB, Event.RANK_0_LISTENS, None, None, (Action.TELL_RANK_0, Action.HOLD, Action.TAKE_OVER)),
    Row(_ANY_MAIN, (_RUNNING, _ORDERED), Event.MUST_SPEAK, None, _SPEAKING, _SPEAK),
    Row(_ANY_MAIN, (_SPEAKING,), Event.MUST_SPEAK, None, None, (Action.WAIT,)),
    # the others close their files
    Row(_ANY_MAIN, (_RUNNING,), Event.ORDER, None, _ORDERED, (Action.ORDER_MAIN,)),
    Row(_ANY_MAIN, (_ORDERED, _SPEAKING), Event.ORDER, None, None, (Action.ORDER_MAIN,)),
)

Table = Mapping[tuple[StateT, EventT], tuple[StateT, tuple[ActionT, ...]]]


def expanded(rows: Iterable[Row]) -> Table[State, Event, Action]:
    """Return the table that rows stand for, each state by itself.

    Raises
    ------
    ValueError
        If two rows say what one event does in one state.
    """
    table: dict[tuple[State, Event], tuple[State, tuple[Action, ...]]] = {}
    for row in rows:
        for main, job in product(row.main, row.job):
            state = State(main, job)
            if (state, row.event) in table:
                raise ValueError(f"{state} and {row.event} stand in two rows")
            table[state, row.event] = (State(row.next_main or main, row.next_job or job), row.actions)
    return table


RANK_TABLE: Table[State, Event, Action] = expanded(RANK_ROWS)

_END_JOB = (Deed.SAY, Deed.KILL_RANK, Deed.CLEAR, Deed.LET_PASS, Deed.DIE)

GUARDIAN_TABLE: Table[Watch, Sight, Deed] = {
    (Watch.WATCHING, Sight.LAUNCHER_GONE): (Watch.WATCHING, (Deed.CLOSE_RANK,)),
    (Watch.WATCHING, Sight.STOPPED): (Watch.OVER, _END_JOB),
    (Watch.WATCHING, Sight.ABSENT): (Watch.OVER, (Deed.KILL_ABSENT, *_END_JOB)),
    (Watch.WATCHING, Sight.ENDED): (Watch.CLEARING, (Deed.SIGNALS_OFF, Deed.CLEAR, Deed.JUDGE)),
    (Watch.CLEARING, Sight.EXITED): (Watch.OVER, (Deed.EXIT_ALIKE,)),
    (Watch.CLEARING, Sight.ASKED): (Watch.OVER, (Deed.DIE_ALIKE,)),
    (Watch.CLEARING, Sight.KILLED): (Watch.OVER, (Deed.LET_OTHERS_SPEAK, Deed.SAY, Deed.LET_PASS, Deed.DIE_ALIKE)),
}


class Machine(Generic[StateT, EventT, ActionT, AboutT]):
    """Executes a table.

    Parameters
    ----------
    table : Table
        What happens.
    state : object
        The first one.
    actions : mapping of object to callable
        How each action is done; called with what the event is about.
    """

    def __init__(
        self,
        table: Table[StateT, EventT, ActionT],
        state: StateT,
        actions: Mapping[ActionT, Callable[[AboutT], None]],
    ) -> None:
        self._table, self.state, self._actions = table, state, actions
        # a signal may come while its own thread is in here
        self._lock = threading.RLock()

    def handle(self, event: EventT, about: AboutT) -> None:
        """Move on to the next state, then do what the table says, in this thread."""
        with self._lock:
            self.state, actions = self._table[self.state, event]
        for action in actions:
            self._actions[action](about)
