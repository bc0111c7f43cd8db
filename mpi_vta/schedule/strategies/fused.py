"""Fused: a pipeline whose stages may be replicated, over boards of several types."""

from __future__ import annotations

import numpy as np

from mpi_vta.hw.board import Board
from mpi_vta.schedule.figures import group_count
from mpi_vta.schedule.problem import Draft, Placement, Problem
from mpi_vta.schedule.replication import BoardType, Share, divide
from mpi_vta.schedule.segment_load import all_segment_loads
from mpi_vta.schedule.turns import repeating_turns

# The period may be this much longer than the shortest if that saves a board
PERIOD_LOSS = 0.001


def place(problem: Problem) -> Draft:
    """Cut the layers into stages and give each the boards that make the period shortest.

    Exact in the model of `mpi_vta.schedule.replication`; replicas get turns by their speed.

    Raises
    ------
    PlanError
        If the wanted number of stages is impossible.
    """
    types = board_types(problem)
    division = divide(types, problem.stages, PERIOD_LOSS)
    free = [list(kind.ranks) for kind in types]
    placements = tuple(_placement(problem, types, free, share) for share in division.shares)
    idle = sum(len(ranks) for ranks in free)
    many = "board stays" if idle == 1 else "boards stay"
    notes = (f"{idle} {many} idle: they would not shorten the period by 0.1 %",) if idle else ()
    return Draft(placements, notes)


def board_types(problem: Problem) -> tuple[BoardType, ...]:
    """Return the boards by type; rank 0, being source and sink as well, is a type of its own.

    Its duties are taken in full, as if all messages of source and sink went to other ranks.
    """
    as_stage = all_segment_loads(problem, rank_0_apart=False)
    duties = all_segment_loads(problem)[0][:, 0, 0] if problem.ranks > 1 else np.zeros(4, dtype=np.int64)
    alike: dict[tuple[Board, bool], list[int]] = {}
    for rank, board in enumerate(problem.cluster.boards):
        alike.setdefault((board, rank == 0), []).append(rank)
    nothing = np.zeros_like(duties)
    return tuple(
        BoardType(tuple(ranks), as_stage[ranks[0]], duties if is_rank_0 else nothing)
        for (_, is_rank_0), ranks in alike.items()
    )


def _placement(problem: Problem, types: tuple[BoardType, ...], free: list[list[int]], share: Share) -> Placement:
    names = tuple(node.name for node in problem.graph.nodes[share.first : share.end])
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
