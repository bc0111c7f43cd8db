"""Strategies compared over studies: the best one, what the others lose, what sets the pace, latencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from mpi_vta.plans.resources import RESOURCE_LABELS, VTA
from mpi_vta.study.finding import Finding
from mpi_vta.study.group_findings import last_gain, one_image
from mpi_vta.study.groups import GAIN, Group
from mpi_vta.trace.study_rows import PointRow

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


def best_strategy(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find which strategy gives most images a second, how it divides the work, and what it leaves of the ideal."""
    cases = cases_of(groups)
    if not cases:
        return
    ran, led = _ran(cases), _led(cases)
    always = [name for name, count in ran.items() if led[name] == count]
    often = [name for name, count in ran.items() if 0 < led[name] < count]
    if always:
        yield Finding("best everywhere", strategies=always, cases=[ran[name] for name in always])
    if often:
        counts = [Finding("strategy in", strategy=name, led=led[name], ran=ran[name]) for name in often]
        yield Finding("sometimes best" if always else "best in", strategies=counts)
    best = [group.best_of(boards) for group, boards in cases]
    whole = [row for row in best if row.stages == len(row.parts)]
    yield Finding("whole images", whole=(len(whole), len(cases)))
    alone = [row for row in whole if row.ideal_fraction == row.ideal_fraction]
    paced, other = ([row.ideal_fraction for row in alone if row.paced_by_vta == vta] for vta in (True, False))
    if paced:
        yield Finding("ideal", paced=paced, rest=Finding("ideal, network", other=other) if other else None)


def other_strategies(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find of each strategy that is never the best how far behind it is on all boards, and why."""
    cases = cases_of(groups)
    led = _led(cases)
    last = [(group, group.boards[-1]) for group in {id(group): group for group, _ in cases}.values()]
    for name in _ran(cases):
        if not led[name] and (pairs := _beside_best(name, last)):
            yield _loss(name, pairs)


def _beside_best(name: str, cases: Sequence[Case]) -> list[tuple[PointRow, PointRow]]:
    """Return the row of a strategy and the best one of every case in which the strategy can be run."""
    return [(row, group.best_of(boards)) for group, boards in cases if (row := group.best(boards, name)) is not None]


def _loss(name: str, pairs: Sequence[tuple[PointRow, PointRow]]) -> Finding:
    work = [row.cycles / best.cycles for row, best in pairs]
    most = max((row for row, _ in pairs), key=lambda row: row.boards - row.boards_used)
    return Finding(
        "loss",
        strategy=name,
        reached=[row.throughput_images_per_s / best.throughput_images_per_s for row, best in pairs],
        why=Finding("loss by work", work=work) if max(work) > _MORE_WORK else Finding("loss by waiting"),
        busy=[row.vta_busy for row, _ in pairs],
        best_busy=[best.vta_busy for _, best in pairs],
        idle=Finding("idle", row=most) if most.boards > most.boards_used else None,
    )


def what_sets_the_pace(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find which resource is the busiest one, of all plans, and how much VTA wait where one image passes at a time."""
    streaming = [group for group in groups if group.objective == "throughput"]
    counts = Counter(part.bottleneck for group in streaming for row in group.valid for part in row.parts)
    if counts:
        yield Finding(
            "busiest",
            resources=[
                Finding("resource in", resource=RESOURCE_LABELS[resource], plans=(count, counts.total()))
                for resource, count in counts.most_common()
            ],
        )
        for resource in (name for name in counts if name != VTA):
            told = [finding for group in streaming for finding in _where_busiest(group, resource)]
            yield Finding("busiest in", resource=RESOURCE_LABELS[resource], cases=told)
    if single := _at_a_time(groups):
        yield Finding("bound by both", rows=[Finding("time of VTA", row=group.best_of()) for group in single])


def _at_a_time(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if group.objective == "latency" and len(group.boards) > 1]


def _where_busiest(group: Group, resource: str) -> Iterator[Finding]:
    """Find on how many boards of a group a resource is the busiest, and what rate is reached there."""
    rows = [row for row in group.valid if any(part.bottleneck == resource for part in row.parts)]
    if rows:
        yield Finding(
            "case in",
            row=rows[0],
            boards=[row.boards for row in rows],
            strategies=list(dict.fromkeys(row.strategy for row in rows)),
            most=max(row.throughput_images_per_s for row in rows),
        )


def how_soon(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find what latency can be had, one image at a time and while images stream."""
    single = _at_a_time(groups)
    for group in single:
        yield one_image(group)
        if group.last_gain() < group.boards[-1]:
            yield last_gain(group)
    names = dict.fromkeys(name for group in single for name in group.strategies)
    none = [
        name
        for name in names
        if all(group.last_gain(name) == group.boards[0] for group in single if name in group.strategies)
    ]
    if none:
        yield Finding("no use", strategies=none)
    cases = cases_of(groups)
    for name in _ran(cases):
        yield from _sooner_while_streaming(_beside_best(name, cases))


def _sooner_while_streaming(pairs: Sequence[tuple[PointRow, PointRow]]) -> Iterator[Finding]:
    """Find how often an image is under way for less time than in the plan of most images a second."""
    sooner = [pair for pair in pairs if pair[0].latency_ms < (1 - GAIN) * pair[1].latency_ms]
    if sooner:
        row, best = min(sooner, key=lambda pair: pair[0].latency_ms / pair[1].latency_ms)
        yield Finding(
            "sooner",
            row=row,
            best=best,
            sooner=len(sooner),
            cases=len(pairs),
            boards=[pair[0].boards for pair in sooner],
            rate=row.throughput_images_per_s / best.throughput_images_per_s,
        )


def _ran(cases: Sequence[Case]) -> Counter[str]:
    """Return in how many cases each strategy can be run."""
    return Counter(name for group, boards in cases for name in group.strategies if group.best(boards, name) is not None)


def _led(cases: Sequence[Case]) -> Counter[str]:
    """Return in how many cases each strategy is as good as the best one."""
    return Counter(name for group, boards in cases for name in group.level_with_best(boards))
