"""The Pareto front of plans, for scripts and for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from mpi_vta.runtime.report import REPORT_COLUMNS
from mpi_vta.schedule.pareto import Pareto
from mpi_vta.schedule.problem import OBJECTIVES

ENERGY_NOTE = "energy is a modelled estimate from the power figures of the board and cluster files"


def pareto_summary(found: Pareto) -> dict[str, Any]:
    """Return the front, JSON-able; every figure is modelled."""
    rows = [
        {
            "strategy": choice.plan.strategy,
            "boards": choice.boards,
            "boards_used": len({rank for stage in choice.plan.stages for rank in stage.ranks}),
            "stages": len(choice.plan.stages),
            "in_flight_groups": choice.plan.in_flight_groups,
            **{key: choice.plan.predicted[key] for key, _ in OBJECTIVES.values()},
        }
        for choice in found.front
    ]
    return {
        "time": "modelled",
        "energy": ENERGY_NOTE,
        "pareto": rows,
        "considered": found.considered,
        "left_out": list(found.left_out),
    }


def print_pareto(title: str, summary: Mapping[str, Any], stream: TextIO) -> None:
    """Print the front as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{title}: best of {summary['considered']} plans, all modelled")
    heads = ("strategy", "boards", "used", "stages", "in flight", "images/s", "latency ms", "J per image")
    for head in heads:
        table.add_column(head, justify="left" if head == "strategy" else "right")
    for row in summary["pareto"]:
        figures = [f"{row[key]:.4g}" for key, _ in OBJECTIVES.values()]
        counts = [str(row[key]) for key in ("boards", "boards_used", "stages", "in_flight_groups")]
        table.add_row(row["strategy"], *counts, *figures)
    Console(file=stream, width=None if stream.isatty() else REPORT_COLUMNS, highlight=False).print(table)
    lines = [summary["energy"], *(f"left out: {reason}" for reason in summary["left_out"])]
    print("\n".join(f"note        {line}" for line in lines), file=stream)
