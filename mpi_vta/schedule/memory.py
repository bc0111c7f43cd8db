"""What a plan takes of every board's memory, and how many image groups in flight that leaves room for."""

from __future__ import annotations

from collections import defaultdict

from mpi_vta.errors import PlanError
from mpi_vta.hw.board import Board
from mpi_vta.plans.plan import Plan
from mpi_vta.schedule.problem import Problem


class MemoryShortage(PlanError):
    """A board's memory does not hold its stages, whatever the number of image groups in flight.

    Attributes
    ----------
    stages : frozenset of (frozenset of str, Board)
        The nodes and the board of each stage that by itself is too large.
    """

    stages: frozenset[tuple[frozenset[str], Board]] = frozenset()


def most_in_flight(problem: Problem, plan: Plan) -> int:
    """Return the number of image groups in flight for which every board's memory suffices.

    Raises
    ------
    MemoryShortage
        If it does not suffice for one.
    """
    programs: dict[int, int] = defaultdict(int)
    messages: dict[int, int] = defaultdict(int)
    too_large = set()
    for stage in plan.stages:
        around = (*plan.edges_into.get(stage.index, ()), *plan.edges_out_of.get(stage.index, ()))
        buffers = sum(plan.edges[index].size_bytes for index in around)
        for rank in stage.ranks:
            board = problem.cluster.boards[rank]
            size_bytes = problem.costs.stage(stage.nodes, board.config, stage.share).memory_bytes
            programs[rank] += size_bytes
            messages[rank] += buffers
            if size_bytes + buffers > board.memory_bytes:
                too_large.add((frozenset(stage.nodes), board))
    for rank in programs:
        board = problem.cluster.boards[rank]
        needed = programs[rank] + messages[rank]
        if needed > board.memory_bytes:
            fault = MemoryShortage(
                f"{needed / 1e6:.1f} MB are needed on rank {rank}, board {board.name} has "
                f"{board.memory_bytes / 1e6:.1f} MB",
                where=f"plan of {plan.model}",
                remedy="use more boards, another strategy, or correct memory_mib in the board file",
            )
            fault.stages = frozenset(too_large)
            raise fault
    room = [(problem.cluster.boards[r].memory_bytes - programs[r]) // max(messages[r], 1) for r in programs]
    return min(room)
