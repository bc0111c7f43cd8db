"""Values of JSON that must be of a certain type: returned if they are, a `ValueError` otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 1 << 62  # sums of a few such numbers still fit 64 bits


def whole(value: Any, least: int = 0, most: int = MOST) -> int:
    """Return a whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{shown(value)} is not a whole number from {least} to {most}")
    return value


def number(value: Any) -> float:
    """Return a number that is finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MOST**16:
        raise ValueError(f"{shown(value)} is not a number")
    return float(value)


def text(value: Any) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a text")
    return value


def entries(value: Any) -> list[Any]:
    """Return a list."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is not a list")
    return list(value)


def table(value: Any) -> Mapping[str, Any]:
    """Return an object."""
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is not an object")
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Return a list of texts."""
    return tuple(text(entry) for entry in entries(value))


def wholes(value: Any, least: int = 0, most: int = MOST) -> tuple[int, ...]:
    """Return a list of whole numbers."""
    return tuple(whole(entry, least, most) for entry in entries(value))


def shown(value: Any) -> str:
    """Return a value as a message shows it, cut to a readable length."""
    shown_value = repr(value)
    return shown_value if len(shown_value) <= 40 else f"{shown_value[:37]}..."
