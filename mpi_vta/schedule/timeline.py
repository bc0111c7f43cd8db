"""What one rank does, in which order, and when: shared by the prediction of a plan and by its run.

Order
-----
Every place of the plan (the source, each stage, the sink) handles image group g at *tick*
``g + offset(place)``, with offset 0 for the source, ``in_flight_groups`` (W) for the sink and, for a
stage, a number from 0 to W - 1 that grows along the edges. Within a tick the sink comes first, then
the source, then the stages by index. A rank does what is placed on it in order of (tick, place).

Why no deadlock is possible
---------------------------
(tick, place) orders all operations of all ranks. Whatever an operation needs comes earlier in that
order: a stage needs stages of lower index, whose offsets are not larger; the sink of group g, at tick
g + W, needs stages at ticks up to g + W - 1; the source of group g, at tick g, needs the sink of group
g - W, at the same tick but before it. So of the operations not yet done, the first in that order has
everything that it waits for, and its rank has nothing left to do before it: some rank can always go on,
whether MPI sends eagerly or by rendezvous, as long as no rank waits for a *send*. None has to: group
g starts only when group g - W has left, so at most W messages of an edge are under way, and a
sender that may have W sends open per edge never blocks. Receivers may post as early as they like.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import lcm

from mpi_vta.errors import PlanError
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import SINK, SOURCE, Edge, Plan
from mpi_vta.schedule.clock import RankClock, TimeInterval


@dataclass(frozen=True)
class Receive:
    """Take the message of ``plan.edges[edge]`` for `group` from rank `peer`; it is for place `place`."""

    edge: int
    group: int
    peer: int
    place: int


@dataclass(frozen=True)
class Assemble:
    """Copy the pieces for stage `place` and `group` that this rank made itself, on the processor."""

    place: int
    group: int


@dataclass(frozen=True)
class Host:
    """Gather and pack the images of `group` for stage `place` on the processor."""

    place: int
    group: int


@dataclass(frozen=True)
class Launch:
    """Run stage `place` on `group`."""

    place: int
    group: int


@dataclass(frozen=True)
class Send:
    """Send the message of ``plan.edges[edge]`` for `group` to rank `peer`; it is made at `place`."""

    edge: int
    group: int
    peer: int
    place: int


@dataclass(frozen=True)
class Start:
    """Rank 0 lets image group `group` in: its latency counts from here."""

    group: int


@dataclass(frozen=True)
class Finish:
    """Rank 0 has every output of image group `group`."""

    group: int


Step = Receive | Assemble | Host | Launch | Send | Start | Finish


def stage_offsets(plan: Plan) -> tuple[int, ...]:
    """Return each stage's offset in ticks: its share of the way from the source to the sink.

    Raises
    ------
    PlanError
        If a message goes to a stage of lower or the same index.
    """
    depth: list[int] = []
    for edge in plan.edges:
        if edge.consumer != SINK and edge.producer >= edge.consumer:
            raise PlanError(f"{edge.value} goes back from stage {edge.producer} to {edge.consumer}", where="plan")
    for stage in plan.stages:
        makers = {plan.edges[index].producer for index in plan.edges_into.get(stage.index, ())} - {SOURCE}
        depth.append(1 + max((depth[maker] for maker in makers), default=-1))
    return tuple(d * plan.in_flight_groups // (max(depth, default=0) + 1) for d in depth)


def rank_steps(plan: Plan, rank: int, groups: int) -> Iterator[Step]:
    """Yield what `rank` does for `groups` image groups, in the order given above.

    Messages between two places on the same rank are not steps: the data is there. Nothing is kept per group,
    however many there are.

    Parameters
    ----------
    plan : Plan
        A valid plan (`mpi_vta.schedule.validate.validate`).
    rank : int
        Any rank; one that the plan does not use has no steps.
    groups : int
        Number of image groups, at least 1.
    """
    offsets = stage_offsets(plan)
    places = [(SINK, plan.in_flight_groups), (SOURCE, 0)] if rank == 0 else []
    places += [(stage.index, offsets[stage.index]) for stage in plan.stages if rank in stage.ranks]
    for tick in range(groups + max((offset for _, offset in places), default=0)):
        for place, offset in places:
            group = tick - offset
            if 0 <= group < groups and plan.rank_of(place, group) == rank:
                yield from _place_steps(plan, place, rank, group)


def edge_peers(plan: Plan, index: int, rank: int, groups: int, *, sends: bool) -> Iterator[int]:
    """Yield the other rank of every message of one edge that `rank` sends, or receives, in group order.

    Parameters
    ----------
    plan : Plan
        A valid plan.
    index : int
        Of the edge.
    rank, groups : int
        As for `rank_steps`.
    sends : bool
        Whether to look at what `rank` sends; else at what it receives.
    """
    edge = plan.edges[index]
    mine, other = (edge.producer, edge.consumer) if sends else (edge.consumer, edge.producer)
    if rank not in (plan.stages[mine].ranks if mine >= 0 else (0,)):
        return
    # turns repeat, so a period without a message means that there is none
    period = lcm(*(plan.stages[place].turn_count for place in (mine, other) if place >= 0))
    found = False
    for group in range(groups):
        if group == period and not found:
            return
        if plan.rank_of(mine, group) == rank and plan.rank_of(other, group) != rank:
            found = True
            yield plan.rank_of(other, group)


def _place_steps(plan: Plan, place: int, rank: int, group: int) -> Iterator[Step]:
    stage = plan.stages[place] if place >= 0 else None
    if stage is not None and stage.assemble_ns and stage.assemble_ns[stage.replica_of(group)]:
        yield Assemble(place, group)
    makers = ((plan.rank_of(plan.edges[i].producer, group), i) for i in plan.edges_into.get(place, ()))
    for peer, index in _from_nearest(plan, makers, rank, -1):
        yield Receive(index, group, peer, place)
    if place == SINK:
        yield Finish(group)
        return
    if stage is None:
        yield Start(group)
    else:
        if stage.host_ns[stage.replica_of(group)]:
            yield Host(place, group)
        yield Launch(place, group)
    readers = ((plan.rank_of(plan.edges[i].consumer, group), i) for i in plan.edges_out_of.get(place, ()))
    for peer, index in _from_nearest(plan, readers, rank, 1):
        yield Send(index, group, peer, place)


def _from_nearest(plan: Plan, edges: Iterable[tuple[int, int]], rank: int, step: int) -> list[tuple[int, int]]:
    """Return the (peer, edge) pairs with other ranks, the next rank in steps of `step` first.

    So when many ranks send to many, they do not all send to the same one at a time.
    """
    around = plan.ranks[-1] + 1
    return sorted(
        (entry for entry in edges if entry[0] != rank),
        key=lambda entry: ((entry[0] - rank) * step % around, entry[1]),
    )


class RankTimeline:
    """Gives every step of one rank its virtual time; call the methods in the order of `rank_steps`.

    Parameters
    ----------
    plan : Plan
        The plan that is walked.
    rank : int
        Whose steps.
    network : NetworkModel
        Message times.
    clock : RankClock, optional
        Starts at 0 when not given. Several models on one rank would share it.
    """

    def __init__(self, plan: Plan, rank: int, network: NetworkModel, clock: RankClock | None = None) -> None:
        self.clock = clock or RankClock()
        self._plan = plan
        self._rank = rank
        self._network = network
        self._ready_ns: dict[tuple[int, int], int] = {}
        self._made_ns: dict[int, int] = {}

    def receive(self, step: Receive, depart_ns: int) -> TimeInterval:
        """Time the arrival of a message that left its sender at `depart_ns`."""
        span = self.clock.receive(depart_ns, self._edge(step.edge).size_bytes, self._network)
        self._raise_ready(step.place, step.group, span.end_ns)
        return span

    def assemble(self, step: Assemble) -> TimeInterval:
        """Time the processor's copying of what this rank made itself; messages may arrive meanwhile."""
        return self._on_processor(step, self._plan.stages[step.place].assemble_ns)

    def host(self, step: Host) -> TimeInterval:
        """Time the processor's work before a launch."""
        return self._on_processor(step, self._plan.stages[step.place].host_ns)

    def _on_processor(self, step: Assemble | Host, replicas_ns: tuple[int, ...]) -> TimeInterval:
        replica = self._plan.stages[step.place].replica_of(step.group)
        ready_ns = self._ready_ns.get((step.place, step.group), 0)
        span = self.clock.host(ready_ns, replicas_ns[replica])
        self._raise_ready(step.place, step.group, span.end_ns)
        return span

    def launch(self, step: Launch) -> TimeInterval:
        """Time a launch: when all its inputs are there and VTA is free."""
        stage = self._plan.stages[step.place]
        ready_ns = self._ready_ns.pop((step.place, step.group), 0)
        span = self.clock.launch(ready_ns, stage.compute_ns[stage.replica_of(step.group)])
        self._made(step.place, step.group, span.end_ns)
        return span

    def send(self, step: Send) -> TimeInterval:
        """Time a message's leaving; ``end_ns`` has to travel with it."""
        return self.clock.send(self._made_ns[step.place], self._edge(step.edge).size_bytes, self._network)

    def start(self, step: Start) -> int:
        """Return when the group's images are let in."""
        start_ns = self._ready_ns.pop((SOURCE, step.group), 0)
        self._made(SOURCE, step.group, start_ns)
        return start_ns

    def finish(self, step: Finish) -> int:
        """Return when all outputs of the group are there."""
        end_ns = self._ready_ns.pop((SINK, step.group))
        self._raise_ready(SOURCE, step.group + self._plan.in_flight_groups, end_ns)
        return end_ns

    def _made(self, place: int, group: int, end_ns: int) -> None:
        self._made_ns[place] = end_ns
        for index in self._plan.edges_out_of.get(place, ()):
            edge = self._edge(index)
            if self._plan.rank_of(edge.consumer, group) == self._rank:
                self._raise_ready(edge.consumer, group, end_ns)

    def _raise_ready(self, place: int, group: int, ready_ns: int) -> None:
        key = (place, group)
        self._ready_ns[key] = max(self._ready_ns.get(key, 0), ready_ns)

    def _edge(self, index: int) -> Edge:
        return self._plan.edges[index]
