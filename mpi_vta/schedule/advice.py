"""Why boards do not help: messages that outweigh the layers, stages that are mostly launch overhead."""

from __future__ import annotations

from mpi_vta.plans.notes import Note
from mpi_vta.plans.plan import Plan
from mpi_vta.schedule.problem import Problem

# A stage of which the launch overhead is a larger part than this is too small for a board of its own
OVERHEAD_SHARE = 0.5


def reasons(problem: Problem, plan: Plan) -> tuple[Note, ...]:
    """Return why the boards of a plan gain less than they could; nothing for a plan of one board."""
    if len(plan.ranks) == 1:
        return ()
    return (*_link_bound(problem, plan), *_small_stages(problem, plan))


def _link_bound(problem: Problem, plan: Plan) -> tuple[Note, ...]:
    """Return a note if an image group spends more time in messages than in layers."""
    network = problem.network
    messages_ns = sum(network.message_ns(edge.size_bytes) for edge in plan.edges)
    layers_ns = sum(max(stage.compute_ns) for stage in plan.stages)
    if messages_ns <= layers_ns:
        return ()
    return (Note("link-bound", messages_ms=messages_ns / 1e6, layers_ms=layers_ns / 1e6),)


def _small_stages(problem: Problem, plan: Plan) -> tuple[Note, ...]:
    small = []
    for stage in plan.stages:
        overhead_ns = problem.cluster.boards[stage.ranks[0]].launch_overhead_ns
        if overhead_ns > OVERHEAD_SHARE * stage.compute_ns[0]:
            small.append(stage.index)
    if len(small) == 1:
        return (Note("small stage", stage=small[0]),)
    return (Note("small stages", small=len(small), stages=len(plan.stages)),) if small else ()
