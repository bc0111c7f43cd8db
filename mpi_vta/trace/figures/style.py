"""What all pictures share: colours that all eyes can tell apart, units, sizes."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mpi_vta.printable import picture_text
from mpi_vta.trace.run import Run

# Okabe and Ito's palette
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE, GREY = "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#BBBBBB"
KIND_COLOURS = {
    "compute": BLUE,
    "host": YELLOW,
    "communication": ORANGE,
    "message": ORANGE,
    "send": ORANGE,
    "receive": GREEN,
    "queue": PURPLE,
    "wait": GREY,
}
WIDTH_INCHES = 9.0


def new_figure(run: Run, what: str, height_inches: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Return a figure with a title and its axes (an array of them for several columns)."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, **options)
    figure.suptitle(f"{what}\n{picture_text(run.title)}", fontsize=11)
    return figure, axes


def time_unit(span_ns: float) -> tuple[str, float]:
    """Return the unit in which a time span is easy to read, and its nanoseconds."""
    for name, size_ns in (("s", 1e9), ("ms", 1e6)):
        if span_ns >= 2 * size_ns:
            return name, size_ns
    return "µs", 1e3


def byte_unit(size_bytes: float) -> tuple[str, float]:
    """Return the unit in which a size is easy to read, and its bytes."""
    for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return name, size
    return "bytes", 1.0


def legend_below(figure: Figure, handles: list[Any], columns: int = 6) -> None:
    """Put one legend under all axes, where it covers nothing."""
    figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)), fontsize=8)


def patch(colour: str, label: str, **style: Any) -> Any:
    """Return a legend entry of one colour."""
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, label=label, edgecolor="black", linewidth=0.4, **style)
