"""What a study teaches, in sentences made of its figures: the words are chosen by the numbers."""

from __future__ import annotations

from itertools import groupby

from mpi_vta.plans.resources import RESOURCE_LABELS
from mpi_vta.study.build_conclusions import best_builds, compares_builds
from mpi_vta.study.groups import ALIKE, GAIN, Group, Row
from mpi_vta.study.phrases import counted_boards, sentence, span

BOUND = "what bounds it"  # begins the planner's note about a split image
# A strategy that falls further behind the best one is spoken of
BEHIND = 0.02


def findings(group: Group) -> list[str]:
    """Return what a group teaches; every number is of its rows."""
    if not group.valid:
        return ["No point of it can be run."]
    if group.objective == "latency":
        return _latency_findings(group)
    if compares_builds(group):
        return [*best_builds([group]), _cheapest_build(group), *_mix_findings(group)]
    return [*_rate_findings(group), *_energy_findings(group), *_mix_findings(group)]


def _cheapest_build(group: Group) -> str:
    cheapest = min(group.valid, key=lambda row: row["energy_j_per_image"])
    return f"An image costs least with `{cheapest['config']}`, {cheapest['energy_j_per_image']:.4g} J."


def _rate_findings(group: Group) -> list[str]:
    most = group.boards[-1]
    best = group.best(most)
    assert best is not None
    level = " and ".join(f"`{name}`" for name in group.level_with_best(most))
    speedup = ""
    if best["speedup"] == best["speedup"]:
        speedup = (
            f", {best['speedup']:.2f} times the first board alone and {100 * best['ideal_fraction']:.1f} % of what "
            f"{counted_boards(most)} would do each for itself"
        )
    sentences = [
        f"On {counted_boards(most)} {level} {_is(level)} best: {_figure(group, best)}{speedup}.",
        f"{sentence(_pace(group, best))}.",
    ]
    if best["steady_images_per_s"] > (1 + GAIN) * best["throughput_images_per_s"]:
        sentences.append(
            f"In the middle half of the job the rate is {best['steady_images_per_s']:.4g} images/s: filling, draining "
            f"and a last round that not all boards share cost the rest in a job of {best['images']} images."
        )
    if len(group.boards) > 1:
        sentences += [_winners(group), _growth(group), _last_gain(group)]
    for strategy in group.strategies:
        row = group.best(most, strategy)
        fraction = group.fraction_of_best(most, strategy)
        if row is not None and fraction is not None and fraction < 1 - BEHIND:
            sentences.append(f"`{strategy}` reaches {100 * fraction:.1f} % of that: {_pace(group, row)}.")
    return sentences


def _winners(group: Group) -> str:
    runs = [
        (names, [boards for boards, _ in run])
        for names, run in groupby(((b, group.level_with_best(b)) for b in group.boards), key=lambda entry: entry[1])
    ]
    if len(runs) == 1:
        return f"That is so for every number of boards from {group.boards[0]} on."
    parts = [f"{'/'.join(f'`{name}`' for name in names)} on {span(boards)}" for names, boards in runs]
    return f"Best by number of boards: {', '.join(parts)}."


def _growth(group: Group) -> str:
    few, many = group.best(group.boards[0]), group.best(group.boards[-1])
    assert few is not None
    assert many is not None
    rate = many["throughput_images_per_s"] / few["throughput_images_per_s"]
    power = many["average_power_w"] / few["average_power_w"]
    return (
        f"From {group.boards[0]} to {group.boards[-1]} boards the rate grows {rate:.2f} times, power {power:.2f} times."
    )


def _last_gain(group: Group) -> str:
    """Say from which number of boards on a further one is hardly worth it."""
    last = group.last_gain()
    if last == group.boards[-1]:
        return f"The last boards still pay: {last} are at least {100 * GAIN:.0f} % better than fewer."
    return f"Beyond {counted_boards(last)} none gains {100 * GAIN:.0f} % more."


def _pace(group: Group, row: Row) -> str:
    (first, *others) = group.models_of[row["point"]]
    busy = _busy(group, row)
    if others:
        return f"VTA are busy {busy}"
    resource = RESOURCE_LABELS[first["bottleneck"]]
    pace = f"the {resource} of rank {first['bottleneck_rank']} sets the pace with {first['period_ms']:.4g} ms an image"
    return f"{pace}, and VTA are busy {busy} of the job"


def _busy(group: Group, row: Row) -> str:
    types = group.types_of[row["point"]]
    if len(types) == 1:
        return f"{100 * types[0]['vta_busy']:.0f} %"
    return ", ".join(f"{100 * entry['vta_busy']:.0f} % ({entry['boards']} {entry['board']})" for entry in types)


def _energy_findings(group: Group) -> list[str]:
    most = group.boards[-1]
    cheapest = min(group.valid, key=lambda row: (row["energy_j_per_image"], row["boards"]))
    fastest = group.best(most)
    assert fastest is not None
    network = 100 * fastest["network_j_per_image"] / fastest["energy_j_per_image"]
    here = (
        f"An image costs least on {counted_boards(cheapest['boards'])} with `{cheapest['strategy']}`, "
        f"{cheapest['energy_j_per_image']:.4g} J"
    )
    if cheapest["point"] == fastest["point"]:
        return [f"{here}, where it is fastest too; {network:.0f} % of it is the network's."]
    ratio = fastest["energy_j_per_image"] / cheapest["energy_j_per_image"]
    verdict = "so speed costs little energy" if ratio < 1 + ALIKE else f"{ratio:.2f} times as much"
    return [
        f"{here}; the fastest on {counted_boards(most)} takes {fastest['energy_j_per_image']:.4g} J, {verdict}, "
        f"{network:.0f} % of it the network's, and draws {fastest['average_power_w']:.1f} W."
    ]


def _mix_findings(group: Group) -> list[str]:
    best = group.best(group.boards[-1])
    assert best is not None
    parts = group.models_of[best["point"]]
    if len(parts) == 1:
        return []
    shares = [
        f"{part['model']} {part['throughput_images_per_s']:.4g} images/s on "
        f"{counted_boards(len(part['ranks'].split(',')))}"
        for part in parts
    ]
    return [f"Of these {best['boards']} boards the models have: {'; '.join(shares)}."]


def _latency_findings(group: Group) -> list[str]:
    sentences = [split_sentence(group), _winners(group), _last_gain(group)] if len(group.boards) > 1 else []
    if not sentences:
        best = group.best(group.boards[0])
        assert best is not None
        return [f"On {counted_boards(group.boards[0])}: {_figure(group, best)}."]
    best = group.best()
    assert best is not None
    bounds = [note for note in best["notes"].split(" | ") if note.startswith(BOUND)]
    sentences += [f"{sentence(note)}." for note in bounds]
    divisions = ", ".join(f"`{part['division']}`" for part in group.models_of[best["point"]])
    return [*sentences, f"On {counted_boards(best['boards'])} the layers are divided so: {divisions}."]


def split_sentence(group: Group) -> str:
    """Say how much sooner several boards have one image done, and for what energy."""
    one, many = group.best(group.boards[0]), group.best()
    assert one is not None
    assert many is not None
    times = one["latency_p50_ms"] / many["latency_p50_ms"]
    if many["boards"] == one["boards"]:
        return f"One image of {group.models} gains nothing from more boards of {group.cluster}."
    energy = many["energy_j_per_image"] / one["energy_j_per_image"]
    return (
        f"One image of {group.models} takes {one['latency_p50_ms']:.4g} ms on {counted_boards(one['boards'])} of "
        f"{group.cluster} and {many['latency_p50_ms']:.4g} ms on {many['boards']} with `{many['strategy_used']}`: "
        f"{times:.2f} times as fast at {energy:.2f} times the energy."
    )


def _is(names: str) -> str:
    return "are" if " and " in names else "is"


def _figure(group: Group, row: Row) -> str:
    return f"{row[group.column]:.4g} {group.heading}" if group.objective != "latency" else f"{row[group.column]:.4g} ms"
