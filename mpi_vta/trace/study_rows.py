"""The rows of a study: a point, what it is for each model and each type of board; every column is described here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

TEXT, INTEGER, REAL, TRUTH = "text", "integer", "real", "truth"
_KINDS: Mapping[type, str] = {str: TEXT, int: INTEGER, float: REAL, bool: TRUTH}


def _text(meaning: str) -> str:
    return field(default="", metadata={"meaning": meaning})


def _integer(meaning: str) -> int:
    return field(default=-1, metadata={"meaning": meaning})


def _real(meaning: str) -> float:
    return field(default=float("nan"), metadata={"meaning": meaning})


def _truth(meaning: str) -> bool:
    return field(default=False, metadata={"meaning": meaning})


@dataclass(frozen=True)
class ModelRow:
    """One model of a point."""

    model: str = _text("name; numbered where the same one runs twice")
    ranks: str = _text("ranks of the job that it has")
    strategy_used: str = _text("whose plan it is")
    throughput_images_per_s: float = _real("over its own job")
    steady_images_per_s: float = _real("in the middle half of its job, if several rounds lie in it")
    latency_alone_ms: float = _real("one image with no other under way")
    latency_ms: float = _real("median over images")
    latency_p99_ms: float = _real("99th percentile over images")
    bottleneck_rank: int = _integer("rank that sets the pace")
    bottleneck: str = _text("its busiest resource: vta, cpu, nic_out or nic_in")
    period_ms: float = _real("how long that resource is busy per image")
    division: str = _text("the layers of every stage, and its boards")
    split_runs: int = _integer("runs of layers, if some of them are split")
    split_launches_ms: float = _real("of an image group alone, the slowest part of each run; of split layers only")
    split_overhead_ms: float = _real("of that, to launch")
    split_waiting_ms: float = _real("the rest of its time: gathering, messages and waiting for them")
    plan_sha256: str = _text("of the plan's JSON text")


@dataclass(frozen=True)
class BoardTypeRow:
    """One type of board of a point."""

    board: str = _text("type of board")
    boards: int = _integer("how many of them the job has")
    boards_used: int = _integer("how many of them run anything")
    vta_busy: float = _real("share of the job, 0 to 1, in which their VTA run, on average")


@dataclass(frozen=True)
class PointRow:
    """One point, with its rows of the other tables; a point that cannot be run has none, and no figures."""

    point: int = _integer("number of the point in the study")
    models: str = _text("model, or models joined by +, that run at the same time")
    cluster: str = _text("cluster whose first boards are used")
    boards: int = _integer("boards of the job, all of which draw power")
    config: str = _text("VTA builds of the boards, joined by +")
    strategy: str = _text("as asked for")
    objective: str = _text("what the planner looks for")
    images: int = _integer("images of the job, for each model")
    valid: bool = _truth("whether the point can be run")
    reason: str = _text("why not, for a point that is not valid")
    fit_doubt: str = _text("why it is in doubt that the build fits its boards; empty if it surely does")
    strategy_used: str = _text("whose plan it is: of auto, the strategy chosen")
    boards_used: int = _integer("boards that have layers")
    throughput_images_per_s: float = _real("images over the whole job, filling and draining included")
    steady_images_per_s: float = _real(
        "rate in the middle half of the job, if several rounds lie in it; the sum over several models"
    )
    latency_alone_ms: float = _real("one image with no other under way; of several models the worst one's")
    latency_ms: float = _real("median over images; of several models the worst one's")
    latency_p99_ms: float = _real("99th percentile over images; of several models the worst one's")
    makespan_ms: float = _real("from the first start to the last result; of several models the longest")
    speedup: float = _real("throughput over that of the first board alone; one model only")
    ideal_fraction: float = _real("throughput over the sum of what each board would do alone; one model only")
    energy_j_per_image: float = _real("energy of all boards, ports and the switch, per image")
    network_j_per_image: float = _real("of that, the ports' beyond the boards' idle power, and the switch's")
    average_power_w: float = _real("energy over the length of the job")
    peak_power_w: float = _real("bound on the power at one time: all boards and ports that are used as if busy")
    images_per_s_per_w: float = _real("images per joule")
    stages: int = _integer("stages of the plan, parts of split layers counted each")
    in_flight_groups: int = _integer("image groups under way at once, at most")
    cycles: int = _integer("VTA cycles of one launch of every stage")
    notes: str = _text("what the planner wants the user to know")
    key: str = _text("SHA-256 of all that decides the figures")
    parts: tuple[ModelRow, ...] = ()
    types: tuple[BoardTypeRow, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> PointRow:
        """Return the row of columns by name, with the columns of rows of the other tables in ``parts`` and ``types``.

        Raises
        ------
        ValueError
            If the point can be run, but models or boards are missing.
        """
        parts = tuple(ModelRow(**row) for row in values["parts"])
        types = tuple(BoardTypeRow(**row) for row in values["types"])
        if values["valid"] and not (parts and types):
            raise ValueError(f"point {values['point']} has no models or no boards")
        return cls(**{**values, "parts": parts, "types": types})

    @property
    def case(self) -> str:
        """What runs where."""
        return f"{self.models} on {self.cluster}"

    @property
    def vta_busy(self) -> float:
        """Share of the job in which a VTA runs, over all boards."""
        return sum(kind.boards * kind.vta_busy for kind in self.types) / sum(kind.boards for kind in self.types)

    @property
    def paced_by_vta(self) -> bool:
        """Whether VTA, not processors or ports, set the pace of all models."""
        return all(part.bottleneck == "vta" for part in self.parts)


@dataclass(frozen=True)
class Column:
    """A column of a table; rows without a value have "", -1, NaN or false."""

    name: str
    kind: str
    meaning: str
    absent: Any


def _columns(kind: type) -> tuple[Column, ...]:
    return tuple(
        Column(entry.name, _KINDS[type(entry.default)], entry.metadata["meaning"], entry.default)
        for entry in fields(kind)
        if "meaning" in entry.metadata
    )


NESTED: Mapping[str, str] = {"models": "parts", "board_types": "types"}
"""The field of `PointRow` that holds the rows of a table."""

_POINT = Column("point", INTEGER, "number of the point", -1)
TABLES: Mapping[str, tuple[Column, ...]] = {
    "points": _columns(PointRow),
    "models": (_POINT, *_columns(ModelRow)),
    "board_types": (_POINT, *_columns(BoardTypeRow)),
}
