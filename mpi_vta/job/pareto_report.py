"""The Pareto front of plans, for scripts and for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from mpi_vta.plans.figures import HEADINGS, OBJECTIVES
from mpi_vta.schedule.pareto import Pareto
from mpi_vta.text_table import counted, print_lines, print_table

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
    heads = ("strategy", "boards", "used", "stages", "in flight", *(HEADINGS[key] for key, _ in OBJECTIVES.values()))
    rows = [
        (
            row["strategy"],
            *(str(row[key]) for key in ("boards", "boards_used", "stages", "in_flight_groups")),
            *(f"{row[key]:.4g}" for key, _ in OBJECTIVES.values()),
        )
        for row in summary["pareto"]
    ]
    head = f"{title}: best of {counted(summary['considered'], 'plan')}, all modelled"
    print_table(head, heads, rows, stream, left=("strategy",))
    lines = [summary["energy"], *(f"left out: {reason}" for reason in summary["left_out"])]
    print_lines((f"note        {line}" for line in lines), stream)
