"""The columns of a study's tables, for docs/experiments.md."""

from __future__ import annotations

from mpi_vta.trace.study_rows import TABLES

BEGIN, END = "<!-- columns -->\n", "<!-- end of columns -->\n"


def columns_text() -> str:
    """Return a Markdown table of all columns."""
    lines = ["| table | column | kind | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | `{column.name}` | {column.kind} | {column.meaning} |"
        for name, columns in TABLES.items()
        for column in columns
    ]
    return "\n".join(lines) + "\n"


def with_columns(page: str) -> str:
    """Return the page with its table of columns made anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{columns_text()}{END}{after}"
