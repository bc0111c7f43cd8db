"""What studies teach, as values: what is found, of which rows, and how much; the words are here alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from mpi_vta.statement import Statement

_CHEAPEST = "An image costs least on {cheapest.boards:count board} with `{cheapest.strategy}`, "
_CHEAPEST += "{cheapest.energy_j_per_image:.4g} J"
_ALIKE = ": in {alike:often} cases an image of the fastest plan costs less than {limit:percent} more than one of the "
_ALIKE += "cheapest plan."


class Finding(Statement):
    """A sentence, or a part of one; of a group's rows or of rows of several groups."""

    TEMPLATES: ClassVar[Mapping[str, str]] = {
        # a group: strategies
        "nothing valid": "No point of it can be run.",
        "best": "On {row.boards:count board} {level:quoted} {level:is|are} best: {figure:.4g} {heading}{speedup}.",
        "speedup": ", {row.speedup:.2f} times the first board alone and {row.ideal_fraction:percent1} of what "
        "{row.boards:count board} would do each for itself",
        "pace": "the {resource} of rank {part.bottleneck_rank} sets the pace with {part.period_ms:.4g} ms an image, "
        "and VTA are busy {busy} of the job",
        "busy": "VTA are busy {busy}",
        "busy types": "{types:series}",
        "busy type": "{kind.vta_busy:percent} ({kind.boards} {kind.board})",
        "busy alike": "{kind.vta_busy:percent}",
        "part": "{part:capital}.",
        "steady": "In the middle half of the job the rate is {row.steady_images_per_s:.4g} images/s: filling, draining "
        "and a last round that not all boards share cost the rest in a job of {row.images} images.",
        "always best": "That is so for every number of boards from {boards} on.",
        "best by boards": "Best by number of boards: {runs:series}.",
        "best on": "{strategies:codes} on {boards:range d}",
        "growth": "From {few.boards} to {many.boards} boards the rate grows {rate:.2f} times, power {power:.2f} times.",
        "all gain": "The last boards still pay: {boards} are at least {gain:percent} better than fewer.",
        "no gain": "Beyond {boards:count board} none gains {gain:percent} more.",
        "behind": "`{strategy}` reaches {fraction:percent1} of that: {pace}.",
        # a group: energy, mixes, builds
        "cheapest and fastest": _CHEAPEST + ", where it is fastest too; {network:percent} of it is the network's.",
        "cheapest": _CHEAPEST
        + "; the fastest on {fastest.boards:count board} takes {fastest.energy_j_per_image:.4g} J, {verdict}, "
        "{network:percent} of it the network's, and draws {fastest.average_power_w:.1f} W.",
        "little": "so speed costs little energy",
        "times": "{ratio:.2f} times as much",
        "mix": "Of these {row.boards} boards the models have: {parts:items}.",
        "part of mix": "{part.model} {part.throughput_images_per_s:.4g} images/s on {boards:count board}",
        "cheapest build": "An image costs least with `{row.config}`, {row.energy_j_per_image:.4g} J.",
        # a group: one image at a time
        "one image": "One image of {one.models} takes {one.latency_ms:.4g} ms on {one.boards:count board} of "
        "{one.cluster} and {many.latency_ms:.4g} ms on {many.boards} with `{many.strategy_used}`: {times:.2f} times as "
        "fast at {energy:.2f} times the energy.",
        "one image, no gain": "One image of {one.models} gains nothing from more boards of {one.cluster}.",
        "one image, alone": "On {row.boards:count board}: {row.latency_ms:.4g} ms.",
        "divisions": "On {row.boards:count board} the layers are divided so: {divisions:series}.",
        "division": "`{part.division}`",
        # strategies over studies
        "best everywhere": "{strategies:quoted} {strategies:is|are} best, or level with the best, wherever tried: in "
        "{cases:list} cases (a model or mix on so many boards of a cluster).",
        "best in": "Best, or level with it, are {strategies:list} cases.",
        "sometimes best": "Sometimes best are {strategies:list} cases.",
        "strategy in": "`{strategy}` in {led} of {ran}",
        "whole images": "In {whole:often} cases the best plan is the whole model on every board that it uses: boards "
        "get whole images, and nothing passes between layers.",
        "ideal": "That reaches {paced:percents} of what the boards would do each for itself{rest}.",
        "ideal, network": ", but {other:percents} where the network sets the pace",
        "loss": "On all boards `{strategy}` reaches {reached:percents} of the best: it {why} are busy {busy:percents} "
        "of the job (the best plan's {best_busy:percents}){idle}.",
        "loss by work": "takes {work:range .2f} times the cycles for an image, as boards share layers, and its VTA",
        "loss by waiting": "takes the same cycles for an image, but its VTA wait for the slowest one and",
        "idle": "; of the {row.boards:count board} of {row.cluster} it finds work for {row.boards_used} with "
        "{row.models}",
        "busiest": "Where images stream, the busiest resource of the job is {resources:list} plans.",
        "resource in": "a {resource} in {plans:often}",
        "busiest in": "It is a {resource} with {cases:list}.",
        "case in": "{row.case} on {boards:range d} boards ({strategies:quoted}: {most:.4g} images/s at most)",
        "bound by both": "One image at a time is bound by both: in the plans of least latency VTA run {rows:list}; "
        "launches, exchanges between layers and waiting for them take the rest.",
        "time of VTA": "{row.vta_busy:percent} of the time with {row.models} on {row.boards:count board}",
        "no use": "{strategies:quoted} {strategies:makes|make} one image no faster on any number of boards.",
        "sooner": "Where images stream, their median latency is less with `{row.strategy}` than with the plan of most "
        "images a second in {sooner} of {cases} cases (on {boards:range d} boards): at best with {row.models} on "
        "{row.boards:count board} of {row.cluster}, {row.latency_ms:.4g} instead of {best.latency_ms:.4g} ms, at "
        "{rate:percent} of the rate.",
        # boards over studies
        "last boards": "With the best plan the last boards still bring {gain:percent} or more in {paying:often} cases "
        "(a model or mix on a cluster){stopping}.",
        "stopping": "; they do not for {cases:list}",
        "beyond": "{case} beyond {boards}",
        "soonest end": "Soonest it ends for `{last.strategy}` with {last.case}: {last.throughput_images_per_s:.4g} "
        "images/s on {last.boards:count board}, and no more on {best.boards}, where the best plan gives "
        "{best.throughput_images_per_s:.4g}.",
        "last round": "The last round of a job costs: where boards are alike and their number divides the job's "
        "images, {even:percents} of the ideal is reached, else {uneven:percents}; jobs of many more images than "
        "boards, or of a multiple of them, lose less.",
        "speed is cheap": "Speed and energy mostly agree" + _ALIKE,
        "speed is dear": "Speed costs energy" + _ALIKE,
        "cheapest on": "An image of {models} costs least on {rows:list}.",
        "energy on": "{row.boards:count board} of {row.cluster} ({row.energy_j_per_image:.4g} J)",
        "one board": "One board alone takes {factors:range .2f} times the least: it has the switch to itself, and "
        "{shares:percents} of its energy is the network's, in the cheapest plans {fewer:percents}.",
        "energy of one image": "One image of {least.models} at a time costs least on {least.boards:count board} of "
        "{least.cluster}, {least.energy_j_per_image:.4g} J in {least.latency_ms:.4g} ms; the least latency, "
        "{soonest.latency_ms:.4g} ms on {soonest.boards:count board}, costs {ratio:.2f} times as much.",
        "no room": "On {lost.cluster} `{lost.strategy}` cannot run {lost.models} ({reason}). Layers divided over "
        "{fewest:count board} or more can be run: on {best.boards:count board} {level:quoted} {level:gives|give} "
        "{best.throughput_images_per_s:.4g} images/s{behind}.",
        "others behind": ", {strategies:list} of it",
        "fraction": "`{strategy}` {fraction:percent}",
        "room": "Whole images, where there is room, give {rows:list}: divided layers reach {part:percent} of that.",
        "rate on": "{row.throughput_images_per_s:.4g} on {row.cluster}",
        "boards added": "To {there:list}, {added} {board} for {first.models}: {first.throughput_images_per_s:.4g} "
        "images/s become {last.throughput_images_per_s:.4g}; each adds {rate:.1f} times the rate of one that was "
        "there, and {power:.1f} times the power; an image costs {first.energy_j_per_image:.4g} J before, "
        "{last.energy_j_per_image:.4g} J after.",
        "boards": "{kind.boards} {kind.board}",
        "growth by strategy": "By strategy the rate grows so: {strategies:list}.",
        "growth of": "`{strategy}` {ratios:range .2f} times",
        "at once": "{row.models} at once on {row.boards:count board} of {row.cluster}, {row.images} images of each, "
        "take {row.makespan_ms:figure} ms and {row.energy_j_per_image:.4g} J an image; one after the other, each on "
        "all boards, {after_ms:figure} ms and {after_j:.4g} J: at once {verdict}.",
        "is sooner": "is {by:percent} sooner",
        "is later": "is {by:percent} later",
        "is level": "takes as long",
        # builds
        "best builds": "Of {builds} builds on {boards:count board} of {cluster} most images a second come from "
        "{best:list}.",
        "doubt": "Whether `{config}` fits is in doubt: {doubt}.",
        "best sure builds": "Of those that surely fit it is {best:list}.",
        "best single builds": "With one image in a launch it is {best:list}.",
        "build": "`{config}` ({rows:items})",
        "build's figures": "{row.models}: {row.throughput_images_per_s:figure} images/s, median latency "
        "{row.latency_ms:figure} ms, {row.energy_j_per_image:figure} J",
    }
