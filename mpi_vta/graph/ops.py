"""The operators of the two graph dialects, one table: which inputs, parameters and attributes each has.

A *float* graph is what the front end delivers. An *int8* graph is what quantisation delivers and what
code generation takes; its operators have one exact integer meaning, given here and executed by
`mpi_vta.graph.reference`. In the formulas all arithmetic is int32 with wrap-around, ``>>`` is the
arithmetic shift, and ``requantize(a) = clip((a + (1 << shift >> 1)) >> shift, lo, hi)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class OpSpec:
    """Legal shape of a node.

    Attributes
    ----------
    inputs : tuple of int
        Smallest and largest number of value inputs.
    params : mapping of str to str
        Constant parameters by role, with their dtype; a trailing ``?`` marks an optional one.
    attrs : mapping of str to type description
        Attributes: ``int``, ``float``, ``pair`` (y, x), ``pads`` (top, left, bottom, right),
        ``ints`` (a tuple), ``ints?`` (a tuple or None), ``str``.
    doc : str
        Meaning.
    """

    inputs: tuple[int, int]
    params: Mapping[str, str]
    attrs: Mapping[str, str]
    doc: str


CHANNEL_SHIFT_MAX = 15  # a register shift of the portable subset
SHIFTED_RESIDUAL_SHIFT_MAX = 6  # behind a shift per channel a residual takes one product: 2**6 fits a weight

_WINDOW = {"kernel": "pair", "strides": "pair", "pads": "pads"}
_BOX = {"channels": "pair", "rows": "pair", "cols": "pair"}
_REQUANTIZE = {"shift": "int", "lo": "int", "hi": "int"}

FLOAT_OPS: Mapping[str, OpSpec] = {
    "conv2d": OpSpec(
        (1, 1),
        {"weight": "float32", "bias": "float32?"},
        {"strides": "pair", "pads": "pads", "dilations": "pair", "groups": "int"},
        "convolution, weight (O, I/groups, kh, kw)",
    ),
    "conv_transpose2d": OpSpec(
        (1, 1),
        {"weight": "float32", "bias": "float32?"},
        {"strides": "pair", "pads": "pads", "output_pads": "pair", "dilations": "pair", "groups": "int"},
        "transposed convolution, weight (I, O/groups, kh, kw): every pixel adds its multiple of the kernel, "
        "strides apart; pads are cut off the result, output_pads (bottom, right) are added to it",
    ),
    "dense": OpSpec((1, 1), {"weight": "float32", "bias": "float32?"}, {}, "x @ weight.T + bias, weight (O, I)"),
    "add": OpSpec((2, 2), {}, {}, "elementwise sum of equal shapes"),
    "relu": OpSpec((1, 1), {}, {}, "max(x, 0)"),
    "leaky_relu": OpSpec((1, 1), {}, {"alpha": "float"}, "max(x, alpha * x), 0 < alpha < 1"),
    "clip": OpSpec((1, 1), {}, {"lo": "float", "hi": "float"}, "min(max(x, lo), hi)"),
    "scale_shift": OpSpec(
        (1, 1), {"scale": "float32", "offset": "float32?"}, {}, "x * scale + offset, both (C,): one per channel"
    ),
    "activation": OpSpec((1, 1), {}, {"kind": "str"}, "one of `mpi_vta.graph.activations.ACTIVATIONS`, elementwise"),
    "max_pool2d": OpSpec((1, 1), {}, _WINDOW, "maximum over windows, padding never wins"),
    "avg_pool2d": OpSpec((1, 1), {}, _WINDOW, "mean over windows, padding counts as 0"),
    "global_avg_pool2d": OpSpec((1, 1), {}, {}, "mean over height and width"),
    "upsample2d": OpSpec((1, 1), {}, {"scales": "pair"}, "nearest neighbour, integer scales"),
    "pad2d": OpSpec((1, 1), {}, {"pads": "pads"}, "zeros around"),
    "concat": OpSpec((2, 64), {}, {}, "along the channel axis"),
    "slice2d": OpSpec((1, 1), {}, _BOX, "[low, high) of the channels, rows and columns"),
    "flatten": OpSpec((1, 1), {}, {}, "(1, C, H, W) to (1, C*H*W)"),
    "unflatten": OpSpec((1, 1), {}, {}, "(1, C) to (1, C, 1, 1)"),
    "reshape": OpSpec((1, 1), {}, {"shape": "ints"}, "to `shape`, which begins with 1; at the end of a model"),
    "transpose": OpSpec((1, 1), {}, {"order": "ints"}, "axes in this order, 0 first; at the end of a model"),
    "softmax": OpSpec((1, 1), {}, {}, "over the last axis"),
    "sigmoid": OpSpec((1, 1), {}, {}, "1 / (1 + exp(-x))"),
    "arithmetic": OpSpec(
        (1, 2),
        {"constant": "float32?"},
        {"rule": "str", "constant_first": "int"},
        "one of `mpi_vta.graph.tail.ARITHMETIC` of two operands that broadcast, of which one may be a constant; "
        "at the end of a model",
    ),
    "function": OpSpec((1, 1), {}, {"rule": "str"}, "one of `mpi_vta.graph.tail.FUNCTIONS`; at the end of a model"),
    "reduce": OpSpec(
        (1, 1),
        {},
        {"rule": "str", "axis": "int"},
        "one of `mpi_vta.graph.tail.REDUCTIONS` over an axis, which stays with extent 1; at the end of a model",
    ),
    "join": OpSpec((2, 64), {}, {"axis": "int"}, "concatenation along any axis; at the end of a model"),
    "cut": OpSpec((1, 1), {}, {"low": "ints", "high": "ints"}, "[low, high) of every axis; at the end of a model"),
}

INT8_OPS: Mapping[str, OpSpec] = {
    "conv2d": OpSpec(
        (1, 2),
        {"weight": "int8", "bias": "int32", "channel_shift": "int8?"},
        {
            "strides": "pair",
            "pads": "pads",
            "dilations": "pair",
            "groups": "int",
            "residual_shift": "int",
            "leaky": "ints?",
            **_REQUANTIZE,
        },
        "a = conv(x, weight) + bias, weight (O, I/groups, kh, kw); if there are channel shifts (O,), each in "
        "0..15: a = a >> channel_shift[c]; plus (inputs[1] << residual_shift) if there is a second input; "
        "if leaky = (m, k): a = max(a, (a * m) >> k); requantize(a). A dense layer is a convolution "
        "whose kernel covers the whole input.",
    ),
    "max_pool2d": OpSpec((1, 1), {}, _WINDOW, "maximum over windows, padding never wins; same scale"),
    "avg_pool2d": OpSpec(
        (1, 1),
        {},
        {**_WINDOW, "multiplier": "int", **_REQUANTIZE},
        "requantize(multiplier * sum over the window), padding counts as 0, 1 <= multiplier <= 127",
    ),
    "sum": OpSpec(
        (1, 2),
        {},
        {"input_shifts": "ints", "leaky": "ints?", **_REQUANTIZE},
        "a = sum of (inputs[i] << input_shifts[i]), each shift in 0..15; leaky as in conv2d; "
        "requantize(a). With one input: a stand-alone activation or change of scale.",
    ),
    "piecewise": OpSpec(
        (1, 1),
        {},
        {"multipliers": "ints", "sides": "ints", "thresholds": "ints", "offset": "int", **_REQUANTIZE},
        "a = offset + sum of t_i, where t_i = multipliers[i] * x (sides[i] = 0), max(multipliers[i] * x, "
        "thresholds[i]) (1) or min(multipliers[i] * x, thresholds[i]) (-1); requantize(a). Multipliers are int8, "
        "thresholds int16.",
    ),
    "upsample2d": OpSpec((1, 1), {}, {"scales": "pair"}, "nearest neighbour, integer scales; same scale"),
    "spread2d": OpSpec(
        (1, 1),
        {},
        {"scales": "pair"},
        "zeros between the pixels: (H - 1) * sy + 1 by (W - 1) * sx + 1; same scale. With a conv2d of flipped "
        "weights behind it: a transposed convolution.",
    ),
    "pad2d": OpSpec((1, 1), {}, {"pads": "pads"}, "zeros around; same scale. A convolution pads by itself."),
    "concat": OpSpec((2, 64), {}, {}, "along the channel axis; same scale on all inputs"),
    "slice2d": OpSpec((1, 1), {}, _BOX, "[low, high) of the channels, rows and columns; same scale"),
}

DIALECTS: Mapping[str, Mapping[str, OpSpec]] = {"float32": FLOAT_OPS, "int8": INT8_OPS}
