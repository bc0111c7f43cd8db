"""Why boards do not help: messages that outweigh the layers, stages that are mostly launch overhead."""

from __future__ import annotations

from mpi_vta.plans.plan import Plan
from mpi_vta.schedule.problem import Problem

# A stage of which the launch overhead is a larger part than this is too small for a board of its own
OVERHEAD_SHARE = 0.5


def reasons(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """Return why the boards of a plan gain less than they could; nothing for a plan of one board."""
    if len(plan.ranks) == 1:
        return ()
    return (*_link_bound(problem, plan), *_small_stages(problem, plan))


def _link_bound(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """Return a note if an image group spends more time in messages than in layers."""
    network = problem.network
    messages_ns = sum(network.message_ns(edge.size_bytes) for edge in plan.edges)
    layers_ns = sum(max(stage.compute_ns) for stage in plan.stages)
    if messages_ns <= layers_ns:
        return ()
    return (
        f"link-bound: the messages of an image group take {messages_ns / 1e6:.3f} ms, its layers {layers_ns / 1e6:.3f} "
        "ms (modelled); fewer boards, or a faster network, would do better",
    )


def _small_stages(problem: Problem, plan: Plan) -> tuple[str, ...]:
    small = []
    for stage in plan.stages:
        overhead_ns = problem.cluster.boards[stage.ranks[0]].launch_overhead_ns
        if overhead_ns > OVERHEAD_SHARE * stage.compute_ns[0]:
            small.append(stage.index)
    if not small:
        return ()
    count = f"stage {small[0]} is" if len(small) == 1 else f"{len(small)} of {len(plan.stages)} stages are"
    return (f"{count} too small for a board: more than half of a launch is its overhead (modelled)",)
