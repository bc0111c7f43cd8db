"""What a launcher has started on this host, looked at until MPI has begun: nobody else names who does not come.

A rank without a guardian yet, while Python starts, may be stopped, or end by itself on an import that fails; then the
others would wait in MPI's own start for ever, and a launcher such as Hydra with them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mpi_vta.runtime.faults.attended_clock import AttendedClock
from mpi_vta.runtime.faults.pairing import Launcher, find_launcher
from mpi_vta.runtime.faults.process import PROC, status_of

GUARDIAN = "mpi_vta.runtime.faults.guardian"
# Hydra's word for the number of ranks on this host; other launchers end the job themselves when one ends early
_HOST_RANKS = "MPI_LOCALNRANKS"
# the first guardian of a host speaks; the others later, if it is gone too
_NEXT_S = 5.0
# many ranks that start together are not to spend that time on looks
_LOOK_S_PER_RANK = 0.025
# so many times the limit for all hosts to begin; the lowest rank says so
_BEGINNING, _RANK_S, _MOST_RANKS = 30, 1.0, 30


@dataclass(frozen=True)
class Absence:
    """A rank that does not come.

    Attributes
    ----------
    rank : int
        Its number; -1 if that is not known.
    text : str
        What is wrong with it.
    pid : int
        Its process, if it is still there, else 0.
    """

    rank: int
    text: str
    pid: int = 0


class LaunchWatch:
    """What one guardian sees of the launch that it is part of.

    Parameters
    ----------
    launcher, own : int
        Process of the launcher on this host, and that of the guardian, a child of it.
    limit_s : float
        For how long another process may be stopped or missing; 0 for no limit.
    environ : mapping of str to str
        In which the launcher has told the guardian's rank and how many there are.
    """

    def __init__(self, launcher: int, own: int, limit_s: float, environ: Mapping[str, str]) -> None:
        self._launcher, self._own, self._limit_s = launcher, own, limit_s
        # a script between launcher and rank has been told the rank, too: its children are no other ranks
        self._sees_others = _told(launcher) is None
        told = find_launcher(environ)
        self._rank, self._size = (told.rank, told.size) if told else (0, 1)
        host_ranks = environ.get(_HOST_RANKS, "")
        self._host_ranks = int(host_ranks) if host_ranks.isdecimal() else 0
        self._attended, self._next_look_s = AttendedClock(), 0.0
        self._guarded: dict[int, int] = {}
        self._since_s: dict[int, float] = {}

    def absence(self) -> Absence | None:
        """Return who keeps MPI from beginning for too long; to be called again and again until it has begun."""
        now_s = self._attended.now_s()
        if not self._limit_s or now_s < self._next_look_s:
            return None
        self._next_look_s = now_s + self._host_ranks * _LOOK_S_PER_RANK
        children = self._children()
        if self._sees_others and self._own in children:
            found, stopped = self._look_at(children)
            missing = [-1] if len(found) < self._host_ranks else []
            if missing and self._host_ranks == self._size:
                missing = sorted(set(range(self._size)) - found)
            self._since_s = {rank: self._since_s.get(rank, now_s) for rank in (*stopped, *missing)}
            patience_s = self._limit_s + (_NEXT_S if min(self._guarded, default=self._own) < self._own else 0.0)
            for rank, since_s in self._since_s.items():
                if now_s - since_s > patience_s and rank in stopped:
                    return Absence(rank, f"was stopped (SIGSTOP) for {now_s - since_s:.1f} s", stopped[rank])
                if now_s - since_s > patience_s:
                    return Absence(rank, "its process ended before MPI had begun; what it printed says why")
        if now_s > _BEGINNING * self._limit_s + _RANK_S * min(self._rank, _MOST_RANKS):
            who = "a rank on another host has ended, is stopped or was never started"
            return Absence(self._rank, f"MPI has not begun for {now_s:.0f} s: {who}")
        return None

    def _children(self) -> set[int]:
        tasks = (PROC / str(self._launcher) / "task").glob("*/children")
        return {int(word) for path in tasks for word in _read(path).split()}

    def _look_at(self, children: set[int]) -> tuple[set[int], dict[int, int]]:
        """Return the ranks that are there, and the process of each that is stopped and has no guardian."""
        # whoever has one needs no more looks
        self._guarded = {pid: rank for pid, rank in self._guarded.items() if pid in children}
        found, stopped = set(self._guarded.values()), {}
        for pid in children - set(self._guarded):
            told, status = _told(pid), status_of(pid)
            if told is None or status is None:
                continue
            found.add(told.rank)
            if GUARDIAN in _read(PROC / str(pid) / "cmdline").split("\0"):
                self._guarded[pid] = told.rank
            elif status.state == "T":
                stopped[told.rank] = pid
        return found, stopped


def _told(pid: int) -> Launcher | None:
    """Return what a launcher has told a process."""
    return find_launcher(dict(word.partition("=")[::2] for word in _read(PROC / str(pid) / "environ").split("\0")))


def _read(path: Path) -> str:
    """Return what /proc says; nothing about a process that is gone or another user's."""
    try:
        return os.fsdecode(path.read_bytes())
    except OSError:
        return ""
