"""Numbers and names in sentences about studies."""

from __future__ import annotations

from collections.abc import Sequence

# Four digits would be written with an exponent
_EXPONENT = 9999.5


def counted_boards(count: int) -> str:
    """Return ``1 board`` or ``2 boards``."""
    return f"{count} board" if count == 1 else f"{count} boards"


def listed(names: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def quoted(names: Sequence[str]) -> str:
    """Return names as code, as a list."""
    return listed([f"`{name}`" for name in names])


def figure(value: float) -> str:
    """Return a figure with four digits, or more before the point."""
    return f"{value:.4g}" if abs(value) < _EXPONENT else f"{value:,.0f}"


def span(numbers: Sequence[int]) -> str:
    """Return ``1 to 12`` of ascending numbers, or the only one."""
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def figure_range(figures: Sequence[float], form: str = ".4g") -> str:
    """Return ``least to greatest``, or one figure where both look alike."""
    low, high = format(min(figures), form), format(max(figures), form)
    return low if low == high else f"{low} to {high}"


def percent_range(fractions: Sequence[float]) -> str:
    """Return ``35 to 86`` of fractions."""
    return figure_range([100 * fraction for fraction in fractions], ".0f")


def how_often(count: int, total: int) -> str:
    """Return ``all 7``, ``3 of 7`` or ``none of 7``."""
    return f"all {total}" if count == total else f"{count or 'none'} of {total}"


def sentence(text: str) -> str:
    """Return a text that begins with a capital."""
    return text[0].upper() + text[1:]
