"""Strategies compared over studies: the best one, what the others lose, what sets the pace, latencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mpi_vta.plans.resources import RESOURCE_LABELS
from mpi_vta.study.findings import split_sentence
from mpi_vta.study.groups import GAIN, Group, Row
from mpi_vta.study.phrases import (
    counted_boards,
    figure_range,
    how_often,
    listed,
    percent_range,
    quoted,
    sentence,
    span,
)

Case = tuple[Group, int]
# More work than this is spoken of
_MORE_WORK = 1.02


def cases_of(groups: Sequence[Group]) -> list[Case]:
    """Return group and number of boards wherever several boards and strategies are compared for throughput."""
    return [(group, boards) for group in scaling(groups) if len(group.strategies) > 1 for boards in group.boards[1:]]


def scaling(groups: Sequence[Group]) -> list[Group]:
    """Return the groups that look for throughput on several numbers of boards with their own VTA builds.

    Of those with the same models and cluster, which differ in the number of images, the one with most board counts.
    """
    found: dict[str, Group] = {}
    for group in groups:
        if group.objective == "throughput" and len(group.boards) > 1 and len(group.configs) == 1:
            known = found.get(group.case)
            if known is None or len(group.boards) > len(known.boards):
                found[group.case] = group
    return list(found.values())


def best_strategy(groups: Sequence[Group]) -> list[str]:
    """Say which strategy gives most images a second, how it divides the work, and what it leaves of the ideal."""
    cases = cases_of(groups)
    if not cases:
        return []
    ran, led = _ran(cases), _led(cases)
    always = [name for name, count in ran.items() if led[name] == count]
    often = [name for name, count in ran.items() if 0 < led[name] < count]
    sentences = []
    if always:
        sentences.append(
            f"{quoted(always)} {'are' if len(always) > 1 else 'is'} best, or level with the best, wherever tried: in "
            f"{listed([str(ran[name]) for name in always])} cases (a model or mix on so many boards of a cluster)."
        )
    if often:
        counts = [f"`{name}` in {led[name]} of {ran[name]}" for name in often]
        sentences.append(
            f"{sentence('best, or level with it, are' if not always else 'sometimes best are')} {listed(counts)} cases."
        )
    return [*sentences, *_whole_images(cases)]


def _whole_images(cases: Sequence[Case]) -> list[str]:
    """Say how often the best plan is the whole model on every board, and how near to the ideal that comes."""
    whole = [
        (group, row)
        for group, boards in cases
        if (row := group.best(boards)) is not None and row["stages"] == len(_parts(group, row))
    ]
    sentences = [
        f"In {how_often(len(whole), len(cases))} cases the best plan is the whole model on every board that it uses: "
        "boards get whole images, and nothing passes between layers."
    ]
    alone = [(group, row) for group, row in whole if row["ideal_fraction"] == row["ideal_fraction"]]
    paced, other = ([row for group, row in alone if group.paced_by_vta(row) == vta] for vta in (True, False))
    if paced:
        ideal = percent_range([row["ideal_fraction"] for row in paced])
        rest = percent_range([row["ideal_fraction"] for row in other]) if other else ""
        sentences.append(
            f"That reaches {ideal} % of what the boards would do each for itself"
            f"{f', but {rest} % where the network sets the pace' if rest else ''}."
        )
    return sentences


def other_strategies(groups: Sequence[Group]) -> list[str]:
    """Say of each strategy that is never the best how far behind it is on all boards, and why."""
    cases = cases_of(groups)
    ran, led = _ran(cases), _led(cases)
    return [
        text
        for name in ran
        if not led[name]
        for text in _losses(name, [(group, group.boards[-1]) for group in _distinct(cases)])
    ]


def _losses(name: str, cases: Sequence[Case]) -> list[str]:
    pairs = [
        (group, row, best)
        for group, boards in cases
        if (row := group.best(boards, name)) is not None and (best := group.best(boards)) is not None
    ]
    if not pairs:
        return []
    reached = [float(row["throughput_images_per_s"] / best["throughput_images_per_s"]) for _, row, best in pairs]
    busy, best_busy = ([group.vta_busy(rows[which]) for group, *rows in pairs] for which in (0, 1))
    work = [row["cycles"] / best["cycles"] for _, row, best in pairs]
    more = (
        f"takes {figure_range(work, '.2f')} times the cycles for an image, as boards share layers, and its VTA"
        if max(work) > _MORE_WORK
        else "takes the same cycles for an image, but its VTA wait for the slowest one and"
    )
    text = (
        f"On all boards `{name}` reaches {percent_range(reached)} % of the best: it {more} are busy "
        f"{percent_range(busy)} % of the job (the best plan's {percent_range(best_busy)} %)"
    )
    idle = [(row["boards"] - row["boards_used"], group, row) for group, row, _ in pairs]
    most, group, row = max(idle, key=lambda entry: entry[0])
    if most > 0:
        text += (
            f"; of the {counted_boards(row['boards'])} of {group.cluster} it finds work for {row['boards_used']} "
            f"with {group.models}"
        )
    return [f"{text}."]


def what_sets_the_pace(groups: Sequence[Group]) -> list[str]:
    """Say which resource is the busiest one, of all plans, and how much VTA wait where one image passes at a time."""
    streaming = [group for group in groups if group.objective == "throughput"]
    busiest = [part["bottleneck"] for group in streaming for row in group.valid for part in _parts(group, row)]
    sentences = []
    if busiest:
        counts = Counter(busiest)
        shares = [
            f"a {RESOURCE_LABELS[resource]} in {how_often(count, len(busiest))}"
            for resource, count in counts.most_common()
        ]
        sentences.append(f"Where images stream, the busiest resource of the job is {listed(shares)} plans.")
        for resource in (name for name in counts if name != "vta"):
            told = [text for group in streaming for text in _where_busiest(group, resource)]
            sentences.append(f"It is a {RESOURCE_LABELS[resource]} with {listed(told)}.")
    single = [group for group in groups if group.objective == "latency" and len(group.boards) > 1]
    waits = [
        f"{100 * group.vta_busy(best):.0f} % of the time with {group.models} on {counted_boards(best['boards'])}"
        for group in single
        if (best := group.best()) is not None
    ]
    if waits:
        sentences.append(
            f"One image at a time is bound by both: in the plans of least latency VTA run {listed(waits)}; launches, "
            "exchanges between layers and waiting for them take the rest."
        )
    return sentences


def _parts(group: Group, row: Row) -> Sequence[Row]:
    return group.models_of[row["point"]]


def _where_busiest(group: Group, resource: str) -> list[str]:
    """Say on how many boards of a group a resource is the busiest, and what rate is reached there."""
    rows = [row for row in group.valid if any(part["bottleneck"] == resource for part in _parts(group, row))]
    if not rows:
        return []
    most = max(row["throughput_images_per_s"] for row in rows)
    boards = sorted({row["boards"] for row in rows})
    names = quoted(list(dict.fromkeys(row["strategy"] for row in rows)))
    return [f"{group.case} on {span(boards)} boards ({names}: {most:.4g} images/s at most)"]


def how_soon(groups: Sequence[Group]) -> list[str]:
    """Say what latency can be had, one image at a time and while images stream."""
    sentences = []
    for group in groups:
        if group.objective == "latency" and len(group.boards) > 1:
            last = group.last_gain()
            beyond = (
                f" Beyond {counted_boards(last)} none gains {100 * GAIN:.0f} % more." if last < group.boards[-1] else ""
            )
            sentences.append(split_sentence(group) + beyond)
    sentences += _of_no_use([group for group in groups if group.objective == "latency" and len(group.boards) > 1])
    return [*sentences, *_sooner_while_streaming(cases_of(groups))]


def _of_no_use(groups: Sequence[Group]) -> list[str]:
    """Name the strategies with which more boards make one image no faster, whatever the model."""
    names = dict.fromkeys(name for group in groups for name in group.strategies)
    none = [
        name
        for name in names
        if all(group.last_gain(name) == group.boards[0] for group in groups if name in group.strategies)
    ]
    if not none:
        return []
    return [f"{quoted(none)} make{'s' if len(none) == 1 else ''} one image no faster on any number of boards."]


def _sooner_while_streaming(cases: Sequence[Case]) -> list[str]:
    """Say of each strategy how often an image is under way for less time than in the plan of most images a second."""
    found = []
    for name in _ran(cases):
        pairs = [
            (group, row, best)
            for group, boards in cases
            if (row := group.best(boards, name)) is not None and (best := group.best(boards)) is not None
        ]
        sooner = [pair for pair in pairs if _sooner(pair[1], pair[2])]
        if sooner:
            group, row, best = min(sooner, key=lambda pair: pair[1]["latency_p50_ms"] / pair[2]["latency_p50_ms"])
            rate = row["throughput_images_per_s"] / best["throughput_images_per_s"]
            numbers = sorted({pair[1]["boards"] for pair in sooner})
            found.append(
                f"Where images stream, their median latency is less with `{name}` than with the plan of most images "
                f"a second in {len(sooner)} of {len(pairs)} cases (on {span(numbers)} boards): at best with "
                f"{group.models} on {counted_boards(row['boards'])} of {group.cluster}, {row['latency_p50_ms']:.4g} "
                f"instead of {best['latency_p50_ms']:.4g} ms, at {100 * rate:.0f} % of the rate."
            )
    return found


def _sooner(row: Row, best: Row) -> bool:
    return bool(row["latency_p50_ms"] < (1 - GAIN) * best["latency_p50_ms"])


def _distinct(cases: Sequence[Case]) -> list[Group]:
    return list({id(group): group for group, _ in cases}.values())


def _ran(cases: Sequence[Case]) -> Counter[str]:
    """Return in how many cases each strategy can be run."""
    return Counter(name for group, boards in cases for name in group.strategies if group.best(boards, name) is not None)


def _led(cases: Sequence[Case]) -> Counter[str]:
    """Return in how many cases each strategy is as good as the best one."""
    return Counter(name for group, boards in cases for name in group.level_with_best(boards))
