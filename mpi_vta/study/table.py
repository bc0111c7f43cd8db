"""The outcome of a study for people: figures by boards and strategy, the front, and what could not be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from mpi_vta.statement import figure as shown
from mpi_vta.study.groups import Group, groups_of
from mpi_vta.text_table import counted, print_lines, print_table
from mpi_vta.trace.study_file import Study

MOST_ROWS = 24
MOST_OF_FRONT = 8


def print_study(study: Study, stream: TextIO) -> None:
    """Print a table and a front for each mix of models, cluster and objective, then what is not valid, and why."""
    for group in groups_of(study):
        if group.valid:
            _print_figures(group, stream)
            _print_front(group, stream)
        else:
            print(f"{group.case}, for {group.objective}: no point can be run", file=stream)
    reasons = Counter(row.reason for row in study.points if not row.valid)
    for reason, count in reasons.most_common():
        print_lines([f"not valid   {counted(count, 'point')}: {reason}"], stream)


def _print_figures(group: Group, stream: TextIO) -> None:
    several = len(group.configs) > 1
    figures = {(row.config, row.boards, row.strategy): group.figure(row) if row.valid else None for row in group.rows}
    lines = list(dict.fromkeys((row.config, row.boards) for row in group.rows))
    shown = lines
    if len(lines) > MOST_ROWS:
        best = sorted(group.valid, key=group.merit, reverse=True)
        shown = list(dict.fromkeys((row.config, row.boards) for row in best))[:MOST_ROWS]
    images = group.rows[0].images
    heads = (*(["VTA build"] if several else []), "boards", *group.strategies)
    rows = [
        (
            *([config] if several else []),
            str(boards),
            *(_cell(figures.get((config, boards, strategy))) for strategy in group.strategies),
        )
        for config, boards in shown
    ]
    _print(
        f"{group.models} on {group.cluster}, {counted(images, 'image')}: {group.heading}, modelled", heads, rows, stream
    )
    if len(shown) < len(lines):
        print(f"note        the best {len(shown)} of {len(lines)} lines; the file has all", file=stream)


def _print_front(group: Group, stream: TextIO) -> None:
    """Print what no other point beats in throughput, latency and energy at once."""
    several = len(group.configs) > 1
    figures = group.front_figures
    heads = (*(["VTA build"] if several else []), "boards", "strategy", *figures.values())
    rows = [
        (
            *([row.config] if several else []),
            str(row.boards),
            row.strategy,
            *(shown(getattr(row, name)) for name in figures),
        )
        for row in group.front[:MOST_OF_FRONT]
    ]
    _print(f"best in throughput, latency and energy at once ({len(group.front)}), modelled", heads, rows, stream)
    if len(rows) < len(group.front):
        print(f"note        the first {len(rows)} of {len(group.front)}", file=stream)


def _print(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    # a title of the table itself would be broken to its width
    print_lines([title], stream)
    print_table("", heads, rows, stream, left=("VTA build", "strategy"))


def _cell(figure: float | None) -> str:
    return "-" if figure is None else shown(figure)
