"""A rank's part of a job in virtual time: it walks the plan's steps, moves the data, and gives every step its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.plans.plan import SINK, SOURCE
from mpi_vta.runtime.devices.protocol import Device
from mpi_vta.runtime.endpoint import Endpoint
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.messages import Inbound
from mpi_vta.runtime.rank import RankJob, RankRun
from mpi_vta.runtime.transport.protocol import Transport
from mpi_vta.schedule.clock import TimeInterval
from mpi_vta.schedule.timeline import Assemble, Finish, Host, Launch, RankTimeline, Receive, Send, Start, rank_steps
from mpi_vta.trace.schema import EventKind
from mpi_vta.trace.writer import RankTrace


class VirtualRun(RankRun):
    """Runs one rank's part of a job in virtual time; parameters as for `RankRun`."""

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
        super().__init__(job, transport, device, trace, watchdog, endpoint, on_finish, real_sizes=False)
        self._timeline = RankTimeline(job.plan, self._rank, job.network)
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

    def run(self) -> None:
        """Do every step, then wait until the last message has left."""
        for step in rank_steps(self._plan, self._rank, self._job.groups):
            self._handlers[type(step)](step)
        for outbound in self._outbound.values():
            outbound.drain(self._watchdog)

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
            self._keep(step.place, step.group, made)
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
            self._keep(SOURCE, step.group, endpoint.group(step.group))

    def _finish(self, step: Finish) -> None:
        at_ns = self._timeline.finish(step)
        self._at_rank_0().finish(step.group, at_ns, self._consume(SINK, step.group))
        self._note(EventKind.FINISH, TimeInterval(at_ns, at_ns), SINK, step.group)
        self._release(SINK, step.group)
        self._on_finish()

    def _keep(self, place: int, group: int, values: dict[str, NDArray[np.uint8]]) -> None:
        """Keep a place's results for its sends, and hand them over."""
        self._made[place] = values
        self._hand_over(place, group, values)

    def _release(self, place: int, group: int) -> None:
        for inbound in self._to_release.pop((place, group), []):
            inbound.release()
