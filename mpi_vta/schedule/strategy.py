"""What a strategy is: how it places layers, and what it can, so that nobody asks for one by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mpi_vta.plans.plan import Plan
from mpi_vta.schedule.problem import Draft, Problem


def _always(problem: Problem, predicted: Mapping[str, float]) -> bool:
    return True


def _nothing(problem: Problem, plan: Plan) -> Iterator[tuple[str, Draft]]:
    return iter(())


@dataclass(frozen=True)
class Strategy:
    """A way of spreading a model over boards.

    Attributes
    ----------
    name : str
        As ``--strategy`` takes it.
    place : callable
        From a problem to a draft; raises `PlanError` if it finds none.
    cuts : bool
        It cuts the model into stages, so it takes borders and a number of stages from the user.
    replicates : bool
        A stage may have several boards that take turns.
    splits : bool
        Layers may be divided over boards; such plans take longest to make, as their parts are compiled.
    for_latency : bool
        Whether it has an answer of its own where one image goes at a time.
    may_win : callable
        Whether it could do better than a plan's predicted figures, told before anything is compiled.
    fewer_boards : callable
        Drafts on fewer boards than its plan uses, each with what it is called: worth a try where messages set the pace.
    """

    name: str
    place: Callable[[Problem], Draft]
    cuts: bool = False
    replicates: bool = False
    splits: bool = False
    for_latency: bool = True
    may_win: Callable[[Problem, Mapping[str, float]], bool] = _always
    fewer_boards: Callable[[Problem, Plan], Iterator[tuple[str, Draft]]] = _nothing

    @property
    def whole_model(self) -> bool:
        """Whether a board has every layer or none."""
        return not (self.cuts or self.splits)
