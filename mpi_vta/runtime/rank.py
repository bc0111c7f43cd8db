"""One rank's loop: it walks the plan's steps, moves the data, and gives every step its virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.errors import PlanError
from mpi_vta.hw.board import Board
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import SINK, SOURCE, Edge, Plan
from mpi_vta.runtime.devices.protocol import Device
from mpi_vta.runtime.endpoint import Endpoint
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.messages import Inbound, Outbound
from mpi_vta.runtime.piece_copier import PieceCopier
from mpi_vta.runtime.stage import BoardStage
from mpi_vta.runtime.transport.protocol import Transport
from mpi_vta.schedule.clock import TimeInterval
from mpi_vta.schedule.timeline import (
    Assemble,
    Finish,
    Host,
    Launch,
    RankTimeline,
    Receive,
    Send,
    Start,
    edge_peers,
    rank_steps,
)
from mpi_vta.trace.schema import NO_EDGE, NO_PEER, EventKind
from mpi_vta.trace.writer import RankTrace

PLACE_NAMES = {SOURCE: "source", SINK: "sink"}


@dataclass(frozen=True)
class RankJob:
    """What one rank needs to know.

    Attributes
    ----------
    plan : Plan
        The whole plan.
    network : NetworkModel
        Message times.
    board : Board
        This rank's board.
    programs : mapping of int to Program
        By stage, those that this rank runs.
    groups : int
        Image groups of the job.
    model : int
        Number of the model among those that run at the same time.
    ranks : tuple of int
        The job's rank for each rank of the plan; empty if they are the same.
    verify : bool
        Whether messages carry a checksum.
    """

    plan: Plan
    network: NetworkModel
    board: Board
    programs: Mapping[int, Program]
    groups: int
    model: int = 0
    ranks: tuple[int, ...] = ()
    verify: bool = False


class RankRun:
    """Runs one rank's part of a job.

    Parameters
    ----------
    job : RankJob
        What to do.
    transport, device, trace, watchdog
        With what.
    endpoint : Endpoint or None
        Images and outputs; rank 0 only.
    on_finish : callable
        Called on rank 0 after each finished group.
    """

    def __init__(
        self,
        job: RankJob,
        transport: Transport,
        device: Device,
        trace: RankTrace,
        watchdog: Watchdog,
        endpoint: Endpoint | None = None,
        on_finish: Callable[[], None] = lambda: None,
    ) -> None:
        self._job, self._plan, self._rank = job, job.plan, transport.rank
        self._carries_data = device.carries_data
        self._trace, self._watchdog, self._endpoint, self._on_finish = trace, watchdog, endpoint, on_finish
        self._timeline = RankTimeline(job.plan, self._rank, job.network)
        self._pieces = PieceCopier(job.plan, job.board.config)
        self._stages = {index: BoardStage(program, device) for index, program in job.programs.items()}
        self._raw = {stage: _raw_values(job.plan, stage) for stage in job.programs}
        self._inbound, self._outbound = self._open_edges(transport)
        self._arrived: dict[tuple[int, int], dict[str, NDArray[np.uint8]]] = {}
        self._made: dict[int, dict[str, NDArray[np.uint8]]] = {}
        self._to_release: dict[tuple[int, int], list[Inbound]] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            Receive: self._receive,
            Assemble: self._assemble,
            Host: self._host,
            Launch: self._launch,
            Send: self._send,
            Start: self._start,
            Finish: self._finish,
        }
        self._check_times()
        # a real board tells no cycles: then those of the plan, which are the first replica's
        planned = {index: job.plan.stages[index].cycles for index in self._stages}
        trace.note_stages({i: planned[i] if s.cycles is None else s.cycles for i, s in self._stages.items()})
        profiles = {index: stage.profile for index, stage in self._stages.items()}
        trace.note_profiles({index: profile for index, profile in profiles.items() if profile is not None})

    def run(self) -> None:
        """Do every step, then wait until the last message has left."""
        for step in rank_steps(self._plan, self._rank, self._job.groups):
            self._handlers[type(step)](step)
        for outbound in self._outbound.values():
            outbound.drain(self._watchdog)

    def _open_edges(self, transport: Transport) -> tuple[dict[int, Inbound], dict[int, Outbound]]:
        plan, groups = self._plan, self._job.groups
        inbound, outbound, verify = {}, {}, self._job.verify
        for index, edge in enumerate(plan.edges):
            if next(edge_peers(plan, index, self._rank, groups, sends=False), None) is not None:
                peers = edge_peers(plan, index, self._rank, groups, sends=False)
                inbound[index] = Inbound(
                    transport, index, peers, self._payload_bytes(index), edge_name(edge), verify=verify
                )
            if next(edge_peers(plan, index, self._rank, groups, sends=True), None) is not None:
                outbound[index] = Outbound(transport, index, self._payload_bytes(index), edge_name(edge), verify=verify)
        return inbound, outbound

    def _payload_bytes(self, edge: int) -> int:
        return self._plan.edges[edge].size_bytes if self._carries_data else 0

    def _check_times(self) -> None:
        """Refuse a plan whose times are not those of the programs at hand."""
        for index, stage in self._stages.items():
            if stage.cycles is None:
                continue
            planned = self._plan.stages[index]
            replica = planned.ranks.index(self._rank)
            found_ns = self._job.board.compute_ns(stage.cycles)
            if found_ns != planned.compute_ns[replica]:
                raise PlanError(
                    f"stage {index} takes {found_ns} ns on rank {self._rank}, the plan says "
                    f"{planned.compute_ns[replica]} ns",
                    where=f"plan of {self._plan.model}",
                    remedy="make the plan again",
                )

    def _receive(self, step: Receive) -> None:
        inbound = self._inbound[step.edge]
        depart_ns, payload = inbound.take(self._watchdog, step.group * self._plan.group_images)
        span = self._timeline.receive(step, depart_ns)
        edge = self._plan.edges[step.edge]
        self._note(EventKind.RECEIVE, span, step.place, step.group, step.peer, step.edge)
        key = (step.place, step.group)
        if self._carries_data:
            self._pieces.put(edge, self._arrived.setdefault(key, {}), payload)
        self._to_release.setdefault(key, []).append(inbound)

    def _assemble(self, step: Assemble) -> None:
        self._note(EventKind.HOST, self._timeline.assemble(step), step.place, step.group)

    def _host(self, step: Host) -> None:
        self._note(EventKind.HOST, self._timeline.host(step), step.place, step.group)

    def _launch(self, step: Launch) -> None:
        span = self._timeline.launch(step)
        self._note(EventKind.LAUNCH, span, step.place, step.group)
        values = self._consume(step.place, step.group)
        if self._carries_data:
            with self._watchdog.launching(self._launch_name(step.place, step.group)):
                made = self._stages[step.place].run(values, self._raw[step.place])
            self._hand_over(step.place, step.group, made)
        self._release(step.place, step.group)

    def _send(self, step: Send) -> None:
        span = self._timeline.send(step)
        edge = self._plan.edges[step.edge]
        self._note(EventKind.SEND, span, step.place, step.group, step.peer, step.edge)
        payload = self._pieces.cut(edge, self._made[step.place][edge.value]) if self._carries_data else None
        image = step.group * self._plan.group_images
        self._outbound[step.edge].send(step.peer, span.end_ns, payload, image)

    def _start(self, step: Start) -> None:
        endpoint = self._at_rank_0()
        at_ns = self._timeline.start(step)
        endpoint.start(step.group, at_ns)
        self._note(EventKind.START, TimeInterval(at_ns, at_ns), SOURCE, step.group)
        if self._carries_data:
            self._hand_over(SOURCE, step.group, endpoint.group(step.group))

    def _finish(self, step: Finish) -> None:
        at_ns = self._timeline.finish(step)
        self._at_rank_0().finish(step.group, at_ns, self._consume(SINK, step.group))
        self._note(EventKind.FINISH, TimeInterval(at_ns, at_ns), SINK, step.group)
        self._release(SINK, step.group)
        self._on_finish()

    def _launch_name(self, place: int, group: int) -> str:
        return f"the launch of stage {place} for image {group * self._plan.group_images}"

    def _hand_over(self, place: int, group: int, values: dict[str, NDArray[np.uint8]]) -> None:
        """Keep a place's results for its sends, and give them to the places on this rank that read them."""
        self._made[place] = values
        for index in self._plan.edges_out_of.get(place, ()):
            edge = self._plan.edges[index]
            if self._plan.rank_of(edge.consumer, group) == self._rank:
                arrived = self._arrived.setdefault((edge.consumer, group), {})
                self._pieces.put(edge, arrived, self._pieces.cut(edge, values[edge.value]))

    def _consume(self, place: int, group: int) -> dict[str, NDArray[np.uint8]]:
        return self._arrived.pop((place, group), {})

    def _release(self, place: int, group: int) -> None:
        for inbound in self._to_release.pop((place, group), []):
            inbound.release()

    def _at_rank_0(self) -> Endpoint:
        assert self._endpoint is not None, "source and sink are at rank 0"
        return self._endpoint

    def _note(
        self, kind: EventKind, span: TimeInterval, place: int, group: int, peer: int = NO_PEER, edge: int = NO_EDGE
    ) -> None:
        self._watchdog.note(edge, group * self._plan.group_images)
        self._trace.record(
            kind,
            span.start_ns,
            span.end_ns,
            stage=place,
            image=group * self._plan.group_images,
            replica=self._plan.stages[place].replica_of(group) if place >= 0 else 0,
            peer=self._job.ranks[peer] if self._job.ranks and peer != NO_PEER else peer,
            model=self._job.model,
            edge=edge,
            size_bytes=0 if edge == NO_EDGE else self._plan.edges[edge].size_bytes,
        )


def _raw_values(plan: Plan, stage: int) -> frozenset[str]:
    return frozenset(edge.value for edge in plan.edges if edge.consumer == stage and edge.producer == SOURCE)


def edge_name(edge: Edge) -> str:
    """Return what a message of an edge is called: ``pool1 (stage 0 to stage 1)``."""
    ends = [PLACE_NAMES.get(place, f"stage {place}") for place in (edge.producer, edge.consumer)]
    return f"{edge.value} ({ends[0]} to {ends[1]})"
