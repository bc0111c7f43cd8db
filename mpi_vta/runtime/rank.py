"""One rank's part of a job: what it needs to know, and what runs in virtual and in real time have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
from mpi_vta.schedule.timeline import edge_peers
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
    ranks : tuple of int
        The job's rank for each rank of the plan.
    model : int
        Number of the model among those that run at the same time.
    verify : bool
        Whether messages carry a checksum.
    """

    plan: Plan
    network: NetworkModel
    board: Board
    programs: Mapping[int, Program]
    groups: int
    ranks: tuple[int, ...]
    model: int = 0
    verify: bool = False


class RankRun(ABC):
    """One rank's part of a job: its stages, the two ends of its edges, what has arrived, and the trace.

    When what is done, and what time that takes, is for those who inherit from it to say.

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
    real_sizes : bool
        Whether messages have their size even where a device carries no data.
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
        *,
        real_sizes: bool,
    ) -> None:
        self._job, self._plan, self._rank = job, job.plan, transport.rank
        self._carries_data = device.carries_data
        self._trace, self._watchdog, self._endpoint, self._on_finish = trace, watchdog, endpoint, on_finish
        self._pieces = PieceCopier(job.plan, job.board.config)
        self._stages = {index: BoardStage(program, device) for index, program in job.programs.items()}
        self._raw = {stage: _raw_values(job.plan, stage) for stage in job.programs}
        self._inbound, self._outbound = self._open_edges(transport, real_sizes or self._carries_data)
        self._arrived: dict[tuple[int, int], dict[str, NDArray[np.uint8]]] = {}
        self._check_times()
        # a real board tells no cycles: then those of the plan, which are the first replica's
        planned = {index: job.plan.stages[index].cycles for index in self._stages}
        trace.note_stages({i: planned[i] if s.cycles is None else s.cycles for i, s in self._stages.items()})
        profiles = {index: stage.profile for index, stage in self._stages.items()}
        trace.note_profiles({index: profile for index, profile in profiles.items() if profile is not None})

    @abstractmethod
    def run(self) -> None:
        """Do every step, then wait until the last message has left."""

    def _open_edges(self, transport: Transport, with_payload: bool) -> tuple[dict[int, Inbound], dict[int, Outbound]]:
        plan, groups = self._plan, self._job.groups
        inbound, outbound, verify = {}, {}, self._job.verify
        for index, edge in enumerate(plan.edges):
            name, payload_bytes = edge_name(edge), edge.size_bytes if with_payload else 0
            if next(edge_peers(plan, index, self._rank, groups, sends=False), None) is not None:
                peers = edge_peers(plan, index, self._rank, groups, sends=False)
                inbound[index] = Inbound(transport, index, peers, payload_bytes, name, verify=verify)
            if next(edge_peers(plan, index, self._rank, groups, sends=True), None) is not None:
                outbound[index] = Outbound(transport, index, payload_bytes, name, verify=verify)
        return inbound, outbound

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

    def _launch_name(self, place: int, group: int) -> str:
        return f"the launch of stage {place} for image {group * self._plan.group_images}"

    def _hand_over(self, place: int, group: int, values: dict[str, NDArray[np.uint8]]) -> None:
        """Give a place's results to the places on this rank that read them."""
        for index in self._plan.edges_out_of.get(place, ()):
            edge = self._plan.edges[index]
            if self._plan.rank_of(edge.consumer, group) == self._rank:
                arrived = self._arrived.setdefault((edge.consumer, group), {})
                self._pieces.put(edge, arrived, self._pieces.cut(edge, values[edge.value]))

    def _consume(self, place: int, group: int) -> dict[str, NDArray[np.uint8]]:
        return self._arrived.pop((place, group), {})

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
            peer=peer if peer == NO_PEER else self._job.ranks[peer],
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
