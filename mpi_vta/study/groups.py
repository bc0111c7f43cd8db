"""The rows of a study that are compared with each other: one mix of models, one cluster, one objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mpi_vta.schedule.pareto import undominated
from mpi_vta.trace.study_file import Study

# objective -> (column, heading, 1 if more is better, -1 if less is)
FIGURES: Mapping[str, tuple[str, str, int]] = {
    "throughput": ("throughput_images_per_s", "images/s", 1),
    "latency": ("latency_p50_ms", "latency p50, ms", -1),
    "energy": ("energy_j_per_image", "J per image", -1),
}
# columns of the points that no other one beats, and their headings
_FRONT = {
    "throughput_images_per_s": "images/s",
    "latency_p50_ms": "latency p50, ms",
    "latency_alone_ms": "one image alone, ms",
    "energy_j_per_image": "J per image",
    "images_per_s_per_w": "images/s per W",
}
# Figures that differ by less are called equal
LEVEL = 0.001
# A further board that gains less is not called a gain
GAIN = 0.03
# Energies that differ by less are called alike
ALIKE = 0.1
# Begins the note of a point whose VTA build may not fit
DOUBT = "fits in doubt: "

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Rows that differ in boards, strategy and VTA build alone.

    Attributes
    ----------
    models, cluster, objective : str
        What they have in common.
    rows : tuple of mapping
        Of the table ``points``, in the study's order.
    models_of : mapping of int to tuple of mapping
        By point, rows of the table ``models``.
    types_of : mapping of int to tuple of mapping
        By point, rows of the table ``board_types``.
    study : str
        Name of the study.
    """

    models: str
    cluster: str
    objective: str
    rows: tuple[Row, ...]
    models_of: Mapping[int, tuple[Row, ...]]
    types_of: Mapping[int, tuple[Row, ...]]
    study: str

    @property
    def case(self) -> str:
        """What runs where."""
        return f"{self.models} on {self.cluster}"

    @property
    def column(self) -> str:
        """The column of the objective's figure."""
        return FIGURES[self.objective][0]

    @property
    def heading(self) -> str:
        """What that figure is called."""
        return FIGURES[self.objective][1]

    @cached_property
    def valid(self) -> tuple[Row, ...]:
        """The rows that can be run."""
        return tuple(row for row in self.rows if row["valid"])

    @cached_property
    def front_figures(self) -> Mapping[str, str]:
        """Columns and headings of the front's table; without those that an older study lacks."""
        return {name: heading for name, heading in _FRONT.items() if all(row[name] == row[name] for row in self.front)}

    @cached_property
    def boards(self) -> tuple[int, ...]:
        """The numbers of boards for which something can be run, ascending."""
        return tuple(sorted({row["boards"] for row in self.valid}))

    @cached_property
    def strategies(self) -> tuple[str, ...]:
        """As asked for, in the study's order."""
        return tuple(dict.fromkeys(row["strategy"] for row in self.rows))

    @cached_property
    def configs(self) -> tuple[str, ...]:
        """The builds that are compared; one if every number of boards has its own alone."""
        per_boards = {
            boards: {row["config"] for row in self.valid if row["boards"] == boards} for boards in self.boards
        }
        if all(len(configs) == 1 for configs in per_boards.values()):
            return ("",)
        return tuple(dict.fromkeys(row["config"] for row in self.valid))

    def merit(self, row: Row) -> float:
        """Return the objective's figure, so signed that more is better."""
        return float(FIGURES[self.objective][2] * row[self.column])

    def best(self, boards: int | None = None, strategy: str | None = None) -> Row | None:
        """Return the best row, of some number of boards or of a strategy; None without one."""
        rows = [row for row in self.valid if boards in (None, row["boards"]) and strategy in (None, row["strategy"])]
        return max(rows, key=self.merit, default=None)

    def level_with_best(self, boards: int) -> tuple[str, ...]:
        """Return the strategies that are as good as the best one on some number of boards."""
        best = self.best(boards)
        assert best is not None
        margin = abs(self.merit(best)) * LEVEL
        return tuple(
            strategy
            for strategy in self.strategies
            if (row := self.best(boards, strategy)) is not None and self.merit(row) >= self.merit(best) - margin
        )

    def fraction_of_best(self, boards: int, strategy: str) -> float | None:
        """Return how much of the best one's figure a strategy reaches; None where either cannot be run."""
        best, row = self.best(boards), self.best(boards, strategy)
        if best is None or row is None:
            return None
        ratio = float(row[self.column] / best[self.column])
        return ratio if FIGURES[self.objective][2] > 0 else 1 / ratio

    def last_gain(self, strategy: str | None = None) -> int:
        """Return the number of boards beyond which none is better by `GAIN`, of a strategy or of the best."""
        figures = [(boards, self.merit(row)) for boards in self.boards if (row := self.best(boards, strategy))]
        last, reached = figures[0]
        for boards, merit in figures[1:]:
            if merit > reached + GAIN * abs(reached):
                last, reached = boards, merit
        return last

    def vta_busy(self, row: Row) -> float:
        """Return the share of the job in which a VTA runs, over all boards."""
        types = self.types_of[row["point"]]
        return float(sum(kind["boards"] * kind["vta_busy"] for kind in types) / sum(kind["boards"] for kind in types))

    def paced_by_vta(self, row: Row) -> bool:
        """Return whether VTA, not processors or ports, set the pace of all models of a row."""
        return all(part["bottleneck"] == "vta" for part in self.models_of[row["point"]])

    @cached_property
    def front(self) -> tuple[Row, ...]:
        """The rows that no other one beats in throughput, latency and energy at once, by falling throughput."""
        fewest_first = sorted(self.valid, key=lambda row: (row["boards"], row["point"]))
        merits = [tuple(sign * row[column] for column, _, sign in FIGURES.values()) for row in fewest_first]
        return tuple(fewest_first[index] for index in undominated(merits))


def groups_of(study: Study) -> tuple[Group, ...]:
    """Return the groups of a study, in its order."""
    models_of, types_of = (_by_point(study.rows(table)) for table in ("models", "board_types"))
    grouped: dict[tuple[str, str, str], list[Row]] = {}
    for row in study.rows():
        grouped.setdefault((row["models"], row["cluster"], row["objective"]), []).append(row)
    name = str(study.attributes["name"])
    return tuple(Group(*key, tuple(rows), models_of, types_of, name) for key, rows in grouped.items())


def _by_point(rows: Sequence[Row]) -> dict[int, tuple[Row, ...]]:
    found: dict[int, tuple[Row, ...]] = {}
    for row in rows:
        found[row["point"]] = (*found.get(row["point"], ()), row)
    return found
