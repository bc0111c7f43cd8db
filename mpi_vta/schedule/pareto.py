"""The plans that no other plan beats in throughput, latency and energy at once, over strategies and board counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from mpi_vta.errors import PlanError
from mpi_vta.plans.figures import OBJECTIVES
from mpi_vta.plans.plan import Plan
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.strategies import STRATEGIES, make_plan
from mpi_vta.text_table import counted

# Up to this number every count of boards is tried, beyond it counts in steps of about a third
EVERY_COUNT = 4


@dataclass(frozen=True)
class Choice:
    """A plan on the first `boards` boards of a cluster, which alone draw power."""

    boards: int
    plan: Plan

    @property
    def merits(self) -> tuple[float, ...]:
        """The figures of all objectives, so signed that more is better."""
        return tuple(sign * self.plan.predicted[key] for key, sign in OBJECTIVES.values())

    def dominates(self, other: Choice) -> bool:
        """Return whether it is at least as good everywhere and better somewhere."""
        return _dominates(self.merits, other.merits)


@dataclass(frozen=True)
class Pareto:
    """The front, by falling throughput, and what it was chosen from.

    Attributes
    ----------
    front : tuple of Choice
        Plans that no other one dominates; of equal ones that with the fewest boards.
    considered : int
        Number of plans compared.
    left_out : tuple of str
        Why a strategy has no plan on some number of boards.
    """

    front: tuple[Choice, ...]
    considered: int
    left_out: tuple[str, ...]


def board_counts(most: int) -> tuple[int, ...]:
    """Return the numbers of boards to try, the largest among them."""
    counts, count = [], 1
    while count < most:
        counts.append(count)
        count += 1 if count < EVERY_COUNT else max(1, count // 3)
    return (*counts, most)


def find_pareto(problem: Problem, on_plan: Callable[[int, int], None] = lambda *_: None) -> Pareto:
    """Plan with every strategy on several numbers of boards, for throughput and for latency, and keep the best.

    Parameters
    ----------
    problem : Problem
        With all boards; its objective does not count.
    on_plan : callable
        Told of plans made and plans in all.

    Raises
    ------
    PlanError
        If no strategy has a plan.
    """
    cases = [
        (count, strategy, objective)
        for count in board_counts(problem.ranks)
        for strategy in STRATEGIES
        for objective in ("throughput", "latency")
    ]
    choices, left_out = [], []
    for done, (count, strategy, objective) in enumerate(cases):
        on_plan(done, len(cases))
        try:
            plan = make_plan(strategy, replace(problem, cluster=problem.cluster.first(count), objective=objective))
        except PlanError as fault:
            left_out.append(f"{strategy} on {counted(count, 'board')} for {objective}: {fault}")
        else:
            choices.append(Choice(count, plan))
    if not choices:
        raise PlanError("no strategy has a plan: " + " | ".join(left_out), where=f"cluster {problem.cluster.name}")
    return Pareto(front_of(choices), len(choices), tuple(left_out))


def front_of(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    """Return the choices that no other one dominates, one of each equal merit, by falling throughput."""
    every = sorted(choices, key=lambda choice: choice.boards)
    return tuple(every[index] for index in undominated([choice.merits for choice in every]))


def undominated(merits: Sequence[tuple[float, ...]]) -> list[int]:
    """Return the indices of those that no other one dominates, the largest first merit first.

    One dominates another if it is at least as good everywhere and better somewhere; of equal ones the first is kept.
    """
    distinct = {merit: index for index, merit in reversed(list(enumerate(merits)))}
    front = [merit for merit in distinct if not any(_dominates(other, merit) for other in distinct)]
    return [distinct[merit] for merit in sorted(front, reverse=True)]


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
