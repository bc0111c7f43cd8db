"""Pictures of runs: every function takes a `Run` and returns a matplotlib figure; `FIGURES` has them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mpi_vta.disk import write_picture
from mpi_vta.errors import InputError, unknown_name
from mpi_vta.trace.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# name -> (module, function, what it answers); modules are imported when asked for, as matplotlib is heavy
_FIGURES: Mapping[str, tuple[str, str, str]] = {
    "gantt": ("time_lines", "draw_gantt", "who did what when, and which message let it begin"),
    "activity": ("time_lines", "draw_activity", "how much of its time every rank computes, and what it waits for"),
    "path": ("time_lines", "draw_critical_path", "why an image took as long as it did"),
    "bottleneck": ("resources", "draw_bottleneck", "which resource limits the rate, and what one more board would do"),
    "cycles": ("resources", "draw_cycles", "where the cycles of every stage go inside VTA"),
    "communication": ("resources", "draw_communication", "who sends how much to whom"),
    "energy": ("resources", "draw_energy", "how much energy an image takes, and where"),
    "latency": ("rates", "draw_latency", "how long images take"),
    "throughput": ("rates", "draw_throughput", "how the rate and the images under way develop"),
    "prediction": ("rates", "draw_prediction", "how well the plan foretold the run"),
}
QUESTIONS: Mapping[str, str] = {name: question for name, (_, _, question) in _FIGURES.items()}


def draw(name: str, run: Run) -> Figure:
    """Return a figure by name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in _FIGURES:
        raise unknown_name(InputError, f"no figure named {name!r}", where="--figure", name=name, known=_FIGURES)
    module, function, _ = _FIGURES[name]
    drawer: Callable[[Run], Figure] = getattr(import_module(f"{__name__}.{module}"), function)
    return drawer(run)


def draw_if_whole(name: str, run: Run) -> Figure | str:
    """Return a figure, or why a trace of a run that ended early has not what it needs.

    Raises
    ------
    InputError
        If there is no figure of that name, or a whole run cannot be drawn.
    """
    try:
        return draw(name, run)
    except InputError as fault:
        if name not in _FIGURES or not run.trace.attributes.get("repaired"):
            raise
        return f"no picture {name!r}: {fault}"


def save_figures(run: Run, names: Sequence[str], folder: Path) -> list[str]:
    """Draw figures into ``<name>.png`` in a folder and return a line on each."""
    lines = []
    for name in names:
        drawn = draw_if_whole(name, run)
        if isinstance(drawn, str):
            lines.append(drawn)
            continue
        path = folder / f"{name}.png"
        write_picture(drawn, path)
        lines.append(f"written     {path}")
    return lines
