"""How long each resource of each rank is busy per image group: the bound on any plan's throughput."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from math import lcm

from mpi_vta.hw.energy import Usage
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import SINK, SOURCE, Plan
from mpi_vta.plans.resources import CPU, NIC_IN, NIC_OUT, VTA
from mpi_vta.schedule.figures import group_count

Loads = Mapping[tuple[int, str], Fraction]


def loads(plan: Plan, network: NetworkModel) -> Loads:
    """Return the nanoseconds per image group for each (rank, resource), averaged over the replicas' turns."""
    total: dict[tuple[int, str], Fraction] = defaultdict(Fraction)
    for stage in plan.stages:
        share = Fraction(1, stage.turn_count)
        for turn in range(stage.turn_count):
            replica = stage.replica_of(turn)
            total[stage.ranks[replica], VTA] += share * stage.compute_ns[replica]
            total[stage.ranks[replica], CPU] += share * stage.host_ns[replica]
            if stage.assemble_ns:
                total[stage.ranks[replica], CPU] += share * stage.assemble_ns[replica]
    for edge in plan.edges:
        turns = lcm(_turns(plan, edge.producer), _turns(plan, edge.consumer))
        wire, host = (
            Fraction(network.wire_ns(edge.size_bytes), turns),
            Fraction(network.host_ns(edge.size_bytes), turns),
        )
        for group in range(turns):
            sender, receiver = plan.rank_of(edge.producer, group), plan.rank_of(edge.consumer, group)
            if sender != receiver:
                total[sender, NIC_OUT] += wire
                total[receiver, NIC_IN] += wire
                total[sender, CPU] += host
                total[receiver, CPU] += host
    return total


def bottleneck(plan: Plan, network: NetworkModel) -> tuple[int, str, Fraction]:
    """Return the busiest (rank, resource) and its nanoseconds per image group: no run has a shorter period."""
    busiest = loads(plan, network)
    rank, resource = max(sorted(busiest), key=lambda key: busiest[key])
    return rank, resource, busiest[rank, resource]


def usages(plan: Plan, network: NetworkModel, images: int) -> dict[int, Usage]:
    """Return how long the VTA and the ports of the plan's ranks are busy in a job, as its predicted run has it."""
    vta_ns, port_ns = dict.fromkeys(plan.ranks, 0), dict.fromkeys(plan.ranks, 0)
    groups = group_count(images, plan.group_images)
    for stage in plan.stages:
        for turn, count in _counts(groups, stage.turn_count):
            replica = stage.replica_of(turn)
            vta_ns[stage.ranks[replica]] += count * stage.compute_ns[replica]
    for edge in plan.edges:
        wire_ns = network.wire_ns(edge.size_bytes)
        for turn, count in _counts(groups, lcm(_turns(plan, edge.producer), _turns(plan, edge.consumer))):
            sender, receiver = plan.rank_of(edge.producer, turn), plan.rank_of(edge.consumer, turn)
            if sender != receiver:
                port_ns[sender] += count * wire_ns
                port_ns[receiver] += count * wire_ns
    return {rank: Usage(vta_ns[rank], port_ns[rank]) for rank in plan.ranks}


def _counts(groups: int, turns: int) -> list[tuple[int, int]]:
    """Return how many of some image groups come at each turn."""
    rounds, rest = divmod(groups, turns)
    return [(turn, rounds + (turn < rest)) for turn in range(min(turns, groups))]


def _turns(plan: Plan, place: int) -> int:
    return 1 if place in (SOURCE, SINK) else plan.stages[place].turn_count
