"""Resources: the bottleneck, VTA's cycles, links, energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpi_vta.plans.resources import RESOURCE_LABELS, RESOURCES
from mpi_vta.printable import picture_text
from mpi_vta.trace.bottleneck import bottleneck
from mpi_vta.trace.energy import power_kinds, run_energy
from mpi_vta.trace.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    byte_unit,
    legend_below,
    new_figure,
    patch,
    time_unit,
)
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import CYCLE_KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESOURCE_COLOURS = dict(zip(RESOURCES, (BLUE, YELLOW, ORANGE, GREEN), strict=True))
CYCLE_COLOURS = dict(zip(CYCLE_KINDS, (BLUE, SKY, YELLOW, ORANGE, VERMILION, PURPLE, BLACK, GREY), strict=True))
CYCLE_WORDS = {
    "gemm": "GEMM",
    "alu": "ALU",
    "load_uop": "load micro-ops",
    "load_acc": "load accumulator",
    "wait_load": "wait for load",
    "wait_store": "wait for store",
    "fetch": "wait for fetch",
    "other": "other",
}


def draw_bottleneck(run: Run) -> Figure:
    """Draw every resource's busy time per image group, and the limit with one more board."""
    found = bottleneck(run)
    unit, scale = time_unit(found.period_ns)
    figure, axes = new_figure(run, "What limits the rate", 2.2 + 0.5 * len(run.ranks))
    height = 0.8 / len(RESOURCES)
    for row, rank in enumerate(run.ranks):
        for place, resource in enumerate(RESOURCES):
            axes.barh(
                row + (place - 1.5) * height,
                found.loads_ns[rank, resource] / scale,
                height,
                color=RESOURCE_COLOURS[resource],
                edgecolor="black",
                linewidth=0.3,
            )
    axes.axvline(found.period_ns / scale, color=VERMILION, linewidth=1.6)
    if found.stage is not None:
        axes.axvline(found.next_period_ns / scale, color=PURPLE, linewidth=1.6, linestyle="--")
    axes.set_yticks(range(len(run.ranks)), [f"rank {rank}" for rank in run.ranks])
    axes.set_ylim(len(run.ranks) - 0.45, -0.55)
    axes.set_xlim(0, 1.12 * found.period_ns / scale)
    where = f"{RESOURCE_LABELS[found.resource]} of rank {found.rank}"
    if found.stage is not None:
        where += f", stage {picture_text(run.stage_name(found.stage), 26)}"
    axes.set_xlabel(f"busy time per image group, {unit} ({run.time_word})")
    more = "one more board would not raise the rate: it is not a VTA that limits it"
    if found.stage is not None:
        more = (
            f"one more board for it: {found.gain:.2f} times the rate (estimate); "
            f"all work spread anew over one more: at most {found.best_gain:.2f} times (bound)"
        )
    axes.set_title(f"bottleneck: {where}\n{more}", fontsize=9)
    handles = [patch(RESOURCE_COLOURS[name], RESOURCE_LABELS[name]) for name in RESOURCES]
    lines = [patch(VERMILION, "limit now")]
    if found.stage is not None:
        lines.append(patch(PURPLE, "limit with one more board"))
    legend_below(figure, handles + lines)
    return figure


def draw_cycles(run: Run) -> Figure:
    """Draw where the compute unit's cycles of each stage's launch go (modelled)."""
    stages = []
    for rank, record in run.ranks.items():
        for stage in sorted(set(record.profile["stage"].tolist())):
            rows = record.profile[record.profile["stage"] == stage]
            stages.append((stage, rank, [int(rows[kind].sum()) for kind in CYCLE_KINDS]))
    stages.sort()
    figure, axes = new_figure(run, "Where VTA's cycles go", 2.0 + 0.4 * max(1, len(stages)))
    for row, (_, _, cycles) in enumerate(stages):
        whole = max(1, sum(cycles))
        left = 0.0
        for kind, spent in zip(CYCLE_KINDS, cycles, strict=True):
            share = 100 * spent / whole
            axes.barh(row, share, 0.7, left, color=CYCLE_COLOURS[kind], edgecolor="black", linewidth=0.3)
            if share > 6:
                ink = "white" if kind in ("gemm", "fetch", "wait_load") else "black"
                axes.text(left + share / 2, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color=ink)
            left += share
        axes.text(101, row, f"{whole:,} cycles", va="center", fontsize=8)
    axes.set_yticks(
        range(len(stages)), [f"{picture_text(run.stage_name(s), 24)} (rank {r})" for s, r, _ in stages], fontsize=8
    )
    axes.set_ylim(max(1, len(stages)) - 0.5, -0.5)
    axes.set_xlim(0, 122)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of the compute unit's cycles of one launch, % (modelled)")
    legend_below(figure, [patch(CYCLE_COLOURS[kind], CYCLE_WORDS[kind]) for kind in CYCLE_KINDS], 4)
    return figure


def draw_communication(run: Run) -> Figure:
    """Draw how many bytes each rank sent to each, with the number of messages."""
    ranks = list(run.ranks)
    size = np.zeros((len(ranks), len(ranks)))
    messages = np.zeros_like(size, dtype=np.int64)
    place = {rank: index for index, rank in enumerate(ranks)}
    for link in run.links:
        if int(link["source"]) in place and int(link["target"]) in place:
            at = place[int(link["source"])], place[int(link["target"])]
            size[at], messages[at] = link["bytes"], link["messages"]
    unit, scale = byte_unit(float(size.max()))
    side = min(9.0, 2.6 + 0.62 * len(ranks))
    figure, axes = new_figure(run, "Who sends how much to whom", side)
    shown = np.ma.masked_equal(size / scale, 0)
    image = axes.imshow(shown, cmap="cividis", vmin=0)
    middle = size.max() / scale / 2
    for row, column in zip(*np.nonzero(size), strict=True):
        value = size[row, column] / scale
        axes.text(
            column,
            row,
            f"{value:.3g}\n{messages[row, column]} msg",
            ha="center",
            va="center",
            fontsize=8 if len(ranks) <= 8 else 5,
            color="white" if value < middle else "black",
        )
    axes.set_xticks(range(len(ranks)), ranks)
    axes.set_yticks(range(len(ranks)), ranks)
    axes.set_xlabel("to rank")
    axes.set_ylabel("from rank")
    figure.colorbar(image, ax=axes, label=f"sent in the run, {unit}")
    return figure


def draw_energy(run: Run) -> Figure:
    """Draw the energy per image: of each rank, while its VTA idles, while it runs, and its port; and of the switch."""
    images, energy = len(run.images), run_energy(run)
    running = [*(board.running_j / images for board in energy.boards), 0.0]
    idle = [*(board.idle_j / images for board in energy.boards), 0.0]
    network = [*(board.port_j / images for board in energy.boards), energy.switch_j / images]
    whole = energy.total_j / images
    unit, scale = ("J", 1.0) if max(map(sum, zip(running, idle, network, strict=True))) >= 1 else ("mJ", 1e-3)
    figure, axes = new_figure(run, f"Energy: {whole / scale:.4g} {unit} per image", 2.4 + 0.4 * len(run.ranks))
    rows, left = range(len(running)), [0.0] * len(running)
    for values, colour in ((running, BLUE), (idle, GREY), (network, ORANGE)):
        widths = [value / scale for value in values]
        axes.barh(rows, widths, 0.66, left, color=colour, edgecolor="black", linewidth=0.4)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    names = [*(f"rank {r}, {run.ranks[r].attributes['board']}" for r in run.ranks), "switch"]
    axes.set_yticks(rows, names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"energy per image, {unit} (power of boards {power_kinds(run)}, of the network modelled)")
    legend_below(
        figure, [patch(BLUE, "while VTA runs"), patch(GREY, "while VTA is idle"), patch(ORANGE, "ports and switch")]
    )
    return figure
