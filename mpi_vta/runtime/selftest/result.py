"""What the selftest found on one rank, as values that become JSON; nothing in them names a person, host or path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RIGHT, WRONG, HUNG, REFUSED = "right", "wrong", "hung", "refused"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class CaseResult:
    """One case.

    Attributes
    ----------
    name, shows : str
        As in `Case`.
    outcome : str
        ``right``, ``wrong``, ``hung`` or ``refused``.
    meaning : str
        What an outcome other than right means; empty otherwise.
    wrong_bytes, bytes : int
        Of the outputs of the launch that failed first, or of the last.
    modelled_cycles : int
        Of one launch by the timing model.
    measured_us : float or None
        Shortest launch by the board's own timer; None for a simulated device.
    """

    name: str
    shows: str
    outcome: str
    meaning: str
    wrong_bytes: int
    bytes: int
    modelled_cycles: int
    measured_us: float | None


@dataclass(frozen=True)
class RankResult:
    """One rank.

    Attributes
    ----------
    rank : int
        In the job.
    device : str
        As given to ``--device``.
    board : str
        Name of the board file.
    facts : dict
        Versions, build, bitstream, port, clocks, memory: what somebody far away needs to judge the rest.
    cases : tuple of CaseResult
        In the order they ran.
    measured_clock_mhz : float or None
        From the two long loops; None for a simulated device, or if they failed.
    faults : tuple of str
        What is wrong, each in one line with its meaning.
    """

    rank: int
    device: str
    board: str
    facts: dict[str, Any]
    cases: tuple[CaseResult, ...]
    measured_clock_mhz: float | None
    faults: tuple[str, ...]
