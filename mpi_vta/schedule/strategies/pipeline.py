"""Pipeline: one board per stage, so cut that the busiest board is as little busy as possible."""

from __future__ import annotations

from mpi_vta.plans.notes import Note
from mpi_vta.schedule.division.fluid_model import Division
from mpi_vta.schedule.division.search import divide
from mpi_vta.schedule.problem import Draft, Placement, Problem
from mpi_vta.schedule.segment_load import board_types
from mpi_vta.schedule.strategy import Strategy


def place(problem: Problem) -> Draft:
    """Cut the model into stages and give each a board.

    Among all cuts and choices of boards it takes one of the shortest period, of those one with the
    fewest stages, and of those one that sends the fewest bytes. Boards that are alike are used in rank
    order. Layer costs are those of the whole model's program and add up; the plan's figures come from
    the stages as compiled.

    Raises
    ------
    PlanError
        If what the user fixed is impossible.
    """
    types = board_types(problem)
    division = divide(types, problem.wish(replicas=False))
    free = [list(kind.ranks) for kind in types]
    placements = tuple(
        Placement(problem.cuts.between(share.first, share.end), (free[share.counts.index(1)].pop(0),))
        for share in division.shares
    )
    return Draft(placements, _notes(problem, division, placements))


def _notes(problem: Problem, division: Division, placements: tuple[Placement, ...]) -> tuple[Note, ...]:
    notes = order_notes(problem)
    idle = problem.ranks - len(placements)
    if not idle:
        return notes
    if problem.by_hand.cut or problem.stages is not None:
        return (*notes, Note("idle, stages asked", idle=idle, stages=len(placements)))
    if problem.ranks > len(problem.cuts.units):
        return (*notes, Note("idle, no more cuts", idle=idle, stages=len(problem.cuts.units)))
    return (*notes, Note("idle, no shorter cut", idle=idle, period_ms=division.period_ns / 1e6))


def order_notes(problem: Problem) -> tuple[Note, ...]:
    """Return the limit of the search, if the graph has too many places to cut at."""
    if problem.cuts.every:
        return ()
    return (Note("one order of cuts"),)


STRATEGY = Strategy("pipeline", place, cuts=True)
