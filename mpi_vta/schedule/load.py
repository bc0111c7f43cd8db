"""How long each resource of each rank is busy per image group: the bound on any plan's throughput."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from math import lcm

from mpi_vta.schedule.network import NetworkModel
from mpi_vta.schedule.plan import SINK, SOURCE, Plan

Loads = Mapping[tuple[int, str], Fraction]


def loads(plan: Plan, network: NetworkModel) -> Loads:
    """Return the nanoseconds per image group for each (rank, resource), averaged over the replicas' turns."""
    total: dict[tuple[int, str], Fraction] = defaultdict(Fraction)
    for stage in plan.stages:
        share = Fraction(1, len(stage.ranks))
        for rank, compute_ns, host_ns in zip(stage.ranks, stage.compute_ns, stage.host_ns, strict=True):
            total[rank, "vta"] += share * compute_ns
            total[rank, "cpu"] += share * host_ns
    for edge in plan.edges:
        turns = lcm(_replicas(plan, edge.producer), _replicas(plan, edge.consumer))
        wire, host = (
            Fraction(network.wire_ns(edge.size_bytes), turns),
            Fraction(network.host_ns(edge.size_bytes), turns),
        )
        for group in range(turns):
            sender, receiver = plan.rank_of(edge.producer, group), plan.rank_of(edge.consumer, group)
            if sender != receiver:
                total[sender, "nic_out"] += wire
                total[receiver, "nic_in"] += wire
                total[sender, "cpu"] += host
                total[receiver, "cpu"] += host
    return total


def bottleneck(plan: Plan, network: NetworkModel) -> tuple[int, str, Fraction]:
    """Return the busiest (rank, resource) and its nanoseconds per image group: no run has a shorter period."""
    busiest = loads(plan, network)
    rank, resource = max(sorted(busiest), key=lambda key: busiest[key])
    return rank, resource, busiest[rank, resource]


def _replicas(plan: Plan, place: int) -> int:
    return 1 if place in (SOURCE, SINK) else len(plan.stages[place].ranks)
