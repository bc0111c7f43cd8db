"""The predicted run of a plan: every rank's loop walked in one process over the virtual clocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import Plan
from mpi_vta.plans.resources import RESOURCES
from mpi_vta.schedule.clock import RankClock, TimeInterval
from mpi_vta.schedule.figures import Figures, group_count, measure
from mpi_vta.schedule.timeline import (
    Assemble,
    Finish,
    Host,
    Launch,
    RankTimeline,
    Receive,
    Send,
    Start,
    Step,
    rank_steps,
)


@dataclass(frozen=True)
class Prediction:
    """A predicted run; every time is modelled.

    Attributes
    ----------
    start_ns, finish_ns : tuple of int
        Per image group.
    spans : mapping of int to tuple of (Step, TimeInterval)
        Per rank, what it does when, in the order of `rank_steps`; empty unless asked for.
    busy_ns : mapping of int to mapping of str to int
        Per rank and resource (`RESOURCES`), how long it is busy.
    bottleneck : tuple of (int, str)
        Rank and resource that is busiest.
    figures : Figures
        Throughput and latency.
    """

    start_ns: tuple[int, ...]
    finish_ns: tuple[int, ...]
    spans: Mapping[int, tuple[tuple[Step, TimeInterval], ...]]
    busy_ns: Mapping[int, Mapping[str, int]]
    bottleneck: tuple[int, str]
    figures: Figures

    @property
    def busy(self) -> Mapping[int, Mapping[str, float]]:
        """Per rank and resource, the share of the makespan in which it is busy."""
        makespan_ns = self.figures.makespan_ns
        return {
            rank: {name: spent / makespan_ns for name, spent in of_rank.items()}
            for rank, of_rank in self.busy_ns.items()
        }


def predict(
    plan: Plan, network: NetworkModel, images: int, *, bound_images_per_s: float = inf, keep_spans: bool = False
) -> Prediction:
    """Predict a run of `images` images.

    What is kept per image are two times, and with `keep_spans` every span of every rank.
    The steady rate is at most `bound_images_per_s`, see `mpi_vta.plans.steady`.

    Raises
    ------
    PlanError
        If a message goes to an earlier stage.
    RuntimeError
        If the ranks wait for each other for ever, which the order of `rank_steps` excludes.
    """
    groups = group_count(images, plan.group_images)
    mailbox: dict[tuple[int, int], int] = {}
    walkers = {rank: _Walker(plan, rank, network, groups, mailbox, keep_spans) for rank in plan.ranks}
    unfinished = list(walkers.values())
    while unfinished:
        if not any([walker.advance() for walker in unfinished]):
            waiting = ", ".join(str(walker.rank) for walker in unfinished)
            raise RuntimeError(f"ranks {waiting} wait for messages that nobody sends")
        unfinished = [walker for walker in unfinished if walker.step is not None]
    source = walkers[0]
    figures = measure(
        source.start_ns, source.finish_ns, images, plan.group_images, plan.groups_per_round, bound_images_per_s
    )
    busy_ns = {rank: walker.busy_ns for rank, walker in walkers.items()}
    busiest = max(((r, name) for r in busy_ns for name in RESOURCES), key=lambda entry: busy_ns[entry[0]][entry[1]])
    spans = {rank: tuple(walker.spans) for rank, walker in walkers.items()}
    return Prediction(tuple(source.start_ns), tuple(source.finish_ns), spans, busy_ns, busiest, figures)


class _Walker:
    """One rank in the prediction: goes on until a message is not there yet."""

    def __init__(
        self,
        plan: Plan,
        rank: int,
        network: NetworkModel,
        groups: int,
        mailbox: dict[tuple[int, int], int],
        keep_spans: bool,
    ) -> None:
        self.rank = rank
        self.clock = RankClock()
        self.start_ns: list[int] = []
        self.finish_ns: list[int] = []
        self.spans: list[tuple[Step, TimeInterval]] = []
        self._keep_spans = keep_spans
        self._timeline = RankTimeline(plan, rank, network, self.clock)
        self._steps: Iterator[Step] = rank_steps(plan, rank, groups)
        self._mailbox = mailbox
        self.step: Step | None = next(self._steps, None)

    def advance(self) -> bool:
        """Do every step that is possible now; return whether there was one."""
        moved = False
        while self.step is not None and self._do(self.step):
            self.step = next(self._steps, None)
            moved = True
        return moved

    @property
    def busy_ns(self) -> dict[str, int]:
        return {name: getattr(self.clock, name).busy_ns for name in RESOURCES}

    def _do(self, step: Step) -> bool:
        timeline = self._timeline
        if isinstance(step, Receive):
            depart_ns = self._mailbox.pop((step.edge, step.group), None)
            if depart_ns is None:
                return False
            span = timeline.receive(step, depart_ns)
        elif isinstance(step, Send):
            span = timeline.send(step)
            self._mailbox[step.edge, step.group] = span.end_ns
        elif isinstance(step, Launch):
            span = timeline.launch(step)
        elif isinstance(step, Host):
            span = timeline.host(step)
        elif isinstance(step, Assemble):
            span = timeline.assemble(step)
        elif isinstance(step, Start):
            self.start_ns.append(timeline.start(step))
            span = TimeInterval(self.start_ns[-1], self.start_ns[-1])
        else:
            assert isinstance(step, Finish)
            self.finish_ns.append(timeline.finish(step))
            span = TimeInterval(self.finish_ns[-1], self.finish_ns[-1])
        if self._keep_spans:
            self.spans.append((step, span))
        return True
