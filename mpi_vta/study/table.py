"""The outcome of a study for people: the objective's figure by boards and strategy, and what could not be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, TextIO

from mpi_vta.runtime.report import REPORT_COLUMNS
from mpi_vta.study.groups import FIGURES
from mpi_vta.trace.study_file import Study

MOST_ROWS = 24
Row = Mapping[str, Any]


def print_study(study: Study, stream: TextIO) -> None:
    """Print a table for each mix of models, cluster and objective, then what is not valid, and why."""
    rows = study.rows()
    ordered = sorted(rows, key=lambda row: (row["models"], row["cluster"], row["objective"]))
    for _, same in groupby(ordered, key=lambda row: (row["models"], row["cluster"], row["objective"])):
        _print_table(list(same), stream)
    reasons = Counter(row["reason"] for row in rows if not row["valid"])
    for reason, count in reasons.most_common():
        print(f"not valid   {count} point{'s' if count > 1 else ''}: {reason}", file=stream)


def _print_table(rows: Sequence[Row], stream: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table

    first = rows[0]
    column, heading, sign = FIGURES[first["objective"]]
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    figures = {(row["config"], row["boards"], row["strategy"]): row[column] if row["valid"] else None for row in rows}
    lines = list(dict.fromkeys((row["config"], row["boards"]) for row in rows))
    # the boards' own builds need no column: the cluster says them
    several = len(lines) > len({boards for _, boards in lines})

    def merit(line: tuple[str, int]) -> float:
        found = [figures.get((*line, strategy)) for strategy in strategies]
        return max((sign * value for value in found if value is not None), default=float("-inf"))

    shown = lines
    if len(lines) > MOST_ROWS:
        shown = sorted(lines, key=merit, reverse=True)[:MOST_ROWS]
    table = Table(title=f"{first['models']} on {first['cluster']}, {_images(first['images'])}: {heading}, modelled")
    for name in (*(["VTA build"] if several else []), "boards", *strategies):
        table.add_column(name, justify="left" if name == "VTA build" else "right")
    for config, boards in shown:
        cells = [figures.get((config, boards, strategy)) for strategy in strategies]
        table.add_row(
            *([config] if several else []),
            str(boards),
            *("-" if cell is None else f"{cell:.4g}" for cell in cells),
        )
    Console(file=stream, width=None if stream.isatty() else REPORT_COLUMNS, highlight=False).print(table)
    if len(shown) < len(lines):
        print(f"note        the best {len(shown)} of {len(lines)} lines; the file has all", file=stream)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
