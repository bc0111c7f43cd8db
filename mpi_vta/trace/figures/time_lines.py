"""Time lines: all ranks, what ranks do in total, and the path of one image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mpi_vta.errors import InputError
from mpi_vta.printable import picture_text
from mpi_vta.trace.activity import COMMUNICATION, COMPUTE, HOST, IMAGES, ITSELF, NO_MORE_WORK, activity
from mpi_vta.trace.critical_path import critical_path, traced_images
from mpi_vta.trace.figures.style import (
    BLACK,
    BLUE,
    GREY,
    KIND_COLOURS,
    PURPLE,
    SKY,
    VERMILION,
    legend_below,
    new_figure,
    patch,
    time_unit,
)
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import EventKind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW_PERIODS = 4
MOST_ARROWS = 150
# lanes within the row of a rank, from its middle: kind, offset, height
LANES = (
    (EventKind.LAUNCH, "compute", -0.12, 0.46),
    (EventKind.HOST, "host", 0.18, 0.12),
    (EventKind.RECEIVE, "receive", 0.30, 0.12),
    (EventKind.SEND, "send", 0.42, 0.12),
)
CAUSE_STYLES = {
    "rank": (GREY, "waits for a rank"),
    "link": (PURPLE, "waits for a link"),
    "images": (VERMILION, "waits for the next image"),
    "itself": (SKY, "its own software"),
    "end": ("white", "no more work"),
}


def default_window(run: Run) -> tuple[float, float]:
    """Return a few periods from the middle of the run, in nanoseconds; all of it if it is short."""
    ends = np.sort(run.groups["end_ns"])
    length = max(WINDOW_PERIODS * run.period_ns, 1.3 * float(np.median(run.images["latency_ns"])))
    if length * 1.5 >= run.end_ns - run.begin_ns:
        return float(run.begin_ns), float(run.end_ns)
    middle = float(ends[len(ends) // 2])
    start = min(max(float(run.begin_ns), middle - length / 2), run.end_ns - length)
    return start, start + length


def draw_gantt(run: Run, window_ns: tuple[float, float] | None = None) -> Figure:
    """Draw every rank's launches, host work and messages, with an arrow per message.

    Parameters
    ----------
    run : Run
        A run.
    window_ns : (float, float), optional
        Part of the run; a few periods from its middle by default.
    """
    low, high = window_ns or default_window(run)
    unit, scale = time_unit(high - low)
    figure, axes = new_figure(run, "Who did what when", 1.9 + 0.62 * len(run.ranks))
    row_of = {rank: row for row, rank in enumerate(run.ranks)}
    for rank, row in row_of.items():
        for kind, name, offset, height in LANES:
            events = run.events(rank, kind)
            events = events[(events["end_ns"] > low) & (events["start_ns"] < high)]
            bars = [(s / scale, (e - s) / scale) for s, e in events[["start_ns", "end_ns"]].tolist()]
            axes.broken_barh(
                bars,
                (row + offset - height / 2, height),
                color=KIND_COLOURS[name],
                edgecolor="black" if kind == EventKind.LAUNCH else "none",
                linewidth=0.5,
            )
            if kind == EventKind.LAUNCH:
                _number_launches(axes, events, row + offset, (low, high), scale)
    _draw_arrows(axes, run, row_of, (low, high), scale)
    axes.set_xlim(low / scale, high / scale)
    axes.set_ylim(len(row_of) - 0.4, -0.6)
    axes.set_yticks(range(len(row_of)), [f"rank {r}\n{run.ranks[r].attributes['board']}" for r in row_of], fontsize=8)
    axes.set_xlabel(f"time since the start, {unit} ({run.time_word}); numbers are images")
    names = {"compute": "VTA", "host": "processor", "receive": "receive", "send": "send"}
    legend_below(figure, [patch(KIND_COLOURS[kind], text) for kind, text in names.items()])
    return figure


def _number_launches(axes: Any, events: Any, y: float, window: tuple[float, float], scale: float) -> None:
    for start, end, image in events[["start_ns", "end_ns", "image"]].tolist():
        left, right = max(start, window[0]), min(end, window[1])
        if (right - left) > (0.006 + 0.014 * len(str(image))) * (window[1] - window[0]):
            centre = (left + right) / 2 / scale
            axes.text(centre, y, str(image), ha="center", va="center", fontsize=7, color="white")


def _draw_arrows(axes: Any, run: Run, row_of: dict[int, int], window: tuple[float, float], scale: float) -> None:
    rows = run.messages.matched
    rows = rows[(rows["receive_end_ns"] > window[0]) & (rows["send_start_ns"] < window[1])]
    for message in rows[:MOST_ARROWS]:
        source, target = row_of[int(message["source"])], row_of[int(message["target"])]
        note = axes.annotate(
            "",
            (message["receive_end_ns"] / scale, target + (0.12 if source > target else -0.12)),
            (message["send_start_ns"] / scale, source + 0.42),
            arrowprops={
                "arrowstyle": "-|>",
                "color": BLACK,
                "linewidth": 0.6,
                "alpha": 0.6,
                "shrinkA": 0,
                "shrinkB": 0,
            },
            annotation_clip=False,
        )
        note.arrow_patch.set_clip_path(axes.patch)


def draw_activity(run: Run) -> Figure:
    """Draw how every rank's time divides, waits by their cause; the longest wait is named."""
    found = activity(run)
    figure, axes = new_figure(run, "What every rank does, and what it waits for", 2.0 + 0.42 * len(run.ranks))
    for row, rank in enumerate(run.ranks):
        left = 0.0
        whole = max(1, sum(found.totals_ns[rank].values()))
        parts = [(KIND_COLOURS[kind], found.share(rank, kind)) for kind in (COMPUTE, HOST, COMMUNICATION)]
        sums = dict.fromkeys(CAUSE_STYLES, 0.0)
        for cause, ns in found.causes(rank):
            sums[_cause_kind(cause)] += ns / whole
        parts += [(CAUSE_STYLES[kind][0], share) for kind, share in sums.items()]
        for colour, share in parts:
            axes.barh(row, 100 * share, 0.66, 100 * left, color=colour, edgecolor="black", linewidth=0.4)
            if share > 0.07:
                ink = "white" if colour in (BLUE, VERMILION) else "black"
                axes.text(
                    100 * (left + share / 2), row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=ink
                )
            left += share
        named = [(cause, ns) for cause, ns in found.causes(rank) if cause not in (NO_MORE_WORK,)][:1]
        for cause, ns in named:
            axes.text(101, row, f"most: {cause}, {100 * ns / whole:.1f} %", va="center", fontsize=8)
    axes.set_yticks(range(len(run.ranks)), [f"rank {rank}" for rank in run.ranks])
    axes.set_ylim(len(run.ranks) - 0.5, -0.5)
    axes.set_xlim(0, 130)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of the run, %")
    handles = [
        patch(KIND_COLOURS[k], t) for k, t in ((COMPUTE, "VTA"), (HOST, "processor"), (COMMUNICATION, "messages"))
    ]
    legend_below(figure, handles + [patch(colour, text) for colour, text in CAUSE_STYLES.values()], 4)
    return figure


def _cause_kind(cause: str) -> str:
    if cause in (IMAGES, ITSELF):
        return "images" if cause == IMAGES else "itself"
    return "end" if cause == NO_MORE_WORK else cause.split()[0]


def draw_critical_path(run: Run, image: int | None = None) -> Figure:
    """Draw the chain that an image's latency consists of.

    Parameters
    ----------
    run : Run
        A run.
    image : int, optional
        Which; by default the one of median latency, of those that the trace has whole.

    Raises
    ------
    InputError
        If the trace has no image whole, or not this one.
    """
    if image is None:
        images = traced_images(run)
        if not images.size:
            raise InputError("it has no image with all its launches and messages", where=run.trace.where)
        order = np.argsort(images["latency_ns"], kind="stable")
        image = int(images["image"][order[len(order) // 2]])
    steps = critical_path(run, image)
    begin, end = steps[0].start_ns, steps[-1].end_ns
    unit, scale = time_unit(end - begin)
    figure, axes = new_figure(
        run, f"Critical path of image {image}: {(end - begin) / scale:.4g} {unit}", 1.9 + 0.27 * len(steps)
    )
    for row, step in enumerate(steps):
        length = (step.end_ns - step.start_ns) / scale
        left = (step.start_ns - begin) / scale
        axes.barh(row, length, 0.7, left, color=KIND_COLOURS[step.kind], edgecolor="black", linewidth=0.4)
        late = left + length > 0.82 * (end - begin) / scale
        text = f"{length:.3g} {unit}"
        axes.text(
            left if late else left + length, row, f" {text} ", va="center", ha="right" if late else "left", fontsize=8
        )
    labels = [
        picture_text(f"{step.what} (rank {step.rank})" if step.kind == COMPUTE else step.what, 38) for step in steps
    ]
    axes.set_yticks(range(len(steps)), labels, fontsize=8)
    axes.set_ylim(len(steps) - 0.4, -0.6)
    axes.set_xlabel(f"time since the image's entry, {unit} ({run.time_word})")
    axes.grid(axis="x", alpha=0.3)
    names = {"compute": "VTA", "host": "processor", "message": "message", "queue": "queue"}
    totals = {kind: sum(s.end_ns - s.start_ns for s in steps if s.kind == kind) for kind in names}
    shares = {kind: 100 * ns / max(1, end - begin) for kind, ns in totals.items()}
    legend_below(figure, [patch(KIND_COLOURS[k], f"{text} {shares[k]:.0f} %") for k, text in names.items()])
    return figure
