"""A rank's part of a job in real time: whatever is ready is done, on the resources that the model knows.

The steps and their order are those of virtual time. What they wait for is real: messages, the processor's work
before a launch and the launches themselves, which run in a thread each, so that messages move on meanwhile.
A simulated board holds for its modelled time, so that only network and processor are put to the test.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.plans.plan import SINK, SOURCE
from mpi_vta.runtime.devices.protocol import Device
from mpi_vta.runtime.endpoint import Endpoint
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.rank import RankJob, RankRun
from mpi_vta.runtime.stage import BoardStage
from mpi_vta.runtime.transport.protocol import Pause, Transport
from mpi_vta.schedule.clock import TimeInterval
from mpi_vta.schedule.timeline import Finish, Launch, Receive, Send, Start, rank_steps
from mpi_vta.trace.schema import EventKind
from mpi_vta.trace.writer import RankTrace

Values = dict[str, NDArray[np.uint8]]
_DONE = 3


class WallClock:
    """Nanoseconds of CLOCK_MONOTONIC since the clock was made."""

    def __init__(self) -> None:
        self._zero_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Return the time."""
        return time.monotonic_ns() - self._zero_ns


class Worker:
    """A thread that does one thing after another, each for at least its modelled time.

    Work that was handed in before the last one's time was over starts, for the purpose of holding, at that
    time: sleeping a little too long does not add up.
    """

    def __init__(self, name: str, clock: WallClock) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._free_ns = 0

    def submit(self, hold_ns: int, work: Callable[[], Values]) -> Future[tuple[TimeInterval, Values]]:
        """Hand in work; the result says from when to when it took."""
        return self._pool.submit(self._do, self._clock.now_ns(), hold_ns, work)

    def close(self) -> None:
        """Wait for what is under way, and drop the rest."""
        self._pool.shutdown(cancel_futures=True)

    def _do(self, asked_ns: int, hold_ns: int, work: Callable[[], Values]) -> tuple[TimeInterval, Values]:
        start_ns = max(asked_ns, self._free_ns)
        result = work()
        left_ns = start_ns + hold_ns - self._clock.now_ns()
        if left_ns > 0:
            time.sleep(left_ns / 1e9)
        end_ns = self._clock.now_ns()
        self._free_ns = start_ns + hold_ns if left_ns > 0 else end_ns
        return TimeInterval(start_ns, end_ns), result


@dataclass
class _Task:
    """A launch, or the end of an image group at rank 0, and what it still waits for."""

    place: int
    group: int
    missing: int
    prepared: Future[tuple[TimeInterval, Values]] | None = None
    launched: Future[tuple[TimeInterval, Values]] | None = None

    @property
    def progress(self) -> int:
        """Steps taken: inputs handed to the processor, launch handed to VTA."""
        return (self.prepared is not None) + (self.launched is not None)


class WallRun(RankRun):
    """Runs one rank's part of a job in real time; parameters as for `RankRun`, and the rank's clock."""

    def __init__(
        self,
        job: RankJob,
        transport: Transport,
        device: Device,
        trace: RankTrace,
        watchdog: Watchdog,
        clock: WallClock,
        endpoint: Endpoint | None = None,
        on_finish: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(job, transport, device, trace, watchdog, endpoint, on_finish, real_sizes=True)
        self._clock, self._simulated = clock, device.simulated
        self._cpu, self._vta = Worker("processor", clock), Worker("vta", clock)
        self._sends: dict[tuple[int, int], list[Send]] = {}
        self._receives: dict[int, deque[Receive]] = {}
        self._tasks: dict[tuple[int, int], _Task] = {}
        self._starts: deque[Start] = deque()
        self._coming = rank_steps(job.plan, self._rank, job.groups)
        self._next = next(self._coming, None)
        self._finished = 0

    def run(self) -> None:
        """Do every step, then wait until the last message has left."""
        try:
            while self._next is not None or self._tasks or self._starts or any(self._receives.values()):
                self._look_ahead()
                with self._watchdog.waiting(self._awaited()):
                    pause = Pause()
                    while not self._advance():
                        pause.once()
            for outbound in self._outbound.values():
                outbound.drain(self._watchdog)
        finally:
            self._cpu.close()
            self._vta.close()

    def _look_ahead(self) -> None:
        """Take up the steps of groups that may be under way while the oldest here is not done, and few later ones.

        A step of group g has a tick from g to g + W, so a limit of 2 W on groups takes up all steps of the W groups.
        """
        oldest = min((group for _, group in self._tasks), default=None)
        while self._next is not None:
            step, group = self._next, self._next.group
            if oldest is not None and group >= oldest + 2 * self._plan.in_flight_groups:
                return
            if isinstance(step, Send):
                self._sends.setdefault((step.place, group), []).append(step)
            elif isinstance(step, Receive):
                self._receives.setdefault(step.edge, deque()).append(step)
            elif isinstance(step, Start):
                self._starts.append(step)
            elif isinstance(step, Launch | Finish):
                place = SINK if isinstance(step, Finish) else step.place
                self._tasks[place, group] = self._task(place, group)
                oldest = group if oldest is None else min(oldest, group)
            self._next = next(self._coming, None)

    def _task(self, place: int, group: int) -> _Task:
        return _Task(place, group, len(self._plan.edges_into.get(place, ())))

    def _awaited(self) -> str:
        """Say what comes next, for the watchdog's message."""
        for (place, group), task in self._tasks.items():
            if task.launched is not None:
                return f"the launch of stage {place} for group {group}"
            waiting = [
                steps[0]
                for steps in self._receives.values()
                if steps and (steps[0].place, steps[0].group) == (place, group)
            ]
            if waiting:
                return f"{self._plan.edges[waiting[0].edge].value} of group {group} from rank {waiting[0].peer}"
        return "the next image group"

    def _advance(self) -> bool:
        """Do what can be done now; return whether that was anything."""
        moved = [self._take(edge) for edge in self._receives if self._receives[edge]]
        for outbound in self._outbound.values():
            outbound.progress()
        moved += [self._let_in()]
        # groups of one place go in order, as their messages do: one may overtake in no step that it takes
        ahead: dict[int, int] = {}
        for task in list(self._tasks.values()):
            if task.progress < ahead.get(task.place, _DONE):
                moved.append(self._move(task))
            if (task.place, task.group) in self._tasks:
                ahead[task.place] = task.progress
        return any(moved)

    def _take(self, edge: int) -> bool:
        inbound = self._inbound[edge]
        if not inbound.arrived():
            return False
        start_ns = self._clock.now_ns()
        step = self._receives[edge].popleft()
        _, payload = inbound.take(self._watchdog, step.group * self._plan.group_images)
        if self._carries_data:
            arrived = self._arrived.setdefault((step.place, step.group), {})
            self._pieces.put(self._plan.edges[edge], arrived, payload.copy())
        inbound.release()
        self._tasks[step.place, step.group].missing -= 1
        span = TimeInterval(start_ns, self._clock.now_ns())
        self._note(EventKind.RECEIVE, span, step.place, step.group, step.peer, edge)
        return True

    def _let_in(self) -> bool:
        if not self._starts or self._starts[0].group >= self._finished + self._plan.in_flight_groups:
            return False
        group = self._starts.popleft().group
        at_ns = self._clock.now_ns()
        endpoint = self._at_rank_0()
        endpoint.start(group, at_ns)
        self._note(EventKind.START, TimeInterval(at_ns, at_ns), SOURCE, group)
        self._made_by(SOURCE, group, endpoint.group(group) if self._carries_data else {})
        return True

    def _move(self, task: _Task) -> bool:
        """Take a task one step on, if what it waits for is there."""
        if task.missing:
            return False
        if task.place == SINK:
            self._conclude(task)
            return True
        stage = self._plan.stages[task.place]
        replica = stage.replica_of(task.group)
        if task.prepared is None:
            values, board = self._consume(task.place, task.group), self._stages[task.place]
            raw = self._raw[task.place]
            hold_ns = stage.host_ns[replica] + (stage.assemble_ns[replica] if stage.assemble_ns else 0)
            task.prepared = self._cpu.submit(
                hold_ns if self._simulated else 0,
                lambda: board.prepare(values, raw) if self._carries_data else {},
            )
            return True
        if task.launched is None:
            return task.prepared.done() and self._start_launch(task, stage.compute_ns[replica])
        if not task.launched.done():
            return False
        span, made = task.launched.result()
        del self._tasks[task.place, task.group]
        self._note(EventKind.LAUNCH, span, task.place, task.group)
        self._made_by(task.place, task.group, made)
        return True

    def _start_launch(self, task: _Task, compute_ns: int) -> bool:
        assert task.prepared is not None
        span, inputs = task.prepared.result()
        if span.end_ns > span.start_ns:
            self._note(EventKind.HOST, span, task.place, task.group)
        board = self._stages[task.place]
        task.launched = self._vta.submit(
            compute_ns if self._simulated else 0,
            lambda: self._watched(board, inputs, self._launch_name(task.place, task.group)),
        )
        return True

    def _watched(self, board: BoardStage, inputs: Values, name: str) -> Values:
        if not self._carries_data:
            return {}
        with self._watchdog.launching(name):
            return board.launch(inputs)

    def _conclude(self, task: _Task) -> None:
        at_ns = self._clock.now_ns()
        self._at_rank_0().finish(task.group, at_ns, self._consume(SINK, task.group))
        self._note(EventKind.FINISH, TimeInterval(at_ns, at_ns), SINK, task.group)
        del self._tasks[SINK, task.group]
        self._finished += 1
        self._on_finish()

    def _made_by(self, place: int, group: int, values: Values) -> None:
        """Hand results to places on this rank and send them to others, at once: the next launch replaces them."""
        if self._carries_data:
            self._hand_over(place, group, values)
        for index in self._plan.edges_out_of.get(place, ()):
            edge = self._plan.edges[index]
            if self._plan.rank_of(edge.consumer, group) == self._rank:
                self._tasks[edge.consumer, group].missing -= 1
        for step in self._sends.pop((place, group), ()):
            edge = self._plan.edges[step.edge]
            start_ns = self._clock.now_ns()
            payload: Any = self._pieces.cut(edge, values[edge.value]) if self._carries_data else None
            self._outbound[step.edge].send(step.peer, start_ns, payload, group * self._plan.group_images)
            self._note(EventKind.SEND, TimeInterval(start_ns, self._clock.now_ns()), place, group, step.peer, step.edge)
