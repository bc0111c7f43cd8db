"""Who is to blame, from what rank 0 has heard of every rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mpi_vta.runtime.faults.rank_position import RankPosition
from mpi_vta.runtime.faults.watchdog import DONE, WAITING

# for ending the job once a fault is found
ENDING_S = 4.0
PROCESS_OR_LINK = "process, host or link is gone"
AT_LAST = "; when last heard of"


@dataclass(frozen=True)
class Heard:
    """What was last heard of a rank.

    Attributes
    ----------
    at_s : float
        When.
    phase, what : str
        What it was at.
    waited_s : float
        For how long it had waited for a message by then.
    progress : int
        Counts what it has done.
    moved_s : float
        When `progress` was last seen to change.
    who : RankPosition
        Where it was.
    """

    at_s: float
    phase: str
    what: str
    waited_s: float
    progress: int
    moved_s: float
    who: RankPosition


@dataclass(frozen=True)
class Blame:
    """A fault: where, and what."""

    who: RankPosition
    text: str


def patience_s(limit_s: float) -> float:
    """Return how long a silence is borne, so that the job has ended within the limit."""
    return max(limit_s / 2, limit_s - ENDING_S)


def judge(heard: Mapping[int, Heard], now_s: float, patience: float, fault: Callable[[int], str]) -> Blame | None:
    """Return the fault, if there is one.

    Parameters
    ----------
    heard : mapping of int to Heard
        Of every rank, rank 0 too.
    now_s : float
        The time.
    patience : float
        Longest time in seconds in which no rank gets on.
    fault : callable
        Says why a rank is silent for too long; empty for one that is not.

    Notes
    -----
    A rank that works may take as long as it takes: it is silent only if its process, host or link is gone. If none
    works and none gets on, a message was lost on its way: then the one that is waited for longest is missing.
    """
    faults = {rank: why for rank in sorted(heard) if (why := fault(rank))}
    if faults:
        silent = list(faults)
        first = heard[silent[0]]
        others = f", nor from rank {', '.join(map(str, silent[1:]))}" if silent[1:] else ""
        return Blame(first.who, f"nothing heard for {now_s - first.at_s:.1f} s{others}: {faults[silent[0]]}")
    waiting = [entry for entry in heard.values() if entry.phase == WAITING]
    idle = all(entry.phase in (WAITING, DONE) for entry in heard.values())
    if waiting and idle and all(now_s - entry.moved_s > patience for entry in heard.values()):
        longest = max(waiting, key=lambda entry: entry.waited_s)
        return Blame(longest.who, f"waited more than {longest.waited_s:.1f} s for {longest.what}, and no rank gets on")
    return None
