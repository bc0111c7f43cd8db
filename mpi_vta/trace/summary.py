"""A run in numbers, and the difference of two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpi_vta.plans.resources import RESOURCE_LABELS
from mpi_vta.text_table import counted
from mpi_vta.trace.activity import COMMUNICATION, COMPUTE, HOST, WAIT, Activity, activity
from mpi_vta.trace.bottleneck import Bottleneck, bottleneck
from mpi_vta.trace.energy import run_energy
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import MEASURED

CAUSES_SHOWN = 2
STEADY, ALONE = "steady rate, images/s", "one image alone, ms"
KINDS = (COMPUTE, HOST, COMMUNICATION, WAIT)


@dataclass(frozen=True)
class Summary:
    """The figures of a run.

    Attributes
    ----------
    figures : mapping of str to float
        By name with unit.
    predicted : mapping of str to float
        Those that the plan foretold, by the same names.
    activity : Activity
        What every rank did.
    bottleneck : Bottleneck
        What limits the rate.
    """

    figures: Mapping[str, float]
    predicted: Mapping[str, float]
    activity: Activity
    bottleneck: Bottleneck


def summarize(run: Run) -> Summary:
    """Compute the figures of a run."""
    latency_ms = run.images["latency_ns"] / 1e6
    p50, p90, p99 = np.percentile(latency_ms, [50, 90, 99])
    done = activity(run)
    links = run.links
    images = len(run.images)
    energy = run_energy(run).figures(images)
    makespan_ns = int(run.images["end_ns"].max() - run.images["start_ns"].min())
    figures = {
        "images": float(images),
        "makespan, ms": makespan_ns / 1e6,
        "throughput, images/s": images * 1e9 / makespan_ns,
        **({} if run.steady_images_per_s is None else {STEADY: run.steady_images_per_s}),
        "latency p50, ms": float(p50),
        "latency p90, ms": float(p90),
        "latency p99, ms": float(p99),
        "energy, J/image": energy["energy_j_per_image"],
        "of it network, J/image": energy["network_j_per_image"],
        "average power, W": energy["average_power_w"],
        "images/s per W": energy["images_per_s_per_w"],
        "messages per image": int(links["messages"].sum()) / images,
        "sent, bytes/image": int(links["bytes"].sum()) / images,
        "VTA busy, %": 100 * float(np.mean([done.share(rank, COMPUTE) for rank in run.ranks])),
    }
    return Summary(figures, _predicted(run), done, bottleneck(run))


def _predicted(run: Run) -> dict[str, float]:
    given = run.plan.predicted
    names = {
        "makespan, ms": "makespan_ms",
        "throughput, images/s": "throughput_images_per_s",
        STEADY: "steady_images_per_s",
        ALONE: "latency_alone_ms",
        "latency p50, ms": "latency_ms",
        "latency p99, ms": "latency_p99_ms",
        "energy, J/image": "energy_j_per_image",
        "of it network, J/image": "network_j_per_image",
        "average power, W": "average_power_w",
        "images/s per W": "images_per_s_per_w",
    }
    return {name: float(given[key]) for name, key in names.items() if key in given}


def summary_lines(run: Run) -> list[str]:
    """Return the summary as lines of text."""
    found = summarize(run)
    lines = [run.title]
    for name, value in found.figures.items():
        foretold = f"   plan: {found.predicted[name]:.6g}" if name in found.predicted else ""
        lines.append(f"  {name:24} {value:>12.6g}{foretold}")
        if name == "latency p50, ms" and ALONE in found.predicted:
            lines.append(f"  {ALONE:24} {'':12}   plan: {found.predicted[ALONE]:.6g}")
    lines += [f"bottleneck  {sentence}" for sentence in bottleneck_sentences(run, found.bottleneck)]
    lines.append("rank  board        compute    host   comm.    wait   waits longest for")
    for rank, record in run.ranks.items():
        shares = "".join(f"{100 * found.activity.share(rank, kind):7.1f}%" for kind in KINDS)
        causes = ", ".join(f"{cause} ({ns / 1e6:.3g} ms)" for cause, ns in found.activity.causes(rank)[:CAUSES_SHOWN])
        lines.append(f"{rank:4}  {record.attributes['board']!s:12}{shares}   {causes}")
    return lines + warning_lines(run)


def bottleneck_sentences(run: Run, found: Bottleneck) -> list[str]:
    """Return what limits the run and what one more board would change."""
    where = f"{RESOURCE_LABELS[found.resource]} of rank {found.rank}"
    if found.stage is not None:
        where += f", mostly stage {run.stage_name(found.stage)}"
    first = f"{where}: {found.period_ns / 1e6:.4g} ms per image group, the run takes {run.period_ns / 1e6:.4g} ms"
    if found.stage is None:
        return [first, "one more board would not raise the rate: it is not a VTA that limits it"]
    rank, resource = found.next_limit
    limit = "the new board itself" if rank not in run.ranks else f"{RESOURCE_LABELS[resource]} of rank {rank}"
    return [
        first,
        f"one more board for that stage: {found.gain:.2f} times the rate, then {limit} limits (estimate)",
        f"all work spread anew, evenly, over one more board: at most {found.best_gain:.2f} times (bound)",
    ]


def warning_lines(run: Run) -> list[str]:
    """Return what a reader of this trace must know before he trusts it."""
    attributes = run.trace.attributes
    lines = []
    if attributes.get("repaired"):
        # a trace from elsewhere need not say more
        missing = ", ".join(map(str, np.ravel(attributes.get("missing_ranks", ())))) or "none"
        asked = counted(int(attributes["images_asked"]), "image") if "images_asked" in attributes else "unknown many"
        lines.append(f"warning     the run ended early: {len(run.images)} of {asked}; ranks left out: {missing}")
    if unmatched := int(run.links["unmatched"].sum()):
        lines.append(f"warning     {counted(unmatched, 'message')} with only one end in the trace")
    if backward := int(run.links["backward"].sum()):
        lines.append(f"warning     {counted(backward, 'message')} usable before being sent")
    if run.time_word == MEASURED:
        lines.append(f"clocks      agree within {run.trace.clock['error_ns'].max() / 1000:.3g} µs")
    return lines


def difference_lines(first: Run, second: Run) -> list[str]:
    """Return the figures of two runs side by side."""
    ours, theirs = summarize(first).figures, summarize(second).figures
    lines = [f"a: {first.title}", f"b: {second.title}", f"{'':24} {'a':>12} {'b':>12}   change"]
    for name in [name for name in ours if name in theirs]:
        value = ours[name]
        change = f"{round(100 * (theirs[name] / value - 1), 1) + 0.0:+8.1f} %" if value else ""
        lines.append(f"{name:24} {value:>12.6g} {theirs[name]:>12.6g} {change}")
    return lines


def to_json(run: Run) -> dict[str, Any]:
    """Return the summary as JSON-able data."""
    found = summarize(run)
    limits = found.bottleneck
    return {
        "title": run.title,
        "time": run.time_word,
        "figures": dict(found.figures),
        "predicted": dict(found.predicted),
        "bottleneck": {
            "rank": limits.rank,
            "resource": limits.resource,
            "stage": limits.stage,
            "period_ns": limits.period_ns,
            "gain_with_next_board": limits.gain,
        },
        "ranks": {
            str(rank): {
                **{kind: found.activity.share(rank, kind) for kind in KINDS},
                "waits_ns": dict(found.activity.causes(rank)),
            }
            for rank in run.ranks
        },
        "warnings": warning_lines(run),
    }
