"""The smooth activations of the float dialect, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) by way of tanh, which cannot overflow."""
    half = x.dtype.type(0.5)
    result: Array = half * (np.tanh(half * x) + x.dtype.type(1))
    return result


def _hard_sigmoid(x: Array) -> Array:
    result: Array = np.clip(x / x.dtype.type(6) + x.dtype.type(0.5), x.dtype.type(0), x.dtype.type(1))
    return result


def _mish(x: Array) -> Array:
    result: Array = x * np.tanh(np.logaddexp(x.dtype.type(0), x))
    return result


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, x.dtype.type(0))))


def _gelu(x: Array) -> Array:
    """Return the form with tanh: NumPy has no error function; it differs from the exact one by below 0.0005."""
    kind = x.dtype.type
    result: Array = kind(0.5) * x * (kind(1) + np.tanh(kind(np.sqrt(2 / np.pi)) * (x + kind(0.044715) * x**3)))
    return result


def _selu(x: Array) -> Array:
    kind = x.dtype.type
    below = kind(SELU_ALPHA) * np.expm1(np.minimum(x, kind(0)))
    return np.asarray(kind(SELU_SCALE) * np.where(x > 0, x, below))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
    "mish": _mish,
    "elu": _elu,
    "gelu": _gelu,
    "quick_gelu": lambda x: x * sigmoid(x.dtype.type(1.702) * x),
    "selu": _selu,
    "softplus": lambda x: np.logaddexp(x.dtype.type(0), x),
    "abs": np.abs,
}
"""Functions of float32 or float64 arrays; the result has the argument's shape and dtype.

hard_sigmoid(x) = clip(x / 6 + 1 / 2, 0, 1), hard_swish(x) = x * hard_sigmoid(x), silu(x) = x * sigmoid(x),
mish(x) = x * tanh(ln(1 + exp(x))), elu(x) = x or exp(x) - 1 below 0, gelu in its form with tanh,
quick_gelu(x) = x * sigmoid(1.702 x), selu(x) = 1.0507 x or 1.7581 (exp(x) - 1) below 0,
softplus(x) = ln(1 + exp(x)).
"""
