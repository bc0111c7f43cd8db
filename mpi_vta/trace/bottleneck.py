"""Which resource limits the rate, and what one more board would do about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from mpi_vta.plans.resources import CPU, NIC_IN, NIC_OUT, RESOURCES, VTA
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import EventKind

Loads = Mapping[tuple[int, str], float]


@dataclass(frozen=True)
class Bottleneck:
    """What limits a run.

    Attributes
    ----------
    loads_ns : mapping of (rank, resource) to float
        Busy time per image group; the VTA's from its launches, processor and ports by the network model.
    rank : int
        Rank of the busiest.
    resource : str
        One of `mpi_vta.plans.resources.RESOURCES`.
    stage : int or None
        Stage with the largest part of it, if it is a VTA.
    next_loads_ns : mapping
        `loads_ns` if one more board like the stage's shared that stage's launches evenly; an estimate that
        leaves messages where they are. The same as `loads_ns` where a board does not help.
    """

    loads_ns: Loads
    rank: int
    resource: str
    stage: int | None
    next_loads_ns: Loads

    @property
    def period_ns(self) -> float:
        """Time per image group below which this plan cannot come."""
        return max(self.loads_ns.values())

    @property
    def next_period_ns(self) -> float:
        """The same with one more board."""
        return max(self.next_loads_ns.values())

    @property
    def gain(self) -> float:
        """How many times the rate could be with one more board; 1 if it would not help."""
        return self.period_ns / self.next_period_ns

    @property
    def next_limit(self) -> tuple[int, str]:
        """Rank and resource that would be busiest then."""
        return max(self.next_loads_ns, key=lambda key: self.next_loads_ns[key])

    @property
    def best_gain(self) -> float:
        """How many times the rate could be if the work were spread evenly over one more board."""
        loads = [ns for (_, resource), ns in self.loads_ns.items() if resource == VTA]
        return self.period_ns * (len(loads) + 1) / max(1.0, sum(loads))


def bottleneck(run: Run) -> Bottleneck:
    """Find the busiest resource of a run."""
    stage_ns = _stage_loads(run)
    loads: dict[tuple[int, str], float] = dict.fromkeys(((r, name) for r in run.ranks for name in RESOURCES), 0.0)
    for (rank, _), ns in stage_ns.items():
        loads[rank, VTA] += ns
    groups = len(run.groups)
    for rank in run.ranks:
        hosts = run.events(rank, EventKind.HOST)
        loads[rank, CPU] += float((hosts["end_ns"] - hosts["start_ns"]).sum()) / groups
        for kind, port in ((EventKind.SEND, NIC_OUT), (EventKind.RECEIVE, NIC_IN)):
            sizes = run.events(rank, kind)["bytes"]
            loads[rank, port] += float(run.network.wire_ns(sizes).sum()) / groups
            loads[rank, CPU] += float(run.network.host_ns(sizes).sum()) / groups
    rank, resource = max(loads, key=lambda key: loads[key])
    if resource != VTA:
        return Bottleneck(loads, rank, resource, None, loads)
    stage = max((key for key in stage_ns if key[0] == rank), key=lambda key: stage_ns[key])[1]
    return Bottleneck(loads, rank, resource, stage, _with_one_more(run, loads, stage_ns, stage))


def _stage_loads(run: Run) -> Mapping[tuple[int, int], float]:
    """Return VTA time per image group by (rank, stage)."""
    sums: dict[tuple[int, int], float] = defaultdict(float)
    for rank in run.ranks:
        launches = run.events(rank, EventKind.LAUNCH)
        for stage in set(launches["stage"].tolist()):
            mine = launches[launches["stage"] == stage]
            sums[rank, stage] = float((mine["end_ns"] - mine["start_ns"]).sum()) / len(run.groups)
    return sums


def _with_one_more(run: Run, loads: Loads, stage_ns: Mapping[tuple[int, int], float], stage: int) -> Loads:
    replicas = [rank for rank, at in stage_ns if at == stage]
    whole_ns = sum(stage_ns[rank, stage] for rank in replicas)
    after = dict(loads)
    for rank in replicas:
        after[rank, VTA] += whole_ns / (len(replicas) + 1) - stage_ns[rank, stage]
    after[max(run.ranks) + 1, VTA] = whole_ns / (len(replicas) + 1)
    return after
