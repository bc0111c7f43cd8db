"""Numbers of a plan that no run could have, whatever its model: what planner, runtime and traces rely on."""

from __future__ import annotations

from mpi_vta.plans.plan import MOST_RANK, Plan


def number_faults(plan: Plan, ranks: int = MOST_RANK + 1) -> list[str]:
    """Return what is out of range in a plan for that many ranks, a sentence each."""
    faults = []
    if plan.in_flight_groups < 1:
        faults.append(f"in_flight_groups is {plan.in_flight_groups} (allowed: 1 or more)")
    for stage in plan.stages:
        replicas = len(stage.ranks)
        bad = [rank for rank in stage.ranks if not 0 <= rank < ranks]
        if not replicas:
            faults.append(f"stage {stage.index} has no rank")
        if bad:
            faults.append(f"stage {stage.index} is on rank {bad[0]} (allowed: 0..{ranks - 1}; start more ranks)")
        if len(set(stage.ranks)) != replicas:
            faults.append(f"stage {stage.index} has a rank twice")
        if not len(stage.compute_ns) == len(stage.host_ns) == replicas:
            faults.append(f"stage {stage.index} needs one compute_ns and one host_ns per rank")
        if any(not 0 <= turn < replicas for turn in stage.turns) or (stage.turns and len({*stage.turns}) < replicas):
            faults.append(
                f"stage {stage.index} has turns {stage.turns} (allowed: each of 0..{replicas - 1} at least once)"
            )
        if stage.assemble_ns and len(stage.assemble_ns) != replicas:
            faults.append(f"stage {stage.index} needs one assemble_ns per rank, or none")
        if min((*stage.host_ns, *stage.assemble_ns, stage.cycles), default=0) < 0:
            faults.append(f"stage {stage.index} has a negative time")
        if min(stage.compute_ns, default=1) < 1:
            faults.append(f"stage {stage.index} has a compute_ns below 1")
    return faults
