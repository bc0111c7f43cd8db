"""Processes seen from outside, by what Linux tells of them: is one still there, and does it get on?"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
STOPPED, GONE, HANGS = "the process is stopped (SIGSTOP)", "the process is gone", "the process hangs"
_BOOT_ID = PROC / "sys/kernel/random/boot_id"
_ENDED_STATES = "ZXx"
# in the text behind the name, which may itself hold spaces and brackets
_STATE, _PARENT, _USER_TICKS, _SYSTEM_TICKS, _START_TICKS = 0, 1, 11, 12, 19


@dataclass(frozen=True)
class Status:
    """What `/proc/PID/stat` says.

    Attributes
    ----------
    state : str
        One letter: R runs or would, S sleeps, D waits for a disk, T is stopped, Z has ended.
    parent : int
        Process number.
    used_ticks, start_ticks : int
        Processor time of all threads, and when it started, in the kernel's ticks.
    """

    state: str
    parent: int
    used_ticks: int
    start_ticks: int


def status_of(pid: int) -> Status | None:
    """Return the status of a process, None if there is none or this system does not tell."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    words = text.rpartition(")")[2].split()
    used = int(words[_USER_TICKS]) + int(words[_SYSTEM_TICKS])
    return Status(words[_STATE], int(words[_PARENT]), used, int(words[_START_TICKS]))


@dataclass(frozen=True)
class ProcessId:
    """A process that is no other's, on any host.

    Attributes
    ----------
    host : str
        Its name.
    space : str
        Start of the system, and the spaces in which its process numbers and its network addresses count; empty where
        they are not known. A process behind another network may be cut off and get on all the same.
    pid, start_ticks : int
        Number, and when it started: a number may be another process's later.
    """

    host: str
    space: str
    pid: int
    start_ticks: int

    @classmethod
    def own(cls) -> ProcessId:
        """Return this process."""
        status = status_of(os.getpid())
        return cls(socket.gethostname(), _space(), os.getpid(), status.start_ticks if status else 0)


def _space() -> str:
    try:
        spaces = (os.stat(f"/proc/self/ns/{kind}").st_ino for kind in ("pid", "net"))
        return "/".join((_BOOT_ID.read_text().strip(), *map(str, spaces)))
    except OSError:
        return ""


class Neighbour:
    """Another rank's process on this host.

    Parameters
    ----------
    process : ProcessId
        Which.
    look : callable
        Tells the status of a process number.
    """

    def __init__(self, process: ProcessId, look: Callable[[int], Status | None] = status_of) -> None:
        self._process, self._look = process, look
        self._used_ticks, self._moved_s = -1, 0.0

    @classmethod
    def find(cls, process: ProcessId) -> Neighbour | None:
        """Return a process as a neighbour; None if it is on another host, or cannot be seen from here."""
        status = status_of(process.pid) if process.space and process.space == _space() else None
        return cls(process) if status is not None and status.start_ticks == process.start_ticks else None

    def fault(self, now_s: float, patience_s: float) -> str:
        """Say what is wrong with the process; empty if it gets on, or waits for a processor.

        Parameters
        ----------
        now_s : float
            The time.
        patience_s : float
            For how many seconds it may use no processor time; counted from the first look.
        """
        status = self._look(self._process.pid)
        if status is None or status.start_ticks != self._process.start_ticks or status.state in _ENDED_STATES:
            return GONE
        if status.state == "T":
            return STOPPED
        if status.state == "R" or status.used_ticks != self._used_ticks:
            self._used_ticks, self._moved_s = status.used_ticks, now_s
        return HANGS if now_s - self._moved_s > patience_s else ""
