"""The definition of every result: what each operator computes, in NumPy, bit for bit for the int8 dialect.

Integer accumulators are int32 with wrap-around. A convolution is a matrix product over gathered
patches in float64, exact because every partial sum of int8 products stays far below 2**53.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import GraphError
from mpi_vta.graph.activations import ACTIVATIONS, sigmoid
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.tail import FUNCTIONS, arithmetic, cut, reduced

Array = NDArray[Any]
Int32 = NDArray[np.int32]


def execute(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Compute the outputs of a graph.

    Parameters
    ----------
    graph : Graph
        Verified graph of either dialect.
    inputs : mapping of str to ndarray
        One array per graph input, shape (n, C, H, W) with n >= 1 images, dtype of the dialect.

    Returns
    -------
    dict of str to ndarray
        One array per graph output, shape (n, ...), dtype of the dialect.

    Raises
    ------
    GraphError
        If an input is missing or has the wrong shape or dtype.
    """
    return _run(graph, inputs, set(graph.outputs))


def execute_all(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Compute every value of a graph, inputs included; parameters and errors as `execute`."""
    return _run(graph, inputs, set(graph.values))


def _run(graph: Graph, inputs: Mapping[str, Array], kept: set[str]) -> dict[str, Array]:
    _check_inputs(graph, inputs)
    operators = _OPERATORS[graph.dialect]
    values = {name: inputs[name] for name in graph.inputs}
    last_reader = {name: node.name for node in graph.nodes for name in node.inputs}
    for node in graph.nodes:
        values[node.output] = operators[node.op](graph, node, *(values[name] for name in node.inputs))
        for name in set(node.inputs):
            if name not in kept and last_reader[name] == node.name:
                del values[name]
    return {name: values[name] for name in graph.values if name in kept}


def _check_inputs(graph: Graph, inputs: Mapping[str, Array]) -> None:
    counts = set()
    for name in graph.inputs:
        value, where = graph.values[name], f"{graph.name}: input {name}"
        if name not in inputs:
            raise GraphError("no array given", where=where, allowed=", ".join(graph.inputs))
        array = inputs[name]
        if array.shape[1:] != value.shape[1:] or array.ndim != len(value.shape) or str(array.dtype) != value.dtype:
            raise GraphError(
                f"got {array.dtype} of shape {array.shape}",
                where=where,
                allowed=f"{value.dtype} of shape (n, {', '.join(map(str, value.shape[1:]))})",
            )
        counts.add(array.shape[0])
    if len(counts) != 1 or 0 in counts:
        raise GraphError(f"inputs hold {sorted(counts)} images", where=graph.name, allowed="one count, at least 1")


# ---- shared by both dialects


def convolve(
    images: Array,
    weight: Array,
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    groups: int = 1,
) -> Array:
    """Return the plain convolution in the dtype of `images` and `weight` (float32 or float64).

    Parameters
    ----------
    images : ndarray, shape (n, I, H, W)
    weight : ndarray, shape (O, I / groups, kh, kw)

    Returns
    -------
    ndarray, shape (n, O, H', W')
    """
    outputs, _, kernel_y, kernel_x = weight.shape
    span = ((kernel_y - 1) * dilations[0] + 1, (kernel_x - 1) * dilations[1] + 1)
    windows = _windows(_padded(images, pads, 0), span, strides)[..., :: dilations[0], :: dilations[1]]
    height, width = windows.shape[2:4]
    matrices = weight.reshape(groups, outputs // groups, -1)
    result = np.empty((images.shape[0], groups, outputs // groups, height * width), dtype=images.dtype)
    for index, image in enumerate(windows):
        patches = image.transpose(0, 3, 4, 1, 2).reshape(groups, matrices.shape[2], height * width)
        for matrix, patch, part in zip(matrices, patches, result[index], strict=True):
            np.matmul(matrix, patch, out=part)
    return result.reshape(-1, outputs, height, width)


def _padded(images: Array, pads: tuple[int, int, int, int], fill: float) -> Array:
    top, left, bottom, right = pads
    if not any(pads):
        return images
    return np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)


def _windows(images: Array, kernel: tuple[int, int], strides: tuple[int, int]) -> Array:
    """Return a view (n, C, H', W', kh, kw) of every window of `images`."""
    view = np.lib.stride_tricks.sliding_window_view(images, kernel, axis=(2, 3))
    return view[:, :, :: strides[0], :: strides[1]]


def _pool_terms(images: Array, attrs: Mapping[str, Any], fill: float) -> list[Array]:
    """Return one (n, C, H', W') view per position of the pooling window."""
    windows = _windows(_padded(images, attrs["pads"], fill), attrs["kernel"], attrs["strides"])
    kernel_y, kernel_x = attrs["kernel"]
    return [windows[..., y, x] for y in range(kernel_y) for x in range(kernel_x)]


def _max_pool(_graph: Graph, node: Node, images: Array) -> Array:
    lowest = -128 if images.dtype == np.int8 else -np.inf
    terms = _pool_terms(images, node.attrs, lowest)
    result = terms[0].copy()
    for term in terms[1:]:
        np.maximum(result, term, out=result)
    return result


def _upsample(_graph: Graph, node: Node, images: Array) -> Array:
    scale_y, scale_x = node.attrs["scales"]
    return images.repeat(scale_y, axis=2).repeat(scale_x, axis=3)


def _slice(_graph: Graph, node: Node, images: Array) -> Array:
    channels, rows, cols = (slice(*node.attrs[key]) for key in ("channels", "rows", "cols"))
    return images[:, channels, rows, cols]


def _pad(_graph: Graph, node: Node, images: Array) -> Array:
    return _padded(images, node.attrs["pads"], 0)


def _spread(_graph: Graph, node: Node, images: Array) -> Array:
    return spread(images, node.attrs["scales"])


def spread(images: Array, scales: tuple[int, int]) -> Array:
    """Return images with zeros between their pixels: ((H - 1) * sy + 1, (W - 1) * sx + 1)."""
    count, channels, height, width = images.shape
    result = np.zeros((count, channels, (height - 1) * scales[0] + 1, (width - 1) * scales[1] + 1), images.dtype)
    result[:, :, :: scales[0], :: scales[1]] = images
    return result


def _concat(_graph: Graph, _node: Node, *images: Array) -> Array:
    return np.concatenate(images, axis=1)


def _geometry(attrs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the arguments of `convolve` behind the arrays."""
    return tuple(attrs[key] for key in ("strides", "pads", "dilations", "groups"))


# ---- int8


def requantize(accumulator: Int32, attrs: Mapping[str, Any]) -> NDArray[np.int8]:
    """Return ``clip((a + (1 << shift >> 1)) >> shift, lo, hi)`` as int8, rounding half up."""
    shift = attrs["shift"]
    rounded: Int32 = (accumulator + np.int32(1 << shift >> 1)) >> np.int32(shift)
    return np.clip(rounded, np.int32(attrs["lo"]), np.int32(attrs["hi"])).astype(np.int8)


def wrap_int32(exact: Array) -> Int32:
    """Return exact integers (float64 or int64) modulo 2**32 as int32."""
    return exact.astype(np.int64).astype(np.int32)


def _leaky(accumulator: Int32, leaky: tuple[int, int] | None) -> Int32:
    if leaky is None:
        return accumulator
    m, k = leaky
    scaled: Int32 = (accumulator * np.int32(m)) >> np.int32(k)
    return np.maximum(accumulator, scaled)


def _int8_conv2d(graph: Graph, node: Node, images: Array, residual: Array | None = None) -> Array:
    attrs = node.attrs
    weight, bias = graph.constants[node.params["weight"]], graph.constants[node.params["bias"]]
    exact = convolve(images.astype(np.float64), weight.astype(np.float64), *_geometry(attrs))
    accumulator = wrap_int32(exact) + bias[:, None, None]
    shifts = graph.param(node, "channel_shift")
    if shifts is not None:
        accumulator >>= shifts.astype(np.int32)[:, None, None]
    if residual is not None:
        accumulator += residual.astype(np.int32) << np.int32(attrs["residual_shift"])
    return requantize(_leaky(accumulator, attrs["leaky"]), attrs)


def _int8_avg_pool(_graph: Graph, node: Node, images: Array) -> Array:
    total: Int32 = np.add.reduce(_pool_terms(images.astype(np.int32), node.attrs, 0))
    return requantize(total * np.int32(node.attrs["multiplier"]), node.attrs)


def _int8_piecewise(_graph: Graph, node: Node, images: Array) -> Array:
    attrs = node.attrs
    every = np.arange(-128, 128, dtype=np.int32)
    total = np.full(256, attrs["offset"], dtype=np.int32)
    for multiplier, side, threshold in zip(attrs["multipliers"], attrs["sides"], attrs["thresholds"], strict=True):
        term = every * np.int32(multiplier)
        total += term if side == 0 else (np.maximum if side > 0 else np.minimum)(term, np.int32(threshold))
    return requantize(total, attrs)[images.astype(np.intp) + 128]


def _int8_sum(_graph: Graph, node: Node, *images: Array) -> Array:
    attrs = node.attrs
    accumulator = np.zeros(images[0].shape, dtype=np.int32)
    for image, shift in zip(images, attrs["input_shifts"], strict=True):
        accumulator += image.astype(np.int32) << np.int32(shift)
    return requantize(_leaky(accumulator, attrs["leaky"]), attrs)


# ---- float32


def _float_conv2d(graph: Graph, node: Node, images: Array) -> Array:
    result = convolve(images, graph.constants[node.params["weight"]], *_geometry(node.attrs))
    bias = graph.param(node, "bias")
    return result if bias is None else result + bias[:, None, None]


def _transposed(graph: Graph, node: Node, images: Array) -> Array:
    attrs, weight = node.attrs, graph.constants[node.params["weight"]]
    (step_y, step_x), (far_y, far_x), (more_y, more_x) = (attrs[k] for k in ("strides", "dilations", "output_pads"))
    top, left, bottom, right = attrs["pads"]
    kernel_y, kernel_x = weight.shape[2:]
    reach_y, reach_x = (kernel_y - 1) * far_y, (kernel_x - 1) * far_x
    groups = weight.reshape(attrs["groups"], -1, *weight.shape[1:])
    flipped = groups.swapaxes(1, 2)[..., ::-1, ::-1].reshape(-1, groups.shape[1], kernel_y, kernel_x)
    whole = (reach_y, reach_x, reach_y + more_y, reach_x + more_x)
    result = convolve(spread(images, (step_y, step_x)), flipped, (1, 1), whole, (far_y, far_x), attrs["groups"])
    result = result[:, :, top : result.shape[2] - bottom, left : result.shape[3] - right]
    bias = graph.param(node, "bias")
    return result if bias is None else result + bias[:, None, None]


def _scale_shift(graph: Graph, node: Node, x: Array) -> Array:
    shape = (-1, *(1 for _ in x.shape[2:]))
    result: Array = x * graph.constants[node.params["scale"]].reshape(shape)
    offset = graph.param(node, "offset")
    return result if offset is None else result + offset.reshape(shape)


def _dense(graph: Graph, node: Node, rows: Array) -> Array:
    result: Array = rows @ graph.constants[node.params["weight"]].T
    bias = graph.param(node, "bias")
    return result if bias is None else result + bias


def _float_avg_pool(_graph: Graph, node: Node, images: Array) -> Array:
    kernel_y, kernel_x = node.attrs["kernel"]
    total: Array = np.add.reduce(_pool_terms(images, node.attrs, 0.0))
    return total / np.float32(kernel_y * kernel_x)


def _softmax(_graph: Graph, _node: Node, x: Array) -> Array:
    exponent = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = exponent / exponent.sum(axis=-1, keepdims=True)
    return result


_OPERATORS: Mapping[str, Mapping[str, Callable[..., Array]]] = {
    "float32": {
        "conv2d": _float_conv2d,
        "conv_transpose2d": _transposed,
        "scale_shift": _scale_shift,
        "activation": lambda _g, n, x: ACTIVATIONS[n.attrs["kind"]](x),
        "dense": _dense,
        "add": lambda _g, _n, a, b: a + b,
        "relu": lambda _g, _n, x: np.maximum(x, np.float32(0)),
        "leaky_relu": lambda _g, n, x: np.maximum(x, x * np.float32(n.attrs["alpha"])),
        "clip": lambda _g, n, x: np.clip(x, np.float32(n.attrs["lo"]), np.float32(n.attrs["hi"])),
        "max_pool2d": _max_pool,
        "avg_pool2d": _float_avg_pool,
        "global_avg_pool2d": lambda _g, _n, x: x.mean(axis=(2, 3), keepdims=True),
        "upsample2d": _upsample,
        "pad2d": _pad,
        "concat": _concat,
        "slice2d": _slice,
        "unflatten": lambda _g, _n, x: x[:, :, None, None],
        "flatten": lambda _g, _n, x: x.reshape(x.shape[0], -1),
        "reshape": lambda _g, n, x: x.reshape(x.shape[0], *n.attrs["shape"][1:]),
        "transpose": lambda _g, n, x: x.transpose(n.attrs["order"]),
        "softmax": _softmax,
        "sigmoid": lambda _g, _n, x: sigmoid(x),
        "arithmetic": lambda g, n, *x: arithmetic(
            n.attrs["rule"], x, g.param(n, "constant"), bool(n.attrs["constant_first"])
        ),
        "function": lambda _g, n, x: FUNCTIONS[n.attrs["rule"]](x),
        "reduce": lambda _g, n, x: reduced(n.attrs["rule"], n.attrs["axis"], x),
        "join": lambda _g, n, *x: np.concatenate(x, n.attrs["axis"]),
        "cut": lambda _g, n, x: cut(n.attrs["low"], n.attrs["high"], x),
    },
    "int8": {
        "conv2d": _int8_conv2d,
        "max_pool2d": _max_pool,
        "avg_pool2d": _int8_avg_pool,
        "sum": _int8_sum,
        "piecewise": _int8_piecewise,
        "upsample2d": _upsample,
        "spread2d": _spread,
        "pad2d": _pad,
        "concat": _concat,
        "slice2d": _slice,
    },
}
