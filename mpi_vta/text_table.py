"""Tables and lines for people: on a terminal, or in a log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

from mpi_vta.printable import printable

LOG_COLUMNS = 132


def print_table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    stream: TextIO,
    *,
    left: Sequence[str] = (),
    total: Sequence[str] | None = None,
) -> None:
    """Print a table.

    Parameters
    ----------
    title : str
        Above it; none if empty.
    heads : sequence of str
        Of the columns.
    rows : iterable of sequences of str
        Whatever a name in a cell holds is shown as it is, and nothing of it obeyed.
    stream : TextIO
        A terminal, whose width is kept, or a log, `LOG_COLUMNS` wide.
    left : sequence of str
        Heads of columns of text; the others are numbers.
    total : sequence of str, optional
        A last row that stands out.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(title), style="italic") if title else None)
    for head in heads:
        table.add_column(head, justify="left" if head in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    if total is not None:
        table.add_row(*(Text(printable(cell)) for cell in total), style="bold")
    Console(file=stream, width=None if stream.isatty() else LOG_COLUMNS, highlight=False).print(table)


def print_lines(lines: Iterable[str], stream: TextIO) -> None:
    """Print lines of text, with what names from files hold spelled out where a terminal would obey it."""
    for line in lines:
        print(printable(line), file=stream)


def counted(count: int, what: str) -> str:
    """Return ``1 board`` or ``2 boards``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
