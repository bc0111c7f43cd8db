"""Boards compared over studies: how many, what energy, small memories, mixed types, several models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpi_vta.schedule.strategies import STRATEGIES
from mpi_vta.study.finding import Finding
from mpi_vta.study.groups import ALIKE, GAIN, Group
from mpi_vta.study.strategy_conclusions import scaling
from mpi_vta.trace.study_rows import PointRow

WHOLE = next(name for name, strategy in STRATEGIES.items() if strategy.whole_model)


def how_many_boards(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find how long a further board pays, for all strategies, and what the last round of a job costs."""
    several = scaling(groups)
    if not several:
        return
    beyond = [
        Finding("beyond", case=group.case, boards=group.last_gain())
        for group in several
        if group.last_gain() != group.boards[-1]
    ]
    stopping = Finding("stopping", cases=beyond) if beyond else None
    yield Finding("last boards", gain=GAIN, paying=(len(several) - len(beyond), len(several)), stopping=stopping)
    yield from _early_end(several)
    yield from _last_round(several)


def _early_end(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find the strategy and case in which further boards are of least use."""
    ends = [
        (group.boards[-1] - group.last_gain(name), group, name)
        for group in groups
        for name in group.strategies
        if group.best(strategy=name) is not None
    ]
    unused, group, name = max(ends, key=lambda entry: entry[0])
    if unused > 0:
        last, best = group.best_of(group.last_gain(name), name), group.best_of(group.boards[-1])
        yield Finding("soonest end", last=last, best=best)


def _last_round(groups: Sequence[Group]) -> Iterator[Finding]:
    """Compare numbers of boards that divide a job's images with those that do not, where boards are alike."""
    rows = [group.best_of(boards) for group in groups for boards in group.boards[1:]]
    rows = [row for row in rows if row.stages == 1 and len(row.types) == 1 and row.paced_by_vta]
    even = [row.ideal_fraction for row in rows if not row.images % row.boards]
    uneven = [row.ideal_fraction for row in rows if row.images % row.boards]
    if even and uneven and min(even) > min(uneven):
        yield Finding("last round", even=even, uneven=uneven)


def what_energy(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find on how many boards an image costs least, whether the fastest plan is dear, and which cluster costs least."""
    several = scaling(groups)
    if not several:
        return
    alike = sum(_joule(group.best_of()) < (1 + ALIKE) * _joule(group.cheapest) for group in several)
    cheap = 2 * alike > len(several)
    yield Finding("speed is cheap" if cheap else "speed is dear", alike=(alike, len(several)), limit=ALIKE)
    for models in dict.fromkeys(group.models for group in several):
        rows = sorted((group.cheapest for group in several if group.models == models), key=_joule)
        yield Finding("cheapest on", models=models, rows=[Finding("energy on", row=row) for row in rows])
    ones = [(group.best_of(1), group.cheapest) for group in several if group.boards[0] == 1]
    if ones:
        yield Finding(
            "one board",
            factors=[_joule(one) / _joule(least) for one, least in ones],
            shares=[one.network_j_per_image / _joule(one) for one, _ in ones],
            fewer=[least.network_j_per_image / _joule(least) for _, least in ones],
        )
    for group in groups:
        if group.objective == "latency" and len(group.boards) > 1:
            least, soonest = group.cheapest, group.best_of()
            yield Finding("energy of one image", least=least, soonest=soonest, ratio=_joule(soonest) / _joule(least))


def _joule(row: PointRow) -> float:
    return row.energy_j_per_image


def small_memories(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find what to do where whole images are impossible but other strategies are not."""
    for group in groups:
        lost = [row for row in group.rows if row.strategy == WHOLE and not row.valid]
        numbers = [boards for boards in group.boards if group.best(boards, WHOLE) is None]
        if group.objective != "throughput" or not lost or not numbers:
            continue
        best = group.best_of(group.boards[-1])
        level = group.level_with_best(best.boards)
        behind = [
            Finding("fraction", strategy=name, fraction=fraction)
            for name in group.strategies
            if (fraction := group.fraction_of_best(best.boards, name)) is not None and name not in level
        ]
        yield Finding(
            "no room",
            lost=lost[-1],
            reason=lost[-1].reason.split(";")[0],
            fewest=numbers[0],
            best=best,
            level=[name for name in level if name != WHOLE],
            behind=Finding("others behind", strategies=behind) if behind else None,
        )
        yield from _with_room(group, best, groups)


def _with_room(small: Group, best: PointRow, groups: Sequence[Group]) -> Iterator[Finding]:
    """Compare with the same models and number of boards where there is memory for whole images."""
    rows = [
        row
        for group in groups
        if (group.models, group.objective, group.study) == (small.models, small.objective, small.study)
        if (row := group.best(best.boards, WHOLE)) is not None
    ]
    if rows:
        part = best.throughput_images_per_s / max(row.throughput_images_per_s for row in rows)
        yield Finding("room", rows=[Finding("rate on", row=row) for row in rows], part=part)


def mixed_boards(groups: Sequence[Group]) -> Iterator[Finding]:
    """Find what boards of another type add to those that were there."""
    gains: dict[str, list[float]] = {}
    for group in scaling(groups):
        first, last = group.best_of(group.boards[0]), group.best_of(group.boards[-1])
        before = {kind.board: kind.boards for kind in first.types}
        added = [kind for kind in last.types if kind.boards > before.get(kind.board, 0)]
        # one board is no cluster that others join
        if len(added) != 1 or added[0].board in before or first.boards == 1:
            continue
        (kind,) = added
        rate, power = (
            (getattr(last, name) - getattr(first, name)) / kind.boards / (getattr(first, name) / first.boards)
            for name in ("throughput_images_per_s", "average_power_w")
        )
        there = [Finding("boards", kind=kind) for kind in first.types]
        values = {"there": there, "added": kind.boards, "board": kind.board}
        yield Finding("boards added", first=first, last=last, rate=rate, power=power, **values)
        for name in group.strategies:
            few, many = group.best(first.boards, name), group.best(last.boards, name)
            if few is not None and many is not None:
                gains.setdefault(name, []).append(many.throughput_images_per_s / few.throughput_images_per_s)
    if gains:
        told = [Finding("growth of", strategy=name, ratios=ratios) for name, ratios in gains.items()]
        yield Finding("growth by strategy", strategies=told)


def several_models(groups: Sequence[Group]) -> Iterator[Finding]:
    """Compare models that run at once, each on boards of its own, with the same jobs one after the other."""
    for group in groups:
        best = group.best_of(group.boards[-1])
        rows = [_alone(group, part.model, best, groups) for part in best.parts]
        alone = [row for row in rows if row is not None]
        if len(best.parts) < 2 or len(alone) < len(best.parts) or group.objective != "throughput":
            continue
        after_ms = sum(row.makespan_ms for row in alone)
        ratio = after_ms / best.makespan_ms
        by = abs(ratio - 1)
        verdict = Finding("is sooner" if ratio > 1 else "is later", by=by) if round(100 * by) else Finding("is level")
        after_j = sum(map(_joule, alone)) / len(alone)
        yield Finding("at once", row=best, after_ms=after_ms, after_j=after_j, verdict=verdict)


def _alone(group: Group, model: str, best: PointRow, groups: Sequence[Group]) -> PointRow | None:
    """Return the best row of one model of a mix on the same boards."""
    for other in groups:
        same = (other.study, other.cluster, other.objective) == (group.study, group.cluster, group.objective)
        if same and other.models == model:
            rows = [
                row
                for row in other.valid
                if (row.boards, row.images, row.config) == (best.boards, best.images, best.config)
            ]
            return max(rows, key=other.merit, default=None)
    return None
