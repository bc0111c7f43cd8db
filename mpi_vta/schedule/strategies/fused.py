"""Fused: a pipeline whose stages may be replicated or split, over boards of several types."""

from __future__ import annotations

from mpi_vta.plans.notes import Note
from mpi_vta.schedule.division.fluid_model import BoardType, Share
from mpi_vta.schedule.division.search import divide
from mpi_vta.schedule.figures import group_count
from mpi_vta.schedule.problem import Draft, Placement, Problem
from mpi_vta.schedule.round_robin import repeating_turns
from mpi_vta.schedule.segment_load import board_types
from mpi_vta.schedule.strategies import core_assignment
from mpi_vta.schedule.strategies.pipeline import order_notes
from mpi_vta.schedule.strategy import Strategy

# The period may be this much longer than the shortest if that saves a board
PERIOD_LOSS = 0.001


def place(problem: Problem) -> Draft:
    """Cut the layers into stages and give each the boards that make the period shortest.

    Exact in the model of `mpi_vta.schedule.division`; replicas get turns by their speed. For latency, where
    replicas are of no use as images go one at a time, stages are split instead, as `core_assignment` does it.

    Raises
    ------
    PlanError
        If what the user fixed is impossible.
    """
    if problem.objective == "latency" and problem.stages is None and not problem.by_hand:
        return core_assignment.place(problem)
    types = board_types(problem)
    division = divide(types, problem.wish(replicas=True), PERIOD_LOSS)
    free = [list(kind.ranks) for kind in types]
    placements = tuple(_placement(problem, types, free, share) for share in division.shares)
    idle = sum(len(ranks) for ranks in free)
    notes = []
    if idle:
        notes.append(Note("idle, no shorter division", idle=idle, least_gain=PERIOD_LOSS))
    slow = sum(sum(share.counts) for share in division.shares) - sum(len(part.ranks) for part in placements)
    if slow:
        notes.append(Note("no turn", boards=slow))
    return Draft(placements, (*order_notes(problem), *notes))


def _placement(problem: Problem, types: tuple[BoardType, ...], free: list[list[int]], share: Share) -> Placement:
    names = problem.cuts.between(share.first, share.end)
    members = {
        free[t].pop(0): int((kind.load_ns[:, share.first, share.end] + kind.fixed_ns).max())
        for t, kind in enumerate(types)
        for _ in range(share.counts[t])
    }
    ranks = sorted(members)
    groups = group_count(problem.images, problem.layout_config.batch)
    order = repeating_turns([members[rank] for rank in ranks], groups)
    used = sorted(set(order))
    turns = tuple(used.index(replica) for replica in order)
    in_order = tuple(i % len(used) for i in range(len(turns)))
    return Placement(names, tuple(ranks[replica] for replica in used), () if turns == in_order else turns)


# for latency it is core assignment, as images go one at a time
STRATEGY = Strategy("fused", place, cuts=True, replicates=True, for_latency=False)
