"""A small process between the launcher and a rank: if the rank is killed, one line says so, and where the rank was.

Nobody else can: a launcher ends all ranks as soon as it sees one die, before another rank has noticed. So the process
that the launcher started goes on as the guardian; the rank runs as its child and notes in shared memory what it is at.
The guardian also ends a rank that stays stopped, at whatever it was, and one whose launcher is gone, with all that the
rank has started. Until MPI has begun it looks at the launcher's other processes too: they may have no guardian yet.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from mpi_vta.child_process import end_with
from mpi_vta.runtime.faults.attended_clock import AttendedClock
from mpi_vta.runtime.faults.launch_watch import GUARDIAN, Absence, LaunchWatch
from mpi_vta.runtime.faults.pairing import find_launcher
from mpi_vta.runtime.faults.process import PROC, status_of
from mpi_vta.runtime.faults.rank_position import RankPosition
from mpi_vta.runtime.faults.rank_state import RANK_STATE_BYTES, RankState
from mpi_vta.runtime.faults.transitions import GUARDIAN_TABLE, Deed, Machine, Sight, Watch
from mpi_vta.standard_output import say_error

if TYPE_CHECKING:
    from mpi_vta.runtime.transport.mpi import MpiTransport

SIGNAL_STATUS = 128
# seconds within which a fault has ended a job, unless somebody says otherwise
WATCHDOG_S = 10.0
# what a batch system or a user sends to end a job: the rank answers it itself, or it is not worth a line
ASKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# a launcher that ends the job ends this process too, within this time
_LAUNCHER_S = 0.1
# MPI itself may crash when another rank is gone: that rank's guardian has the word first, then the lowest rank's
_IN_MPI_S, _IN_MPI_RANK_S, _IN_MPI_LONGEST_S = 2.0, 1.0, 7.0
_MPI_MODULE = "transport/mpi.py"
_PLACE = re.compile(r'File "([^"]+)", line (\d+) in')
_MOST_PLACES = 1 << 16
# in which the line reaches the terminal; rank 0 takes longer to miss the rank, unless the watchdog is set below 2 s
_FORWARDING_S = 0.8
_LOOK_S = 0.4
# the other ranks notice one that is stopped a little earlier, and close their files
_STOPPED_S = 1.0
# for a rank without a launcher to close its files
_CLOSING_S = 5.0
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER


def begin_mpi(limit_s: float = WATCHDOG_S) -> tuple[MpiTransport, RankState | None]:
    """Let MPI begin in this process, under a launcher in a child of it that is guarded; see `guard`.

    Returns
    -------
    MpiTransport
        Of all ranks.
    RankState or None
        As `guard` returns it; None without a launcher.
    """
    launcher = find_launcher(os.environ)
    # before: MPI's connections belong to the process that makes them
    state = guard(launcher.rank, limit_s) if launcher else None
    from mpi_vta.runtime.transport.mpi import MpiTransport

    transport = MpiTransport()
    if state is not None:
        state.begin()
    return transport, state


def guard(rank: int, limit_s: float) -> RankState | None:
    """Leave this process to a guardian and go on in a child of it.

    Parameters
    ----------
    rank : int
        As the launcher has told this process, before MPI is initialised.
    limit_s : float
        For how long the rank may be stopped; 0 for no limit.

    Returns
    -------
    RankState or None
        For the rank to write in; None where the system has no memory files (other than Linux), and no guardian then.
    """
    if not hasattr(os, "memfd_create") or not sys.executable:
        return None
    memory = os.memfd_create("mpi_vta rank", 0)
    os.ftruncate(memory, RANK_STATE_BYTES)
    sys.stdout.flush()
    sys.stderr.flush()
    # a signal that comes before there is somebody to answer it waits
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKED)
    launched, launcher = os.getpid(), os.getppid()
    child = os.fork()
    if child:
        # a Python of its own: small, and no second rank in a list of processes
        about = [str(number) for number in (launcher, child, memory, rank, limit_s)]
        os.execv(sys.executable, [sys.executable, "-m", GUARDIAN, *about])
    end_with(launched)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED)
    # behind the state of the rank: where Python was when native code crashed
    os.lseek(memory, RANK_STATE_BYTES, os.SEEK_SET)
    faulthandler.enable(memory, all_threads=False)
    return RankState(memory)


def last_words(state: RankState, rank: int, number: int, place: str) -> str:
    """Return the line about a rank that was killed by signal `number`, where it crashed at `place`."""
    who, reason = state.position(rank), ""
    if number == signal.SIGKILL:
        reason = ", by hand or for want of memory"
    elif place:
        reason = " in MPI, as when another rank is gone" if _is_in_mpi(place) else f" at {place}"
    return who.line(f"killed by {signal.Signals(number).name}{reason}")


def silence_s(rank: int, place: str) -> float:
    """Return how long a rank's guardian lets others speak first, by the place of the crash."""
    if not _is_in_mpi(place):
        return _LAUNCHER_S
    return min(_IN_MPI_S + rank * _IN_MPI_RANK_S, _IN_MPI_LONGEST_S)


def _crash_place(memory: int) -> str:
    """Return file and line at which a rank's native code crashed; empty if it did not."""
    found = _PLACE.search(os.pread(memory, _MOST_PLACES, RANK_STATE_BYTES).decode(errors="replace"))
    return f"{found[1]}:{found[2]}" if found else ""


def _is_in_mpi(place: str) -> bool:
    return place.rpartition(":")[0].endswith(_MPI_MODULE)


class StopWatch:
    """For how long a rank has been stopped.

    Parameters
    ----------
    child : int
        Process of the rank.
    limit_s : float
        For how long it may be; 0 for no limit.
    """

    def __init__(self, child: int, limit_s: float) -> None:
        self._child, self._limit_s = child, limit_s
        self._attended = AttendedClock()
        self._since_s: float | None = None

    def overdue_s(self) -> float:
        """Return for how long it has been stopped, if that is too long, else 0; to be called again and again."""
        now_s, status = self._attended.now_s(), status_of(self._child)
        if status is None or status.state != "T":
            self._since_s = None
            return 0.0
        if self._since_s is None:
            self._since_s = now_s
        stopped_s = now_s - self._since_s
        return stopped_s if self._limit_s and stopped_s > self._limit_s + _STOPPED_S else 0.0


@dataclass(frozen=True)
class Seen:
    """What a guardian has seen, besides what its table has a word for.

    Attributes
    ----------
    line : str
        What there is to say.
    absent : int
        Process that keeps MPI from beginning; 0 for none that can be seen.
    """

    line: str = ""
    absent: int = 0


class Guardian:
    """Looks at one rank, and moves through the guardian's transition table.

    Parameters
    ----------
    launcher, child : int
        Process of the launcher, and of the rank.
    memory : int
        File descriptor of the rank's state.
    rank : int
        Its number.
    limit_s : float
        For how long it may be stopped; 0 for no limit.
    """

    def __init__(self, launcher: int, child: int, memory: int, rank: int, limit_s: float) -> None:
        self._launcher, self._child, self._memory, self._rank = launcher, child, memory, rank
        self._state, self._status = RankState(memory), 0
        self._watch = StopWatch(child, limit_s)
        self._launch = LaunchWatch(launcher, os.getpid(), limit_s, os.environ)
        self._machine = Machine(
            GUARDIAN_TABLE,
            Watch.WATCHING,
            {
                Deed.CLOSE_RANK: lambda seen: _end_without_launcher(child),
                Deed.KILL_ABSENT: _kill_absent,
                Deed.SAY: lambda seen: say_error(seen.line),
                Deed.KILL_RANK: lambda seen: os.kill(child, signal.SIGKILL),
                Deed.SIGNALS_OFF: lambda seen: _set_signals(signal.SIG_DFL),
                Deed.CLEAR: self._clear,
                Deed.JUDGE: self._judge,
                Deed.LET_OTHERS_SPEAK: lambda seen: time.sleep(silence_s(rank, _crash_place(memory))),
                Deed.LET_PASS: lambda seen: time.sleep(_FORWARDING_S),
                Deed.EXIT_ALIKE: lambda seen: os._exit(os.WEXITSTATUS(self._status)),
                Deed.DIE_ALIKE: lambda seen: _die(os.WTERMSIG(self._status)),
                Deed.DIE: lambda seen: _die(signal.SIGKILL),
            },
        )

    def stand_by(self) -> None:
        """Hand signals on to the rank, wait for its end, and end the same way; does not return."""

        def hand_on(number: int, frame: object) -> None:
            os.kill(self._child, number)

        _set_signals(hand_on)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED)
        while not _has_ended(self._child):
            self._look()
            signal.sigtimedwait((signal.SIGCHLD,), _LOOK_S)
        self._machine.handle(Sight.ENDED, Seen())

    def _look(self) -> None:
        if os.getppid() != self._launcher:
            self._machine.handle(Sight.LAUNCHER_GONE, Seen())
        elif stopped_s := self._watch.overdue_s():
            line = self._state.position(self._rank).line(f"was stopped (SIGSTOP) for {stopped_s:.1f} s")
            self._machine.handle(Sight.STOPPED, Seen(line))
        elif not self._state.mpi_has_begun and (absence := self._launch.absence()):
            self._machine.handle(Sight.ABSENT, Seen(_absent_line(absence), absence.pid))

    def _clear(self, seen: Seen) -> None:
        self._status = _end_orphans(self._child)

    def _judge(self, seen: Seen) -> None:
        if os.WIFEXITED(self._status):
            self._machine.handle(Sight.EXITED, seen)
            return
        number = os.WTERMSIG(self._status)
        if number in ASKED or os.getppid() != self._launcher:
            self._machine.handle(Sight.ASKED, seen)
            return
        line = last_words(self._state, self._rank, number, _crash_place(self._memory))
        self._machine.handle(Sight.KILLED, Seen(line))


def main(arguments: Sequence[str]) -> None:
    """Be the guardian of a rank, until its end.

    Parameters
    ----------
    arguments : sequence of str
        Process of the launcher; process and state of the rank, its number, and for how many seconds it may be
        stopped.
    """
    launcher, child, memory, rank = map(int, arguments[:4])
    ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1)
    Guardian(launcher, child, memory, rank, float(arguments[4])).stand_by()


def _has_ended(child: int) -> bool:
    # WNOWAIT: until its end was taken note of, no other process can have the rank's number
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _set_signals(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    for asked in ASKED:
        signal.signal(asked, handler)


def _absent_line(absence: Absence) -> str:
    if absence.rank < 0:
        return f"mpi_vta: error: a rank on {socket.gethostname()}: {absence.text}"
    return RankPosition(absence.rank, socket.gethostname()).line(absence.text)


def _kill_absent(seen: Seen) -> None:
    if seen.absent:
        os.kill(seen.absent, signal.SIGKILL)


def _end_without_launcher(child: int) -> None:
    """End a rank whose launcher is gone: it closes its files if it can."""
    os.kill(child, signal.SIGTERM)
    until_s = time.monotonic() + _CLOSING_S
    while not _has_ended(child):
        if time.monotonic() > until_s:
            os.kill(child, signal.SIGKILL)
        signal.sigtimedwait((signal.SIGCHLD,), _LOOK_S)


def _end_orphans(child: int) -> int:
    """Take note of the end of the rank, and end what it had started; return the rank's status."""
    _, status = os.waitpid(child, 0)
    children = PROC / "self/task" / str(os.getpid()) / "children"
    with suppress(OSError):
        while orphans := children.read_text().split():
            for orphan in map(int, orphans):
                os.kill(orphan, signal.SIGKILL)
                os.waitpid(orphan, 0)
    return status


def _die(number: int) -> None:
    """End by a signal; with its status, should it be ignored here."""
    os.kill(os.getpid(), number)
    os._exit(SIGNAL_STATUS + number)


if __name__ == "__main__":
    main(sys.argv[1:])
