"""Statements as values: what is said, and of what; the words are a template's, chosen and filled in when printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, ClassVar

from mpi_vta.text_table import counted

# From here on four digits would be written with an exponent
_EXPONENT = 9999.5


@dataclass(frozen=True, init=False)
class Statement:
    """Something found out; a subclass gives the words.

    Attributes
    ----------
    what : str
        A key of the class's `TEMPLATES`.
    values : mapping of str to object
        What the template names: figures, names, sequences of them, rows with attributes, statements for parts of a
        sentence; None leaves a part out.
    """

    TEMPLATES: ClassVar[Mapping[str, str]]

    what: str
    values: Mapping[str, Any]

    def __init__(self, what: str, /, **values: Any) -> None:
        if what not in self.TEMPLATES:
            raise KeyError(what)
        object.__setattr__(self, "what", what)
        object.__setattr__(self, "values", values)

    def __str__(self) -> str:
        return _WORDS.vformat(self.TEMPLATES[self.what], (), self.values)


class _Words(Formatter):
    """The format specifications of templates, besides Python's own and those of `_FORMS`.

    ``{boards:count board}`` is "1 board" or "2 boards", ``{boards:stays|stay}`` the one or the other by a number or
    a sequence's length.
    """

    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None:
            return ""
        if "|" in format_spec:
            one, many = format_spec.split("|")
            return one if (value if isinstance(value, int) else len(value)) == 1 else many
        form, _, rest = format_spec.partition(" ")
        if form == "count":
            return counted(value, rest)
        if form == "range":
            return figure_range(value, rest or ".4g")
        return _FORMS[form](value) if form in _FORMS else format(value, format_spec)


def listed(names: Sequence[object]) -> str:
    """Return ``a, b and c``."""
    texts = [str(name) for name in names]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def quoted(names: Sequence[str]) -> str:
    """Return names as code, as a list."""
    return listed([f"`{name}`" for name in names])


def figure(value: float) -> str:
    """Return a figure with four digits, or more before the point."""
    return f"{value:.4g}" if abs(value) < _EXPONENT else f"{value:,.0f}"


def figure_range(figures: Sequence[float], form: str = ".4g") -> str:
    """Return ``least to greatest``, or one figure where both look alike."""
    low, high = format(min(figures), form), format(max(figures), form)
    return low if low == high else f"{low} to {high}"


def how_often(of: tuple[int, int]) -> str:
    """Return ``all 7``, ``3 of 7`` or ``none of 7`` of a count and a total."""
    count, total = of
    return f"all {total}" if count == total else f"{count or 'none'} of {total}"


def sentence(text: str) -> str:
    """Return a text that begins with a capital."""
    return text[0].upper() + text[1:]


_FORMS: Mapping[str, Callable[[Any], str]] = {
    "figure": figure,
    "list": listed,
    "quoted": quoted,
    "codes": lambda names: "/".join(f"`{name}`" for name in names),
    "series": lambda parts: ", ".join(map(str, parts)),
    "items": lambda parts: "; ".join(map(str, parts)),
    "often": how_often,
    "percent": lambda fraction: f"{100 * fraction:.0f} %",
    "percent1": lambda fraction: f"{100 * fraction:.1f} %",
    "percents": lambda fractions: f"{figure_range([100 * fraction for fraction in fractions], '.0f')} %",
    "capital": lambda part: sentence(str(part)),
}
_WORDS = _Words()
