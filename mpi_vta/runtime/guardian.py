"""A small process between the launcher and a rank: if the rank is killed, one line says so, and where the rank was.

Nobody else can: a launcher ends all ranks as soon as it sees one die, before another rank has noticed. So the process
that the launcher started goes on as the guardian; the rank runs as its child and notes in shared memory what it is at.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from mpi_vta.runtime.notebook import NOTEBOOK_BYTES, Notebook

SIGNAL_STATUS = 128
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
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def guard(rank: int) -> Notebook | None:
    """Leave this process to a guardian and go on in a child of it.

    Parameters
    ----------
    rank : int
        As the launcher has told this process, before MPI is initialised.

    Returns
    -------
    Notebook or None
        For the rank to write in; None where the system has no memory files (other than Linux), and no guardian then.
    """
    if not hasattr(os, "memfd_create") or not sys.executable:
        return None
    memory = os.memfd_create("mpi_vta rank", 0)
    os.ftruncate(memory, NOTEBOOK_BYTES)
    sys.stdout.flush()
    sys.stderr.flush()
    # a signal that comes before there is somebody to answer it waits
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKED)
    launched = os.getpid()
    child = os.fork()
    if child:
        # a Python of its own: small, and no second rank in a list of processes
        words = [sys.executable, "-m", "mpi_vta.runtime.guardian", str(child), str(memory), str(rank)]
        os.execv(sys.executable, words)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != launched:
        os._exit(SIGNAL_STATUS + signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED)
    # behind the notebook: where Python was when native code crashed
    os.lseek(memory, NOTEBOOK_BYTES, os.SEEK_SET)
    faulthandler.enable(memory, all_threads=False)
    return Notebook(memory)


def last_words(notebook: Notebook, rank: int, number: int, place: str) -> str:
    """Return the line about a rank that was killed by signal `number`, where it crashed at `place`."""
    who, reason = notebook.whereabouts(rank), ""
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
    found = _PLACE.search(os.pread(memory, _MOST_PLACES, NOTEBOOK_BYTES).decode(errors="replace"))
    return f"{found[1]}:{found[2]}" if found else ""


def _is_in_mpi(place: str) -> bool:
    return place.rpartition(":")[0].endswith(_MPI_MODULE)


def main(arguments: Sequence[str]) -> NoReturn:
    """Hand signals on to the rank, wait for its end, and end the same way.

    Parameters
    ----------
    arguments : sequence of str
        Process and notebook of the rank, and its number.
    """
    child, memory, rank = map(int, arguments)

    def hand_on(number: int, frame: object) -> None:
        os.kill(child, number)

    for asked in ASKED:
        signal.signal(asked, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKED)
    # WNOWAIT: until its end was taken note of, no other process can have the rank's number
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    for asked in ASKED:
        signal.signal(asked, signal.SIG_DFL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    if number not in ASKED:
        place = _crash_place(memory)
        time.sleep(silence_s(rank, place))
        print(last_words(Notebook(memory), rank, number, place), file=sys.stderr, flush=True)
        time.sleep(_FORWARDING_S)
    # the launcher learns how the rank ended
    os.kill(os.getpid(), number)
    os._exit(SIGNAL_STATUS + number)


if __name__ == "__main__":
    main(sys.argv[1:])
