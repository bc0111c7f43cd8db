"""Core assignment: every run of layers split over as many boards, by rows or channels, as shorten one image's way."""

from __future__ import annotations

from mpi_vta.errors import PlanError
from mpi_vta.schedule.assembly import compose
from mpi_vta.schedule.predict import predict
from mpi_vta.schedule.problem import Draft, Placement, Problem
from mpi_vta.schedule.split_search import Division, SplitSearch

# The search is repeated with what compiling the parts has taught, at most so often
ROUNDS = 4


def place(problem: Problem) -> Draft:
    """Divide each run of consecutive layers over boards so that one image is through as early as possible.

    A dynamic program over the cut points takes the least sum of estimated times of runs and of exchanges between
    them; the parts that it chooses are compiled, and the search is repeated with their true times until it chooses
    nothing new. Of all choices met, the one whose predicted run has the least latency is taken.

    Raises
    ------
    PlanError
        If a number of stages is asked for.
    """
    if problem.stages is not None:
        raise PlanError(
            f"{problem.stages} stages with core-assignment",
            where="--stages",
            allowed="none: every part of every run of layers is a stage",
            remedy="take --strategy pipeline",
        )
    search = SplitSearch(problem)
    found: list[tuple[int, tuple[Placement, ...]]] = []
    met: set[Division] = set()
    while len(met) < ROUNDS and (division := search.best()) not in met:
        met.add(division)
        placements = search.placements(division)
        search.learn(placements)
        found.append((latency_ns(problem, placements), placements))
    return Draft(min(found, key=lambda entry: entry[0])[1])


def latency_ns(problem: Problem, placements: tuple[Placement, ...]) -> int:
    """Return the predicted time of one image group alone (modelled)."""
    plan = compose(problem, Draft(placements), "core-assignment")
    return predict(plan, problem.network, plan.group_images).figures.makespan_ns
