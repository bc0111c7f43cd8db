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
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from mpi_vta.child_process import end_with
from mpi_vta.runtime.faults.attended_clock import AttendedClock
from mpi_vta.runtime.faults.launch_watch import GUARDIAN, Absence, LaunchWatch
from mpi_vta.runtime.faults.pairing import find_launcher
from mpi_vta.runtime.faults.process import PROC, status_of
from mpi_vta.runtime.faults.rank_position import RankPosition
from mpi_vta.runtime.faults.rank_state import RANK_STATE_BYTES, RankState
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


def main(arguments: Sequence[str]) -> NoReturn:
    """Hand signals on to the rank, wait for its end, and end the same way.

    Parameters
    ----------
    arguments : sequence of str
        Process of the launcher; process and state of the rank, its number, and for how many seconds it may be
        stopped.
    """
    launcher, child, memory, rank = map(int, arguments[:4])
    limit_s, state = float(arguments[4]), RankState(memory)
    ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1)

    def hand_on(number: int, frame: object) -> None:
        os.kill(child, number)

    for asked in ASKED:
        signal.signal(asked, hand_on)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED)
    watch, launch = StopWatch(child, limit_s), LaunchWatch(launcher, os.getpid(), limit_s, os.environ)
    while not _has_ended(child):
        if os.getppid() != launcher:
            _end_without_launcher(child)
        elif stopped_s := watch.overdue_s():
            _end_job(child, state.position(rank).line(f"was stopped (SIGSTOP) for {stopped_s:.1f} s"))
        elif not state.mpi_has_begun and (absence := launch.absence()):
            if absence.pid:
                os.kill(absence.pid, signal.SIGKILL)
            _end_job(child, _absent_line(absence))
        signal.sigtimedwait((signal.SIGCHLD,), _LOOK_S)
    for asked in ASKED:
        signal.signal(asked, signal.SIG_DFL)
    status = _end_orphans(child)
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    if number not in ASKED and os.getppid() == launcher:
        place = _crash_place(memory)
        time.sleep(silence_s(rank, place))
        say_error(last_words(state, rank, number, place))
        time.sleep(_FORWARDING_S)
    # the launcher learns how the rank ended
    os.kill(os.getpid(), number)
    os._exit(SIGNAL_STATUS + number)


def _has_ended(child: int) -> bool:
    # WNOWAIT: until its end was taken note of, no other process can have the rank's number
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _absent_line(absence: Absence) -> str:
    if absence.rank < 0:
        return f"mpi_vta: error: a rank on {socket.gethostname()}: {absence.text}"
    return RankPosition(absence.rank, socket.gethostname()).line(absence.text)


def _end_job(child: int, line: str) -> None:
    """End a job whose ranks cannot: say why, end the rank, and let the launcher see an end that it cannot overlook."""
    say_error(line)
    os.kill(child, signal.SIGKILL)
    _end_orphans(child)
    time.sleep(_FORWARDING_S)
    os.kill(os.getpid(), signal.SIGKILL)


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


if __name__ == "__main__":
    main(sys.argv[1:])
