"""What planners want the user to know of a plan, as values; the words are here alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from mpi_vta.statement import Statement

SPLIT_BOUND = "split, bound"
_IDLE = "{idle:count board} {idle:stays|stay} idle: "


class Note(Statement):
    """A note on a plan; times in ms and us are modelled."""

    @classmethod
    def from_text(cls, text: str) -> Note:
        """Return a note that JSON has the words of."""
        return cls("text", text=text)

    TEMPLATES: ClassVar[Mapping[str, str]] = {
        # a note as a plan's file has it
        "text": "{text}",
        "idle, stages asked": _IDLE + "{stages} stages were asked for",
        "idle, no more cuts": _IDLE + "the model can be cut into {stages} stages",
        "idle, no shorter cut": _IDLE
        + "no cut into more stages, of one board each, has a period below {period_ms:.3f} ms (modelled, with costs of "
        "layers that add up); other strategies may",
        "idle, no shorter division": _IDLE
        + "no division of whole layers with them was {least_gain:.1%} shorter (modelled, with costs of layers that add "
        "up)",
        "idle, no smaller share": _IDLE
        + "of the shares tried, smaller ones saved less than their messages cost (modelled)",
        "idle, too small": _IDLE + "the whole model does not fit there",
        "idle, few groups": _IDLE + "there are only {groups:count image group}",
        "idle, too slow": _IDLE
        + "with up to {period_ms:.2f} ms for a whole image group, they would end last (modelled); other strategies "
        "give them less",
        "no turn": "{boards:count board} {boards:gets|get} no turn: the others of the stage are done with all groups "
        "before (modelled)",
        "one order of cuts": "the graph has many branches: cuts were sought along its topological order only",
        "split": "one image group takes {group_ms:.3f} ms, on the fastest board alone {alone_ms:.3f} ms: {times:.2f} "
        "times as long (modelled)",
        SPLIT_BOUND: "what bounds it: the slowest parts of {runs} runs of layers take {launches_ms:.3f} ms, "
        "{overhead_ms:.3f} ms of that to launch; gathering, messages and waiting for them take the other "
        "{waiting_ms:.3f} ms (modelled)",
        "not split": "no layer is split: the longest, {layer}, takes {layer_us:.1f} us, a part of it on another board "
        "at least two messages of {message_us:.1f} us and a launch of {launch_us:.1f} us (modelled)",
        "strategy excluded": "no plan with {strategy}: the loads of its boards exclude that it is better (estimated)",
        "strategy fails": "no plan with {strategy}: {fault}",
        "chosen": "{chooser} chose {strategy} for {figure} {value:.4g} (modelled); {others:series}",
        "other": "{strategy} {value:.4g}",
        "by hand": "by hand: {chosen}; the planner would have got {planner} with {strategy} (modelled)",
        "figures": "{images_per_s:.4g} images/s, {latency_ms:.4g} ms",
        "whole layers": "no plan of whole layers beats {least_ms:.3f} ms by much: an image passes all layers one after "
        "another, and the fastest board takes that long for them (modelled)",
        "slower": "{boards} boards are slower than one: {images_per_s:.4g} images/s against {one_board:.4g} (modelled)",
        "pace": "the {resource} of rank {rank} sets the pace, not VTA: {period_ms:.3f} ms per image group (modelled)",
        "link-bound": "link-bound: the messages of an image group take {messages_ms:.3f} ms, its layers "
        "{layers_ms:.3f} ms (modelled); fewer boards, or a faster network, would do better",
        "small stage": "stage {stage} is too small for a board: more than half of a launch is its overhead (modelled)",
        "small stages": "{small} of {stages} stages are too small for a board: more than half of a launch is its "
        "overhead (modelled)",
    }
