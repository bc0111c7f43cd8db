"""What a trace file holds: names, dtypes and version. `docs/trace_format.md` describes it for readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 3
# 1: no seal, and events with 16 bits for the edge; 2: an only model has no group of its own
READABLE_VERSIONS = (1, 2, 3)
NO_PEER = -1
NO_EDGE = -1
RUN_FORMAT = "mpi_vta trace"
RANK_FORMAT = "mpi_vta rank trace"
MEASURED = "measured"
MODELLED = "modelled"


class EventKind(IntEnum):
    """What a rank did between two times."""

    LAUNCH = 0
    HOST = 1
    SEND = 2
    RECEIVE = 3
    START = 4
    FINISH = 5


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
        ("edge", "<i4"),
        ("bytes", "<i8"),
    ]
)

IMAGE_DTYPE = np.dtype([("image", "<i4"), ("start_ns", "<i8"), ("end_ns", "<i8"), ("latency_ns", "<i8")])

POWER_DTYPE = np.dtype([("start_ns", "<i8"), ("end_ns", "<i8"), ("watts", "<f8")])

LINK_DTYPE = np.dtype(
    [
        ("source", "<i2"),
        ("target", "<i2"),
        ("messages", "<i8"),
        ("bytes", "<i8"),
        ("send_ns", "<i8"),
        ("receive_ns", "<i8"),
        ("message_ns", "<i8"),
        ("unmatched", "<i8"),
        ("backward", "<i8"),
    ]
)

# where the cycles of a launch go on the compute unit; they sum to the launch's cycles
CYCLE_KINDS = ("gemm", "alu", "load_uop", "load_acc", "wait_load", "wait_store", "fetch", "other")

PROFILE_DTYPE = np.dtype(
    [
        ("stage", "<i2"),
        ("layer", "<i2"),
        *((kind, "<i8") for kind in CYCLE_KINDS),
        ("load_unit", "<i8"),
        ("store_unit", "<i8"),
        ("gemm_uops", "<i8"),
        ("alu_uops", "<i8"),
        ("load_bytes", "<i8"),
        ("store_bytes", "<i8"),
    ]
)

CLOCK_DTYPE = np.dtype([("rank", "<i2"), ("offset_ns", "<f8"), ("drift_ppb", "<f8"), ("error_ns", "<f8")])


CLOCK_SAMPLE_DTYPE = np.dtype([("local_ns", "<i8"), ("offset_ns", "<f8"), ("rtt_ns", "<i8")])


@dataclass(frozen=True, eq=False)
class StageProfile:
    """Where the cycles of one launch go.

    Attributes
    ----------
    layers : tuple of str
        Layers of the stage's program.
    rows : ndarray of PROFILE_DTYPE, shape (layers,)
        ``layer`` is the index in `layers`; ``stage`` is filled in by the writer.
    """

    layers: tuple[str, ...]
    rows: NDArray[Any]


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
    clock_mhz : float
        Clock of the VTA.
    launch_ns : int
        Time of a launch beside its cycles.
    operations_per_uop : int
        Multiplications and additions of one GEMM micro-op.
    bus_bytes : int
        Bytes that the memory bus moves per cycle.
    """

    rank: int
    host: str
    board: str
    config: str
    device: str
    idle_watts: float
    busy_watts: float
    power_source: str
    clock_mhz: float
    launch_ns: int
    operations_per_uop: int
    bus_bytes: int

    def attributes(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


# kinds of the attributes that every reader may rely on; see `mpi_vta.trace.hdf5_input.read_attributes`
RANK_ATTRIBUTES: Mapping[str, str] = {
    **{field.name: str(field.type) for field in fields(RankInfo)},
    "stages": "ints",
    "cycles": "ints",
}


# attributes of ``run.h5`` that the merge itself sets
RUN_ATTRIBUTES = ("format", "version", "event_kinds", "backward_messages", "unmatched_messages", "complete")


def rank_group(rank: int) -> str:
    """Return the group of a rank, ``ranks/003``."""
    return f"ranks/{rank:03d}"


def model_group(model: int) -> str:
    """Return the name of a model's group in ``run.h5``."""
    return f"models/{model:03d}"
