"""Boards compared over studies: how many, what energy, small memories, mixed types, several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpi_vta.schedule.strategies import STRATEGIES
from mpi_vta.study.groups import ALIKE, GAIN, Group, Row
from mpi_vta.study.phrases import counted_boards, figure, figure_range, how_often, listed, percent_range, quoted
from mpi_vta.study.strategy_conclusions import scaling

WHOLE = next(name for name, strategy in STRATEGIES.items() if strategy.whole_model)


def how_many_boards(groups: Sequence[Group]) -> list[str]:
    """Say how long a further board pays, for all strategies, and what the last round of a job costs."""
    several = scaling(groups)
    if not several:
        return []
    paying = [group for group in several if group.last_gain() == group.boards[-1]]
    stopping = [f"{group.case} beyond {group.last_gain()}" for group in several if group not in paying]
    sentences = [
        f"With the best plan the last boards still bring {100 * GAIN:.0f} % or more in "
        f"{how_often(len(paying), len(several))} cases (a model or mix on a cluster)"
        f"{f'; they do not for {listed(stopping)}' if stopping else ''}."
    ]
    return [*sentences, *_early_ends(several), *_last_rounds(several)]


def _early_ends(groups: Sequence[Group]) -> list[str]:
    """Name the strategy and case in which further boards are of least use."""
    ends = [
        (group.boards[-1] - group.last_gain(name), group, name)
        for group in groups
        for name in group.strategies
        if group.best(strategy=name) is not None
    ]
    unused, group, name = max(ends, key=lambda entry: entry[0])
    if unused <= 0:
        return []
    last, best = group.best(group.last_gain(name), name), group.best(group.boards[-1])
    assert last is not None
    assert best is not None
    return [
        f"Soonest it ends for `{name}` with {group.case}: {last['throughput_images_per_s']:.4g} images/s on "
        f"{counted_boards(last['boards'])}, and no more on {group.boards[-1]}, where the best plan gives "
        f"{best['throughput_images_per_s']:.4g}."
    ]


def _last_rounds(groups: Sequence[Group]) -> list[str]:
    """Compare numbers of boards that divide a job's images with those that do not, where boards are alike."""
    even: list[float] = []
    uneven: list[float] = []
    for group in groups:
        for boards in group.boards[1:]:
            row = group.best(boards)
            if (
                row is None
                or row["stages"] != 1
                or len(group.types_of[row["point"]]) > 1
                or not group.paced_by_vta(row)
            ):
                continue
            (uneven if row["images"] % boards else even).append(float(row["ideal_fraction"]))
    if not even or not uneven or min(even) <= min(uneven):
        return []
    return [
        f"The last round of a job costs: where boards are alike and their number divides the job's images, "
        f"{percent_range(even)} % of the ideal is reached, else {percent_range(uneven)} %; jobs of many more images "
        "than boards, or of a multiple of them, lose less."
    ]


def what_energy(groups: Sequence[Group]) -> list[str]:
    """Say on how many boards an image costs least, whether the fastest plan is dear, and which cluster costs least."""
    several = scaling(groups)
    if not several:
        return []
    alike = [group for group in several if _dearer(group) < 1 + ALIKE]
    sentences = [
        f"Speed {'and energy mostly agree' if 2 * len(alike) > len(several) else 'costs energy'}: in "
        f"{how_often(len(alike), len(several))} cases an image of the fastest plan costs less than "
        f"{100 * ALIKE:.0f} % more than one of the cheapest plan.",
        *_cheapest(several),
    ]
    ones = [(group, one, _least(group)) for group in several if group.boards[0] == 1 and (one := group.best(1))]
    if ones:
        factors = [one["energy_j_per_image"] / least["energy_j_per_image"] for _, one, least in ones]
        shares = [one["network_j_per_image"] / one["energy_j_per_image"] for _, one, _ in ones]
        fewer = [least["network_j_per_image"] / least["energy_j_per_image"] for _, _, least in ones]
        sentences.append(
            f"One board alone takes {figure_range(factors, '.2f')} times the least: it has the switch to itself, and "
            f"{percent_range(shares)} % of its energy is the network's, in the cheapest plans {percent_range(fewer)} %."
        )
    return [*sentences, *_one_image(groups)]


def _least(group: Group) -> Row:
    return min(group.valid, key=lambda row: (row["energy_j_per_image"], row["boards"]))


def _dearer(group: Group) -> float:
    fastest = group.best()
    assert fastest is not None
    return float(fastest["energy_j_per_image"] / _least(group)["energy_j_per_image"])


def _cheapest(groups: Sequence[Group]) -> list[str]:
    """Say, for the same models on different clusters, on how many boards an image costs least; the cheapest first."""
    sentences = []
    for models in dict.fromkeys(group.models for group in groups):
        clusters = [(group, _least(group)) for group in groups if group.models == models]
        clusters.sort(key=lambda entry: entry[1]["energy_j_per_image"])
        told = [
            f"{counted_boards(least['boards'])} of {group.cluster} ({least['energy_j_per_image']:.4g} J)"
            for group, least in clusters
        ]
        sentences.append(f"An image of {models} costs least on {listed(told)}.")
    return sentences


def _one_image(groups: Sequence[Group]) -> list[str]:
    sentences = []
    for group in groups:
        if group.objective == "latency" and len(group.boards) > 1:
            least, soonest = _least(group), group.best()
            assert soonest is not None
            ratio = soonest["energy_j_per_image"] / least["energy_j_per_image"]
            sentences.append(
                f"One image of {group.models} at a time costs least on {counted_boards(least['boards'])} of "
                f"{group.cluster}, {least['energy_j_per_image']:.4g} J in {least['latency_p50_ms']:.4g} ms; the least "
                f"latency, {soonest['latency_p50_ms']:.4g} ms on {counted_boards(soonest['boards'])}, costs "
                f"{ratio:.2f} times as much."
            )
    return sentences


def small_memories(groups: Sequence[Group]) -> list[str]:
    """Say what to do where whole images are impossible but other strategies are not."""
    sentences = []
    for group in groups:
        lost = [row for row in group.rows if row["strategy"] == WHOLE and not row["valid"]]
        numbers = [boards for boards in group.boards if group.best(boards, WHOLE) is None]
        if group.objective != "throughput" or not lost or not numbers:
            continue
        most = group.boards[-1]
        best = group.best(most)
        assert best is not None
        level = quoted([name for name in group.level_with_best(most) if name != WHOLE])
        text = (
            f"On {group.cluster} `{WHOLE}` cannot run {group.models} ({lost[-1]['reason'].split(';')[0]}). "
            f"Layers divided over {counted_boards(numbers[0])} or more can be run: on {counted_boards(most)} {level} "
            f"{'gives' if ' and ' not in level else 'give'} {best['throughput_images_per_s']:.4g} images/s"
        )
        behind = [
            f"`{name}` {100 * fraction:.0f} %"
            for name in group.strategies
            if (fraction := group.fraction_of_best(most, name)) is not None and name not in group.level_with_best(most)
        ]
        sentences.append(f"{text}{f', {listed(behind)} of it' if behind else ''}.")
        sentences += _with_memory(group, most, best, groups)
    return sentences


def _with_memory(small: Group, boards: int, best: Row, groups: Sequence[Group]) -> list[str]:
    """Compare with the same models and number of boards where there is memory for whole images."""
    rates = {
        group.cluster: row["throughput_images_per_s"]
        for group in groups
        if (group.models, group.objective, group.study) == (small.models, small.objective, small.study)
        if (row := group.best(boards, WHOLE)) is not None
    }
    told = [f"{rate:.4g} on {cluster}" for cluster, rate in rates.items()]
    if not told:
        return []
    part = best["throughput_images_per_s"] / max(rates.values())
    return [f"Whole images, where there is room, give {listed(told)}: divided layers reach {100 * part:.0f} % of that."]


def mixed_boards(groups: Sequence[Group]) -> list[str]:
    """Say what boards of another type add to those that were there."""
    sentences: list[str] = []
    joined: list[Group] = []
    for group in scaling(groups):
        first, last = group.best(group.boards[0]), group.best(group.boards[-1])
        assert first is not None
        assert last is not None
        before, after = _composition(group, first), _composition(group, last)
        added = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
        # one board is no cluster that others join
        if len(added) == 1 and not set(added) & set(before) and sum(before.values()) > 1:
            joined.append(group)
            sentences.append(_addition(group, first, last, before, added))
    return [*sentences, *_who_profits(joined)] if joined else []


def _composition(group: Group, row: Row) -> Mapping[str, int]:
    return {kind["board"]: kind["boards"] for kind in group.types_of[row["point"]]}


def _addition(group: Group, first: Row, last: Row, before: Mapping[str, int], added: Mapping[str, int]) -> str:
    ((name, count),) = added.items()
    rate, power = ((last[column] - first[column]) / count for column in ("throughput_images_per_s", "average_power_w"))
    there = sum(before.values())
    old_rate, old_power = (first[column] / there for column in ("throughput_images_per_s", "average_power_w"))
    who = listed([f"{number} {board}" for board, number in before.items()])
    return (
        f"To {who}, {count} {name} for {group.models}: {first['throughput_images_per_s']:.4g} images/s become "
        f"{last['throughput_images_per_s']:.4g}; each adds {rate / old_rate:.1f} times the rate of one that was there, "
        f"and {power / old_power:.1f} times the power; an image costs {first['energy_j_per_image']:.4g} J before, "
        f"{last['energy_j_per_image']:.4g} J after."
    )


def _who_profits(groups: Sequence[Group]) -> list[str]:
    """Say how much each strategy gains from the boards added."""
    gains: dict[str, list[float]] = {}
    for group in groups:
        for name in group.strategies:
            first, last = group.best(group.boards[0], name), group.best(group.boards[-1], name)
            if first is not None and last is not None:
                ratio = float(last["throughput_images_per_s"] / first["throughput_images_per_s"])
                gains.setdefault(name, []).append(ratio)
    told = [f"`{name}` {figure_range(ratios, '.2f')} times" for name, ratios in gains.items()]
    return [f"By strategy the rate grows so: {listed(told)}."]


def several_models(groups: Sequence[Group]) -> list[str]:
    """Compare models that run at once, each on boards of its own, with the same jobs one after the other."""
    sentences = []
    for group in groups:
        best = group.best(group.boards[-1])
        assert best is not None
        parts = group.models_of[best["point"]]
        alone = [_alone(group, part["model"], best, groups) for part in parts]
        if len(parts) < 2 or None in alone or group.objective != "throughput":
            continue
        after_ms = sum(row["makespan_ms"] for row in alone if row is not None)
        ratio = after_ms / best["makespan_ms"]
        joule = sum(row["energy_j_per_image"] for row in alone if row is not None) / len(parts)
        percent = round(100 * abs(ratio - 1))
        verdict = f"is {percent} % {'sooner' if ratio > 1 else 'later'}" if percent else "takes as long"
        sentences.append(
            f"{group.models} at once on {counted_boards(best['boards'])} of {group.cluster}, {best['images']} images "
            f"of each, take {figure(best['makespan_ms'])} ms and {best['energy_j_per_image']:.4g} J an image; one "
            f"after the other, each on all boards, {figure(after_ms)} ms and {joule:.4g} J: at once {verdict}."
        )
    return sentences


def _alone(group: Group, model: str, best: Row, groups: Sequence[Group]) -> Row | None:
    """Return the best row of one model of a mix on the same boards."""
    for other in groups:
        same = (other.study, other.cluster, other.objective) == (group.study, group.cluster, group.objective)
        if same and other.models == model:
            rows = [
                row
                for row in other.valid
                if (row["boards"], row["images"], row["config"]) == (best["boards"], best["images"], best["config"])
            ]
            return max(rows, key=other.merit, default=None)
    return None
