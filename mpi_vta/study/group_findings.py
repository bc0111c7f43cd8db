"""What one group of rows teaches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from math import isnan

from mpi_vta.plans.notes import SPLIT_BOUND, Note
from mpi_vta.plans.resources import RESOURCE_LABELS
from mpi_vta.study.build_conclusions import best_builds, compares_builds
from mpi_vta.study.finding import Finding
from mpi_vta.study.groups import ALIKE, GAIN, Group
from mpi_vta.trace.study_rows import PointRow

# A strategy that falls further behind the best one is spoken of
BEHIND = 0.02


def findings(group: Group) -> list[Finding]:
    """Return what a group teaches; every number is of its rows."""
    if not group.valid:
        return [Finding("nothing valid")]
    if group.objective == "latency":
        return [*_latency_findings(group)]
    if compares_builds(group):
        return [*best_builds([group]), Finding("cheapest build", row=group.cheapest), *_mix_findings(group)]
    return [*_rate_findings(group), _energy_finding(group), *_mix_findings(group)]


def _rate_findings(group: Group) -> Iterator[Finding]:
    most = group.boards[-1]
    best = group.best_of(most)
    speedup = None if isnan(best.speedup) else Finding("speedup", row=best)
    level, figure = group.level_with_best(most), group.figure(best)
    yield Finding("best", row=best, level=level, figure=figure, heading=group.heading, speedup=speedup)
    yield Finding("part", part=_pace(best))
    if best.steady_images_per_s > (1 + GAIN) * best.throughput_images_per_s:
        yield Finding("steady", row=best)
    if len(group.boards) > 1:
        few = group.best_of(group.boards[0])
        rate = best.throughput_images_per_s / few.throughput_images_per_s
        yield _winners(group)
        yield Finding("growth", few=few, many=best, rate=rate, power=best.average_power_w / few.average_power_w)
        yield last_gain(group)
    for strategy in group.strategies:
        row = group.best(most, strategy)
        fraction = group.fraction_of_best(most, strategy)
        if row is not None and fraction is not None and fraction < 1 - BEHIND:
            yield Finding("behind", strategy=strategy, fraction=fraction, pace=_pace(row))


def _winners(group: Group) -> Finding:
    runs = [
        (names, [boards for boards, _ in run])
        for names, run in groupby(((b, group.level_with_best(b)) for b in group.boards), key=lambda entry: entry[1])
    ]
    if len(runs) == 1:
        return Finding("always best", boards=group.boards[0])
    return Finding("best by boards", runs=[Finding("best on", strategies=names, boards=of) for names, of in runs])


def last_gain(group: Group) -> Finding:
    """Return from which number of boards on a further one is hardly worth it."""
    last = group.last_gain()
    return Finding("all gain" if last == group.boards[-1] else "no gain", boards=last, gain=GAIN)


def _pace(row: PointRow) -> Finding:
    (first, *others), (kind, *kinds) = row.parts, row.types
    busy = Finding("busy alike", kind=kind)
    if kinds:
        busy = Finding("busy types", types=[Finding("busy type", kind=kind) for kind in row.types])
    if others:
        return Finding("busy", busy=busy)
    return Finding("pace", resource=RESOURCE_LABELS[first.bottleneck], part=first, busy=busy)


def _energy_finding(group: Group) -> Finding:
    cheapest, fastest = group.cheapest, group.best_of(group.boards[-1])
    network = fastest.network_j_per_image / fastest.energy_j_per_image
    if cheapest.point == fastest.point:
        return Finding("cheapest and fastest", cheapest=cheapest, network=network)
    ratio = fastest.energy_j_per_image / cheapest.energy_j_per_image
    verdict = Finding("little") if ratio < 1 + ALIKE else Finding("times", ratio=ratio)
    return Finding("cheapest", cheapest=cheapest, fastest=fastest, verdict=verdict, network=network)


def _mix_findings(group: Group) -> Iterator[Finding]:
    best = group.best_of(group.boards[-1])
    if len(best.parts) > 1:
        parts = [Finding("part of mix", part=part, boards=len(part.ranks.split(","))) for part in best.parts]
        yield Finding("mix", row=best, parts=parts)


def _latency_findings(group: Group) -> Iterator[Finding]:
    best = group.best_of()
    if len(group.boards) == 1:
        yield Finding("one image, alone", row=best)
        return
    yield one_image(group)
    yield _winners(group)
    yield last_gain(group)
    for part in best.parts:
        if part.split_runs > 0:
            columns = ("runs", "launches_ms", "overhead_ms", "waiting_ms")
            values = {column: getattr(part, f"split_{column}") for column in columns}
            yield Finding("part", part=Note(SPLIT_BOUND, **values))
    yield Finding("divisions", row=best, divisions=[Finding("division", part=part) for part in best.parts])


def one_image(group: Group) -> Finding:
    """Return how much sooner several boards have one image done, and for what energy."""
    one, many = group.best_of(group.boards[0]), group.best_of()
    if many.boards == one.boards:
        return Finding("one image, no gain", one=one)
    times, energy = one.latency_ms / many.latency_ms, many.energy_j_per_image / one.energy_j_per_image
    return Finding("one image", one=one, many=many, times=times, energy=energy)
