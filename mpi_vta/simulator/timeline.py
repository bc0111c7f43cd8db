"""A picture of a program's run: the three units over cycles, what each does, tokens and waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import write_picture
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import decode_columns
from mpi_vta.isa.table import MemoryType, Opcode, Unit
from mpi_vta.printable import picture_text
from mpi_vta.simulator.timing import Cause, Timing
from mpi_vta.simulator.tokens import QUEUES, Columns

MAX_TOKEN_ARROWS = 400

_COLOURS = {
    "load inp": "#4477aa",
    "load wgt": "#66ccee",
    "load acc": "#228833",
    "load uop": "#ccbb44",
    "gemm": "#ee6677",
    "alu": "#aa3377",
    "store": "#555555",
    "token only": "#000000",
    "waiting": "#dddddd",
}
_ROW_OF_UNIT = {Unit.LOAD: 2, Unit.COMPUTE: 1, Unit.STORE: 0}


def _kinds(columns: Columns) -> NDArray[np.str_]:
    kinds = np.full(columns["opcode"].size, "token only", dtype="U10")
    kinds[columns["opcode"] == Opcode.GEMM] = "gemm"
    kinds[columns["opcode"] == Opcode.ALU] = "alu"
    moves = columns["x_size"] > 0
    kinds[moves & (columns["opcode"] == Opcode.STORE)] = "store"
    for memory in (MemoryType.UOP, MemoryType.WGT, MemoryType.INP, MemoryType.ACC):
        rows = moves & (columns["opcode"] == Opcode.LOAD) & (columns["memory_type"] == memory)
        kinds[rows] = f"load {memory.name.lower()}"
    return kinds


def draw_timeline(config: VTAConfig, insns: NDArray[np.uint64], timing: Timing, path: Path, title: str) -> None:
    """Draw the units' instructions over cycles into a PNG file.

    Tokens are drawn as arrows while there are at most `MAX_TOKEN_ARROWS`; waits for a token or for
    fetch are grey.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: TID251
    from matplotlib.figure import Figure  # noqa: TID251

    columns = decode_columns(insns, config)
    figure = Figure(figsize=(14, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    kinds = _kinds(columns)
    for kind, colour in _COLOURS.items():
        for unit, row in _ROW_OF_UNIT.items():
            spans = (
                _waits(timing, unit) if kind == "waiting" else _spans(timing, (kinds == kind) & (timing.unit == unit))
            )
            if spans.size:
                axes.broken_barh(spans.tolist(), (row - 0.4, 0.8), facecolors=colour, linewidth=0)
        axes.plot([], [], color=colour, linewidth=6, label=kind)
    arrows = _arrows(timing)
    if len(arrows) <= MAX_TOKEN_ARROWS:
        for push, pop, source, target in arrows:
            axes.annotate(
                "", (pop, target), (push, source), arrowprops={"arrowstyle": "->", "color": "#00000080", "lw": 0.6}
            )
    axes.set_yticks(list(_ROW_OF_UNIT.values()), [unit.name.lower() for unit in _ROW_OF_UNIT])
    axes.set_xlim(0, timing.cycles)
    axes.set_ylim(-0.6, 2.6)
    axes.set_xlabel(f"cycles (modelled, profile {timing.profile.name})")
    axes.set_title(picture_text(title))
    axes.legend(ncols=len(_COLOURS), loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize="small", frameon=False)
    write_picture(figure, path)


def _spans(timing: Timing, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    spans: NDArray[np.int64] = np.stack(
        [timing.start_cycle[rows], timing.end_cycle[rows] - timing.start_cycle[rows]], axis=1
    )
    return spans


def _waits(timing: Timing, unit: Unit) -> NDArray[np.int64]:
    rows = np.flatnonzero(timing.unit == unit)
    free = np.concatenate([[0], timing.end_cycle[rows][:-1]])
    spans = np.stack([free, timing.start_cycle[rows] - free], axis=1)
    waits: NDArray[np.int64] = spans[timing.cause[rows] != Cause.UNIT]
    return waits


def _arrows(timing: Timing) -> list[tuple[Any, ...]]:
    arrows = []
    for number, queue in enumerate(QUEUES):
        for pop in np.flatnonzero(timing.producer[:, number] >= 0).tolist():
            push = int(timing.producer[pop, number])
            arrows.append(
                (
                    int(timing.end_cycle[push]),
                    int(timing.start_cycle[pop]),
                    _ROW_OF_UNIT[queue.producer],
                    _ROW_OF_UNIT[queue.consumer],
                )
            )
    return arrows
