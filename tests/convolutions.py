"""Attributes of int8 convolutions for tests that build a graph by hand."""

from __future__ import annotations

from typing import Any


def conv_attrs(pad: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the attributes of an int8 convolution of stride 1, with `pad` on every side."""
    attrs = {"strides": (1, 1), "pads": (pad,) * 4, "dilations": (1, 1), "groups": 1, "residual_shift": 0}
    return {**attrs, "leaky": None, "shift": 8, "lo": -128, "hi": 127, **changes}
