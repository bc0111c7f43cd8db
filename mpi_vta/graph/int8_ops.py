"""The operators of the int8 dialect: what quantisation delivers, in the formulas of `mpi_vta.graph.ops`."""

from __future__ import annotations

from mpi_vta.graph import definitions as define
from mpi_vta.graph import shapes
from mpi_vta.graph.op_spec import BOX, ENLARGED, PADDED, WINDOW, OpSpec
from mpi_vta.graph.operand_windows import (
    Boxed,
    Enlarged,
    Spread,
    Stacked,
    Windowed,
    kernel_rows,
    padded_rows,
    pooled_rows,
)

CHANNEL_SHIFT_MAX = 15  # a register shift of the portable subset
SHIFTED_RESIDUAL_SHIFT_MAX = 6  # behind a shift per channel a residual takes one product: 2**6 fits a weight
_REQUANTIZE = {"shift": "int", "lo": "int", "hi": "int"}
_ALL_BOUNDS = ("relu", "leaky_relu", "clip")

INT8_OPS: dict[str, OpSpec] = {
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
        shape=shapes.convolved,
        compute=define.int8_conv2d,
        operands=Windowed(kernel_rows, mixes=True),
        takes=_ALL_BOUNDS,
        error_steps=0.5,
    ),
    "max_pool2d": OpSpec(
        (1, 1),
        {},
        WINDOW,
        "maximum over windows, padding never wins; same scale",
        shape=shapes.windowed,
        compute=define.max_pool2d,
        operands=Windowed(pooled_rows),
        same_scale=True,
    ),
    "avg_pool2d": OpSpec(
        (1, 1),
        {},
        {**WINDOW, "multiplier": "int", **_REQUANTIZE},
        "requantize(multiplier * sum over the window), padding counts as 0, 1 <= multiplier <= 127",
        shape=shapes.windowed,
        compute=define.int8_avg_pool2d,
        operands=Windowed(pooled_rows),
        takes=("relu", "clip"),
        error_steps=1.5,
    ),
    "sum": OpSpec(
        (1, 2),
        {},
        {"input_shifts": "ints", "leaky": "ints?", **_REQUANTIZE},
        "a = sum of (inputs[i] << input_shifts[i]), each shift in 0..15; leaky as in conv2d; "
        "requantize(a). With one input: a stand-alone activation or change of scale.",
        shape=shapes.unchanged,
        compute=define.int8_sum,
        takes=_ALL_BOUNDS,
        error_steps=0.5,
    ),
    "piecewise": OpSpec(
        (1, 1),
        {},
        {"multipliers": "ints", "sides": "ints", "thresholds": "ints", "offset": "int", **_REQUANTIZE},
        "a = offset + sum of t_i, where t_i = multipliers[i] * x (sides[i] = 0), max(multipliers[i] * x, "
        "thresholds[i]) (1) or min(multipliers[i] * x, thresholds[i]) (-1); requantize(a). Multipliers are int8, "
        "thresholds int16.",
        shape=shapes.unchanged,
        compute=define.int8_piecewise,
        error_steps=1.5,
    ),
    "upsample2d": OpSpec(
        (1, 1),
        {},
        {"scales": "pair"},
        "nearest neighbour, integer scales; same scale",
        shape=ENLARGED,
        compute=define.upsample2d,
        operands=Enlarged(),
        same_scale=True,
    ),
    "spread2d": OpSpec(
        (1, 1),
        {},
        {"scales": "pair"},
        "zeros between the pixels: (H - 1) * sy + 1 by (W - 1) * sx + 1; same scale. With a conv2d of flipped "
        "weights behind it: a transposed convolution.",
        shape=shapes.resized(lambda h, w, attrs: ((h - 1) * attrs["scales"][0] + 1, (w - 1) * attrs["scales"][1] + 1)),
        compute=define.spread2d,
        operands=Spread(),
        same_scale=True,
    ),
    "pad2d": OpSpec(
        (1, 1),
        {},
        {"pads": "pads"},
        "zeros around; same scale. A convolution pads by itself.",
        shape=PADDED,
        compute=define.pad2d,
        operands=Windowed(padded_rows),
        same_scale=True,
    ),
    "concat": OpSpec(
        (2, 64),
        {},
        {},
        "along the channel axis; same scale on all inputs",
        shape=shapes.stacked,
        compute=define.concat,
        operands=Stacked(),
        same_scale=True,
    ),
    "slice2d": OpSpec(
        (1, 1),
        {},
        BOX,
        "[low, high) of the channels, rows and columns; same scale",
        shape=shapes.boxed,
        compute=define.slice2d,
        operands=Boxed(),
        same_scale=True,
    ),
}
