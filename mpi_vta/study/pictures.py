"""Pictures of a study: the figures against the number of boards, and what is best in several at once."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from mpi_vta.study.groups import FIGURES, Group, Row
from mpi_vta.trace.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, WIDTH_INCHES, legend_below

DOTS_PER_INCH = 90
COLOURS = 128
# Above the largest value
ROOM = 1.08
# Colours and marks by strategy, so that all pictures agree
_STYLES = {
    "scatter-gather": (BLUE, "o"),
    "core-assignment": (ORANGE, "s"),
    "pipeline": (GREEN, "^"),
    "fused": (VERMILION, "D"),
    "auto": (BLACK, "x"),
}
_OTHER = (PURPLE, "v")


def draw_figures(groups: Sequence[Group], command: str) -> bytes:
    """Return a PNG with throughput, latency and energy against the number of boards, a column per group."""
    figure, rows = _panels(len(FIGURES), groups, command)
    for number, group in enumerate(groups):
        for (column, heading, _), axes in zip(FIGURES.values(), rows[:, number], strict=True):
            for place, strategy in enumerate(group.strategies):
                points = [
                    (boards, row[column])
                    for boards in group.boards
                    if (row := group.best(boards, strategy)) is not None
                ]
                colour, mark = _STYLES.get(strategy, _OTHER)
                # later lines are thinner, so that earlier ones under them can be seen
                style = {"color": colour, "marker": mark, "markersize": 8 - place, "linewidth": 2.4 - 0.4 * place}
                axes.plot(*zip(*points, strict=True), **style, fillstyle="none")
            axes.set_ylim(0, ROOM * max(row[column] for row in group.valid))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(visible=True, color=GREY, linewidth=0.4)
            axes.set_ylabel(f"{heading} (modelled)", fontsize=8)
        rows[0, number].set_title(f"{group.models} on {group.cluster}, for {group.objective}", fontsize=9)
        rows[-1, number].set_xlabel("boards")
    return _png(figure, groups)


def draw_fronts(groups: Sequence[Group], command: str) -> bytes:
    """Return a PNG of energy against throughput, a column per group; ringed is what no point beats in all figures."""
    figure, rows = _panels(1, groups, command)
    for number, group in enumerate(groups):
        axes = rows[0, number]
        for row in group.valid:
            colour, mark = _STYLES.get(row["strategy"], _OTHER)
            axes.plot(row["throughput_images_per_s"], row["energy_j_per_image"], mark, color=colour, markersize=4)
        for row in group.front:
            place = (row["throughput_images_per_s"], row["energy_j_per_image"])
            axes.plot(*place, "o", color=BLACK, markersize=9, fillstyle="none", linewidth=0.8)
            axes.annotate(_name(group, row), place, xytext=(5, 5), textcoords="offset points", fontsize=7)
        axes.set_title(f"{group.models} on {group.cluster}, for {group.objective}", fontsize=9)
        axes.set_xlabel("images/s (modelled)")
        axes.set_ylabel("J per image (modelled)", fontsize=8)
        axes.set_ylim(0, ROOM * max(row["energy_j_per_image"] for row in group.valid))
        axes.margins(x=0.1)
        axes.grid(visible=True, color=GREY, linewidth=0.4)
    return _png(figure, groups)


def _name(group: Group, row: Row) -> str:
    """Return what tells points apart: the number of boards, or GEMM batch and block where builds are compared."""
    return str(row["boards"]) if len(group.configs) == 1 else row["config"].split("_i")[0].rpartition("_")[2]


def _panels(rows: int, groups: Sequence[Group], command: str) -> tuple[Figure, Any]:
    figure = Figure(
        figsize=(max(WIDTH_INCHES, 3.6 * len(groups)), 0.9 + 2.3 * rows + (rows == 1)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(groups), squeeze=False)
    figure.suptitle(f"all modelled, by: {command}", fontsize=8)
    return figure, axes


def _png(figure: Figure, groups: Sequence[Group]) -> bytes:
    strategies = dict.fromkeys(name for group in groups for name in group.strategies)
    handles = [
        Line2D([], [], color=colour, marker=mark, linestyle="", label=name)
        for name, (colour, mark) in ((name, _STYLES.get(name, _OTHER)) for name in strategies)
    ]
    legend_below(figure, handles)
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH)
    # pages keep their pictures in the repository: few colours make a third of the size
    Image.open(drawn).convert("RGB").quantize(COLOURS, method=Image.Quantize.FASTOCTREE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()
