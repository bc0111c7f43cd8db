"""Rates: latency, throughput and queue, the plan against the run, two runs against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpi_vta.printable import picture_text
from mpi_vta.text_table import counted
from mpi_vta.trace.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    VERMILION,
    legend_below,
    new_figure,
    patch,
    time_unit,
)
from mpi_vta.trace.run import Run
from mpi_vta.trace.summary import summarize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 40


# below this, a difference is of rounding
LEAST_PERCENT = 0.0005


def draw_latency(run: Run) -> Figure:
    """Draw the cumulative distribution of the images' latencies."""
    latency = np.sort(run.images["latency_ns"])
    unit, scale = time_unit(float(latency[-1]))
    figure, axes = new_figure(run, "How long images take", 4.0)
    share = np.arange(1, len(latency) + 1) / len(latency) * 100
    axes.step(latency / scale, share, where="post", color=BLUE, linewidth=1.8)
    styles = ((50, GREEN, "-"), (90, ORANGE, "--"), (99, VERMILION, ":"))
    handles = []
    for percent, colour, style in styles:
        value = float(np.percentile(latency, percent)) / scale
        handles.append(
            axes.axvline(value, color=colour, linestyle=style, linewidth=1.6, label=f"p{percent} {value:.4g} {unit}")
        )
    axes.set_ylim(0, 102)
    axes.set_xlabel(f"latency from entry to last output, {unit} ({run.time_word})")
    axes.set_ylabel("images at most that long, %")
    axes.grid(alpha=0.3)
    legend_below(figure, handles)
    return figure


def draw_throughput(run: Run) -> Figure:
    """Draw finished images per second and images under way over time."""
    end_ns = int(run.images["end_ns"].max())
    unit, scale = time_unit(end_ns - run.begin_ns)
    figure = new_figure(run, "Rate, and images under way", 4.6)[0]
    figure.clear()
    figure.suptitle(f"Rate, and images under way\n{picture_text(run.title)}", fontsize=11)
    rate, queue = figure.subplots(2, 1, sharex=True)
    bins = max(4, min(BINS, len(run.groups) // 3))
    edges = np.linspace(run.begin_ns, end_ns, bins + 1)
    counts, _ = np.histogram(run.images["end_ns"], edges)
    rate.stairs(counts * 1e9 / np.diff(edges), edges / scale, color=BLUE, fill=True, alpha=0.35)
    steady, lines = run.steady_images_per_s, []
    if steady is not None:
        label = f"steady rate {steady:.4g} images/s"
        lines.append(rate.axhline(steady, color=VERMILION, linestyle="--", label=label))
    rate.set_ylabel("finished,\nimages/s")
    rate.grid(alpha=0.3)
    times = np.concatenate([run.images["start_ns"], run.images["end_ns"]])
    steps = np.concatenate([np.ones(len(run.images)), -np.ones(len(run.images))])
    order = np.lexsort((steps, times))
    queue.step(times[order] / scale, np.cumsum(steps[order]), where="post", color=GREEN, linewidth=1.5)
    limit = run.plan.in_flight_groups * run.group_images
    most = queue.axhline(limit, color=BLACK, linestyle=":", label=f"limit of the plan, {counted(limit, 'image')}")
    queue.set_ylabel("under way,\nimages")
    queue.set_ylim(0, 1.15 * limit)
    queue.set_xlabel(f"time since the start, {unit} ({run.time_word})")
    queue.grid(alpha=0.3)
    legend_below(figure, [patch(BLUE, "finished"), *lines, patch(GREEN, "under way"), most])
    return figure


def draw_prediction(run: Run) -> Figure:
    """Draw the run's figures, and its stages' launches, as ratios to what the plan foretold."""
    found = summarize(run)
    ratios = {
        name: found.figures[name] / value for name, value in found.predicted.items() if value and name in found.figures
    }
    for stage in run.plan.stages:
        planned = dict(zip(stage.ranks, stage.compute_ns, strict=True))
        for rank, planned_ns in planned.items():
            if rank not in run.ranks:
                continue
            events = run.ranks[rank].events
            launches = events[(events["kind"] == 0) & (events["stage"] == stage.index)]
            if launches.size and planned_ns:
                mean_ns = float((launches["end_ns"] - launches["start_ns"]).mean())
                ratios[f"launch of stage {stage.index}, rank {rank}"] = mean_ns / planned_ns
    differing = {name: 100 * (ratio - 1) for name, ratio in ratios.items() if abs(100 * (ratio - 1)) >= LEAST_PERCENT}
    alike = f"{len(ratios) - len(differing)} of {len(ratios)} figures and launches agree to {LEAST_PERCENT:g} %"
    figure, axes = new_figure(run, "The run against its plan", 1.8 + 0.28 * len(differing))
    if not differing:
        axes.set_axis_off()
        axes.text(0.5, 0.5, alike, ha="center", va="center", transform=axes.transAxes)
        return figure
    axes.set_title(alike, fontsize=9)
    rows, percent = range(len(differing)), list(differing.values())
    axes.barh(rows, percent, 0.6, color=[BLUE if value <= 0 else ORANGE for value in percent])
    axes.axvline(0, color=BLACK, linewidth=1)
    widest = max(1.0, 1.45 * max(map(abs, percent)))
    axes.set_xlim(-widest, widest)
    for row, value in zip(rows, percent, strict=True):
        side = 1 if value >= 0 else -1
        axes.text(
            value + side * 0.01 * widest,
            row,
            f"{value:+.3f} %",
            va="center",
            ha="left" if side > 0 else "right",
            fontsize=8,
        )
    axes.set_yticks(rows, list(differing), fontsize=8)
    axes.set_ylim(len(differing) - 0.4, -0.6)
    axes.set_xlabel(f"run ({run.time_word}) beside plan (modelled), % difference")
    axes.grid(axis="x", alpha=0.3)
    return figure


def draw_difference(first: Run, second: Run) -> Figure:
    """Draw by how much each figure of a second run differs from the first's."""
    ours, theirs = summarize(first).figures, summarize(second).figures
    names = [name for name, value in ours.items() if value and name in theirs]
    ratios = [theirs[name] / ours[name] for name in names]
    figure, axes = new_figure(first, "", 1.9 + 0.32 * len(names))
    figure.suptitle(f"b beside a\na: {picture_text(first.title)}\nb: {picture_text(second.title)}", fontsize=10)
    rows = range(len(names))
    axes.set_xscale("log", base=2)
    axes.barh(rows, [value - 1 for value in ratios], 0.6, 1, color=[BLUE if value <= 1 else ORANGE for value in ratios])
    axes.axvline(1, color=BLACK, linewidth=1)
    widest = max(1.25, *(max(value, 1 / value) ** 1.1 for value in ratios if value > 0))
    axes.set_xlim(1 / widest, widest)
    for row, (name, value) in enumerate(zip(names, ratios, strict=True)):
        # on the free side of the line
        text = f" {ours[name]:.4g} → {theirs[name]:.4g} ({100 * (value - 1):+.3g} %) "
        axes.text(1, row, text, va="center", ha="right" if value > 1 else "left", fontsize=8)
    axes.set_yticks(rows, names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("b / a")
    axes.grid(axis="x", alpha=0.3)
    return figure
