"""The rows of a study that are compared with each other: one mix of models, one cluster, one objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isnan

from mpi_vta.plans.figures import HEADINGS, OBJECTIVES
from mpi_vta.schedule.pareto import undominated
from mpi_vta.trace.study_file import Study
from mpi_vta.trace.study_rows import PointRow

# Figures that differ by less are called equal
LEVEL = 0.001
# A further board that gains less is not called a gain
GAIN = 0.03
# Energies that differ by less are called alike
ALIKE = 0.1

Row = PointRow


@dataclass(frozen=True)
class Group:
    """Rows that differ in boards, strategy and VTA build alone.

    Attributes
    ----------
    models, cluster, objective : str
        What they have in common.
    rows : tuple of PointRow
        In the study's order.
    study : str
        Name of the study.
    """

    models: str
    cluster: str
    objective: str
    rows: tuple[PointRow, ...]
    study: str

    @property
    def case(self) -> str:
        """What runs where."""
        return f"{self.models} on {self.cluster}"

    @property
    def column(self) -> str:
        """The column of the objective's figure."""
        return OBJECTIVES[self.objective][0]

    @property
    def heading(self) -> str:
        """What that figure is called."""
        return HEADINGS[self.column]

    @cached_property
    def valid(self) -> tuple[PointRow, ...]:
        """The rows that can be run."""
        return tuple(row for row in self.rows if row.valid)

    @cached_property
    def front_figures(self) -> Mapping[str, str]:
        """Columns and headings of the front's table; without those that an older study lacks."""
        known = [name for name in HEADINGS if not any(isnan(getattr(row, name)) for row in self.front)]
        return {name: HEADINGS[name] for name in known}

    @cached_property
    def boards(self) -> tuple[int, ...]:
        """The numbers of boards for which something can be run, ascending."""
        return tuple(sorted({row.boards for row in self.valid}))

    @cached_property
    def strategies(self) -> tuple[str, ...]:
        """As asked for, in the study's order."""
        return tuple(dict.fromkeys(row.strategy for row in self.rows))

    @cached_property
    def configs(self) -> tuple[str, ...]:
        """The builds that are compared; one if every number of boards has its own alone."""
        per_boards = {boards: {row.config for row in self.valid if row.boards == boards} for boards in self.boards}
        if all(len(configs) == 1 for configs in per_boards.values()):
            return ("",)
        return tuple(dict.fromkeys(row.config for row in self.valid))

    def figure(self, row: PointRow) -> float:
        """Return the objective's figure."""
        return float(getattr(row, self.column))

    def merit(self, row: PointRow) -> float:
        """Return the objective's figure, so signed that more is better."""
        return OBJECTIVES[self.objective][1] * self.figure(row)

    def best(self, boards: int | None = None, strategy: str | None = None) -> PointRow | None:
        """Return the best row, of some number of boards or of a strategy; None without one."""
        rows = [row for row in self.valid if boards in (None, row.boards) and strategy in (None, row.strategy)]
        return max(rows, key=self.merit, default=None)

    def best_of(self, boards: int | None = None, strategy: str | None = None) -> PointRow:
        """Return the best row where there is one."""
        best = self.best(boards, strategy)
        assert best is not None
        return best

    @cached_property
    def cheapest(self) -> PointRow:
        """The row of least energy, of equal ones that with the fewest boards."""
        return min(self.valid, key=lambda row: (row.energy_j_per_image, row.boards))

    def level_with_best(self, boards: int) -> tuple[str, ...]:
        """Return the strategies that are as good as the best one on some number of boards."""
        best = self.best_of(boards)
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
        ratio = self.figure(row) / self.figure(best)
        return ratio if OBJECTIVES[self.objective][1] > 0 else 1 / ratio

    def last_gain(self, strategy: str | None = None) -> int:
        """Return the number of boards beyond which none is better by `GAIN`, of a strategy or of the best."""
        figures = [(boards, self.merit(row)) for boards in self.boards if (row := self.best(boards, strategy))]
        last, reached = figures[0]
        for boards, merit in figures[1:]:
            if merit > reached + GAIN * abs(reached):
                last, reached = boards, merit
        return last

    @cached_property
    def front(self) -> tuple[PointRow, ...]:
        """The rows that no other one beats in throughput, latency and energy at once, by falling throughput."""
        fewest_first = sorted(self.valid, key=lambda row: (row.boards, row.point))
        merits = [tuple(sign * getattr(row, key) for key, sign in OBJECTIVES.values()) for row in fewest_first]
        return tuple(fewest_first[index] for index in undominated(merits))


def groups_of(study: Study) -> tuple[Group, ...]:
    """Return the groups of a study, in its order."""
    grouped: dict[tuple[str, str, str], list[PointRow]] = {}
    for row in study.points:
        grouped.setdefault((row.models, row.cluster, row.objective), []).append(row)
    name = str(study.attributes["name"])
    return tuple(Group(*key, tuple(rows), name) for key, rows in grouped.items())
