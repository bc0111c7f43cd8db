"""Pictures of a study: the figures against the number of boards, and what is best in several at once."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import count
from math import copysign, hypot
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from mpi_vta.plans.figures import HEADINGS, OBJECTIVES
from mpi_vta.schedule.strategies import AUTO, STRATEGIES
from mpi_vta.study.build_conclusions import gemm_shape
from mpi_vta.study.groups import Group
from mpi_vta.trace.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, WIDTH_INCHES, legend_below
from mpi_vta.trace.study_rows import PointRow

DOTS_PER_INCH = 90
COLOURS = 128
# Above the largest value
ROOM = 1.08
# Names of points: dots from the point to the middle of its name, in the order of trial; width of a letter,
# height of a line, half the width of a point
_OFFSETS = [(13, 11), (13, -11), (-13, 11), (-13, -11), (0, 16), (0, -16), (20, 0), (-20, 0), (26, 14), (26, -14)]
_LETTER, _HEIGHT, _POINT = 7.0, 10.0, 8.0
# The same name is written once within so many dots
_NAME_AGAIN = 40
# Colours and marks by strategy, in the order of the registry, so that all pictures agree
_LOOKS = ((GREEN, "^"), (BLUE, "o"), (VERMILION, "D"), (ORANGE, "s"))
_STYLES = {**dict(zip(STRATEGIES, _LOOKS, strict=False)), AUTO: (BLACK, "x")}
_OTHER = (PURPLE, "v")


def draw_figures(groups: Sequence[Group], command: str) -> bytes:
    """Return a PNG with throughput, latency and energy against the number of boards, a column per group."""
    figure, rows = _panels(len(OBJECTIVES), groups, command)
    for number, group in enumerate(groups):
        for (name, _), axes in zip(OBJECTIVES.values(), rows[:, number], strict=True):
            for place, strategy in enumerate(group.strategies):
                points = [
                    (boards, getattr(row, name))
                    for boards in group.boards
                    if (row := group.best(boards, strategy)) is not None
                ]
                colour, mark = _STYLES.get(strategy, _OTHER)
                # later lines are thinner, so that earlier ones under them can be seen
                style = {"color": colour, "marker": mark, "markersize": 8 - place, "linewidth": 2.4 - 0.4 * place}
                if points:
                    axes.plot(*zip(*points, strict=True), **style, fillstyle="none")
            axes.set_ylim(0, ROOM * max(getattr(row, name) for row in group.valid))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(visible=True, color=GREY, linewidth=0.4)
            axes.set_ylabel(f"{HEADINGS[name]} (modelled)", fontsize=8)
        rows[0, number].set_title(f"{group.models} on {group.cluster}, for {group.objective}", fontsize=9)
        rows[-1, number].set_xlabel("boards")
    legend_below(figure, _handles(groups))
    return _png(figure)


def draw_fronts(groups: Sequence[Group], command: str) -> bytes:
    """Return a PNG of energy against throughput, a column per group; ringed is what no point beats in all figures."""
    figure, rows = _panels(1, groups, command)
    for number, group in enumerate(groups):
        axes = rows[0, number]
        for size, strategy in zip(count(8, -1), group.strategies, strict=False):
            colour, mark = _STYLES.get(strategy, _OTHER)
            places = [_place(row) for row in group.valid if row.strategy == strategy]
            if places:
                axes.plot(*zip(*places, strict=True), mark, color=colour, markersize=size, fillstyle="none")
        for row in group.front:
            axes.plot(*_place(row), "o", color=BLACK, markersize=13, fillstyle="none", markeredgewidth=0.8)
        axes.set_title(f"{group.models} on {group.cluster}, for {group.objective}", fontsize=9)
        axes.set_xlabel("images/s (modelled)")
        axes.set_ylabel("J per image (modelled)", fontsize=8)
        axes.set_ylim(0, ROOM * max(row.energy_j_per_image for row in group.valid))
        axes.margins(x=0.1)
        axes.grid(visible=True, color=GREY, linewidth=0.4)
    # where points lie on the paper is known when everything else has its place
    legend_below(figure, _handles(groups))
    figure.draw_without_rendering()
    for number, group in enumerate(groups):
        _name_front(rows[0, number], group)
    return _png(figure)


def _place(row: PointRow) -> tuple[float, float]:
    return row.throughput_images_per_s, row.energy_j_per_image


def _name_front(axes: Any, group: Group) -> None:
    """Write the names of the front's points, or every shape of builds once, where no other name and no point is."""
    builds = len(group.configs) > 1
    dots = {row.point: axes.transData.transform(_place(row)) for row in group.valid}
    taken = [(x, y, _POINT) for x, y in dots.values()]
    named: dict[str, tuple[float, float]] = {}
    for row in (*group.front, *(group.valid if builds else ())):
        name, (x, y) = _name(group, row), dots[row.point]
        if name in named and (builds or hypot(x - named[name][0], y - named[name][1]) < _NAME_AGAIN):
            continue
        half = _LETTER * len(name) / 2
        for dx, dy in _OFFSETS:
            # a longer name lies further to the side
            place = (x + dx + copysign(max(half - _POINT, 0), dx) * (dx != 0), y + dy)
            if _free(axes.get_window_extent(), taken, *place, half):
                axes.annotate(name, axes.transData.inverted().transform(place), fontsize=7, ha="center", va="center")
                taken.append((*place, half))
                named[name] = (x, y)
                break


def _free(frame: Any, taken: Sequence[tuple[float, float, float]], x: float, y: float, half: float) -> bool:
    """Return whether a name of some half width has its place at (x, y), in dots."""
    inside = frame.x0 < x - half and x + half < frame.x1 and frame.y0 < y - _HEIGHT and y + _HEIGHT < frame.y1
    return inside and all(abs(x - a) > half + width or abs(y - b) > _HEIGHT for a, b, width in taken)


def _name(group: Group, row: PointRow) -> str:
    """Return what tells points apart: the number of boards, or GEMM batch and block where builds are compared."""
    return str(row.boards) if len(group.configs) == 1 else gemm_shape(row.config)


def _panels(rows: int, groups: Sequence[Group], command: str) -> tuple[Figure, Any]:
    size = (max(WIDTH_INCHES, 3.6 * len(groups)), 0.9 + 2.3 * rows + (rows == 1))
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(groups), squeeze=False)
    figure.suptitle(f"all modelled, by: {command}", fontsize=8)
    return figure, axes


def _handles(groups: Sequence[Group]) -> list[Line2D]:
    strategies = dict.fromkeys(name for group in groups for name in group.strategies)
    return [
        Line2D([], [], color=colour, marker=mark, linestyle="", fillstyle="none", label=name)
        for name, (colour, mark) in ((name, _STYLES.get(name, _OTHER)) for name in strategies)
    ]


def _png(figure: Figure) -> bytes:
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH)
    # pages keep their pictures in the repository: few colours make a third of the size
    Image.open(drawn).convert("RGB").quantize(COLOURS, method=Image.Quantize.FASTOCTREE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()
