"""A trace with what every analysis asks of it: the plan's places, messages, durations, labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import inf
from typing import Any

from numpy.typing import NDArray

from mpi_vta.errors import ArtifactError, InputError
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import SINK, SOURCE, Plan
from mpi_vta.plans.steady import steady_images_per_s
from mpi_vta.text_table import counted
from mpi_vta.trace.contents import checked_plan
from mpi_vta.trace.messages import Messages, link_counters, match_messages
from mpi_vta.trace.reader import RankRecord, Trace
from mpi_vta.trace.schema import MODELLED, EventKind


class Run:
    """One run as its analyses see it; everything is derived from the trace, when first asked for.

    Parameters
    ----------
    trace : Trace
        From `mpi_vta.trace.reader.read`.
    model : int
        Which of the models, numbered as in the trace.

    Raises
    ------
    InputError
        If there is no such model.
    ArtifactError
        If no image was finished, so that there is nothing to analyse, or the trace contradicts itself.
    """

    def __init__(self, trace: Trace, model: int = 0) -> None:
        if not 0 <= model < len(trace.models):
            raise InputError(
                f"it holds no model {model}", where=f"{trace.where}: --model", allowed=f"0 to {len(trace.models) - 1}"
            )
        self.trace = trace.of_model(model)
        self.images = self.trace.images
        if not self.images.size:
            raise ArtifactError("no image was finished in this run", where=trace.where, remedy="let it run longer")
        self.plan: Plan = checked_plan(self.trace)
        self.ranks: Mapping[int, RankRecord] = dict(sorted(self.trace.ranks.items()))

    @cached_property
    def messages(self) -> Messages:
        """Messages of which both ends are known."""
        return match_messages({rank: record.events for rank, record in self.ranks.items()})

    @cached_property
    def links(self) -> NDArray[Any]:
        """Counters of each pair of ranks that spoke, LINK_DTYPE."""
        return link_counters(self.messages)

    @cached_property
    def begin_ns(self) -> int:
        """When the first image was let in: 0 in virtual time, later on real clocks, whose zero is before that."""
        return int(self.images["start_ns"].min())

    @cached_property
    def end_ns(self) -> int:
        """When the last event of any rank ends."""
        return max(int(record.events["end_ns"].max()) for record in self.ranks.values() if record.events.size)

    @property
    def group_images(self) -> int:
        """Images per launch."""
        return self.plan.group_images

    @property
    def time_word(self) -> str:
        """``modelled`` or ``measured``."""
        return str(self.trace.attributes["time"])

    @property
    def title(self) -> str:
        """Model, strategy and size of the run, for the head of a picture."""
        attributes = self.trace.attributes
        return f"{attributes['model']}, {attributes['strategy']}, {counted(len(self.ranks), 'rank')} ({self.time_word})"

    @cached_property
    def network(self) -> NetworkModel:
        """The network that the planner reckoned with."""
        return NetworkModel.from_json(str(self.trace.attributes["network"]))

    def events(self, rank: int, kind: EventKind) -> NDArray[Any]:
        """Return a rank's events of one kind, by start."""
        rows: NDArray[Any] = self.ranks[rank].events
        chosen: NDArray[Any] = rows[rows["kind"] == kind]
        return chosen

    def stage_name(self, stage: int) -> str:
        """Return a place's index and layers, short."""
        if stage in (SOURCE, SINK):
            return "source" if stage == SOURCE else "sink"
        nodes = self.plan.stages[stage].nodes
        return f"{stage}: {nodes[0]}" if len(nodes) == 1 else f"{stage}: {nodes[0]}..{nodes[-1]}"

    @cached_property
    def groups(self) -> NDArray[Any]:
        """The first image of every finished group, IMAGE_DTYPE."""
        firsts: NDArray[Any] = self.images[self.images["image"] % self.group_images == 0]
        return firsts

    @cached_property
    def steady_images_per_s(self) -> float | None:
        """Rate in the middle half of the run, as the plan predicts it; None where too few rounds lie in it."""
        # a modelled bound binds modelled times only
        bound = self.plan.predicted.get("bound_images_per_s", inf) if self.time_word == MODELLED else inf
        return steady_images_per_s(
            self.groups["end_ns"], self.group_images, self.plan.groups_per_round, bound if bound > 0 else inf
        )

    @cached_property
    def period_ns(self) -> float:
        """Time from one finished group to the next: at the steady rate, or in a short run over all of it."""
        if self.steady_images_per_s is not None:
            return self.group_images * 1e9 / self.steady_images_per_s
        return float(self.groups["end_ns"].max() - self.groups["start_ns"].min()) / len(self.groups)

    def first_of_group(self, image: int) -> int:
        """Return the first image of an image's group: events carry that one."""
        return image // self.group_images * self.group_images
