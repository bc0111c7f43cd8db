"""What the host alone does at the end of a model, on tensors of any rank, in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ARITHMETIC: Mapping[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "minimum": np.minimum,
    "maximum": np.maximum,
}
"""Elementwise functions of two operands that broadcast."""

FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt}
"""Elementwise functions of one operand."""

REDUCTIONS: Mapping[str, Callable[..., Any]] = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min}
"""Functions of all elements along one axis."""

RULES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "arithmetic": ARITHMETIC,
    "function": FUNCTIONS,
    "reduce": REDUCTIONS,
}
"""What the attribute `rule` may be, by operator."""


def arithmetic(rule: str, operands: tuple[Array, ...], constant: Array | None, constant_first: bool) -> Array:
    """Return a function of two tensors of n images each, or of one and a constant of one image."""
    both = operands if constant is None else (operands[0], constant)
    return ARITHMETIC[rule](*(both[::-1] if constant_first else both)).astype(np.float32, copy=False)


def reduced(rule: str, axis: int, x: Array) -> Array:
    """Return a tensor whose `axis` has extent 1."""
    return np.asarray(REDUCTIONS[rule](x, axis=axis, keepdims=True), np.float32)


def cut(low: tuple[int, ...], high: tuple[int, ...], x: Array) -> Array:
    """Return [low, high) of every axis but the images'."""
    return x[(slice(None), *(slice(a, b) for a, b in zip(low[1:], high[1:], strict=True)))]
