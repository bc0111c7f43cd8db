"""Scatter-gather: the whole model on every board, image groups dealt out in turn."""

from __future__ import annotations

from mpi_vta.errors import PlanError
from mpi_vta.schedule.figures import group_count
from mpi_vta.schedule.problem import Draft, Placement, Problem


def place(problem: Problem) -> Draft:
    """Put every layer on every rank.

    Groups go round robin, so on a mixed cluster the slowest board in use sets the pace: boards that
    would slow the job down are left out, slowest first.

    Raises
    ------
    PlanError
        If more than one stage is asked for.
    """
    if problem.stages not in (None, 1):
        raise PlanError(
            f"{problem.stages} stages with scatter-gather",
            where="--stages",
            allowed="1, as every board has the whole model",
            remedy="take --strategy pipeline",
        )
    nodes = tuple(node.name for node in problem.graph.nodes)
    boards = problem.cluster.boards
    cycles = {config: problem.costs.stage(nodes, config).cycles for config in problem.cluster.configs}
    launch_ns = [board.compute_ns(cycles[board.config]) for board in boards]
    order = sorted(range(problem.ranks), key=lambda rank: (launch_ns[rank], rank))
    # n boards in turn finish n groups in the time of the slowest of them
    best = max(range(1, problem.ranks + 1), key=lambda n: (n / launch_ns[order[n - 1]], n))
    groups = group_count(problem.images, problem.layout_config.batch)
    used = tuple(sorted(order[: min(best, groups)]))
    notes = []
    if best < problem.ranks:
        notes.append(
            f"{problem.ranks - best} slower boards stay idle: taking turns with them would give "
            f"{problem.ranks * 1e9 / max(launch_ns):.2f} launches/s instead of "
            f"{best * 1e9 / launch_ns[order[best - 1]]:.2f} (modelled)"
        )
    if groups < best:
        notes.append(f"{best - groups} boards stay idle: there are only {groups} image groups")
    return Draft((Placement(nodes, used),), tuple(notes))
