"""What a trace file holds: names, dtypes and version. `docs/trace_format.md` describes it for readers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import numpy as np

VERSION = 1
NO_PEER = -1
NO_IMAGE = -1


class EventKind(IntEnum):
    """What a rank did between two times."""

    LAUNCH = 0
    HOST = 1
    SEND = 2
    RECEIVE = 3


EVENT_DTYPE = np.dtype(
    [
        ("start_ns", "<i8"),
        ("end_ns", "<i8"),
        ("kind", "u1"),
        ("model", "u1"),
        ("stage", "<i2"),
        ("replica", "<i2"),
        ("image", "<i4"),
        ("peer", "<i2"),
        ("bytes", "<i8"),
    ]
)

IMAGE_DTYPE = np.dtype([("image", "<i4"), ("start_ns", "<i8"), ("end_ns", "<i8"), ("latency_ns", "<i8")])

POWER_DTYPE = np.dtype([("start_ns", "<i8"), ("end_ns", "<i8"), ("watts", "<f8")])

CLOCK_DTYPE = np.dtype([("rank", "<i2"), ("offset_ns", "<f8"), ("drift_ppb", "<f8"), ("error_ns", "<f8")])


@dataclass(frozen=True)
class RankInfo:
    """Attributes of ``/ranks/NNN``.

    Attributes
    ----------
    rank : int
        Rank in the job.
    host : str
        Machine on which the process ran.
    board : str
        Name of the board that it drove or stood for.
    config : str
        Name of the VTA build.
    device : str
        ``sim``, ``timing``, ...
    idle_watts, busy_watts : float
        Power model of the board: while it waits, while its VTA runs.
    power_source : str
        Where those two numbers come from.
    """

    rank: int
    host: str
    board: str
    config: str
    device: str
    idle_watts: float
    busy_watts: float
    power_source: str

    def attributes(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


def rank_group(rank: int) -> str:
    """Return the group of a rank, ``ranks/003``."""
    return f"ranks/{rank:03d}"
