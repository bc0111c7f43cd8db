"""The definition of every result: what each operator computes, in NumPy, bit for bit for the int8 dialect.

Integer accumulators are int32 with wrap-around. A convolution is a matrix product over gathered
patches in float64, exact because every partial sum of int8 products stays far below 2**53.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.ir import Graph, Node

Array = NDArray[Any]
Int32 = NDArray[np.int32]


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


def max_pool2d(_graph: Graph, node: Node, images: Array) -> Array:
    """Return the maximum over windows."""
    lowest = -128 if images.dtype == np.int8 else -np.inf
    terms = _pool_terms(images, node.attrs, lowest)
    result = terms[0].copy()
    for term in terms[1:]:
        np.maximum(result, term, out=result)
    return result


def upsample2d(_graph: Graph, node: Node, images: Array) -> Array:
    """Return each pixel repeated."""
    scale_y, scale_x = node.attrs["scales"]
    return images.repeat(scale_y, axis=2).repeat(scale_x, axis=3)


def slice2d(_graph: Graph, node: Node, images: Array) -> Array:
    """Return a box of channels, rows and columns."""
    channels, rows, cols = (slice(*node.attrs[key]) for key in ("channels", "rows", "cols"))
    return images[:, channels, rows, cols]


def pad2d(_graph: Graph, node: Node, images: Array) -> Array:
    """Return images with zeros around."""
    return _padded(images, node.attrs["pads"], 0)


def spread2d(_graph: Graph, node: Node, images: Array) -> Array:
    """Return images with zeros between their pixels."""
    return spread(images, node.attrs["scales"])


def spread(images: Array, scales: tuple[int, int]) -> Array:
    """Return images with zeros between their pixels: ((H - 1) * sy + 1, (W - 1) * sx + 1)."""
    count, channels, height, width = images.shape
    result = np.zeros((count, channels, (height - 1) * scales[0] + 1, (width - 1) * scales[1] + 1), images.dtype)
    result[:, :, :: scales[0], :: scales[1]] = images
    return result


def concat(_graph: Graph, _node: Node, *images: Array) -> Array:
    """Return images joined along the channels."""
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


def int8_conv2d(graph: Graph, node: Node, images: Array, residual: Array | None = None) -> Array:
    """Return a convolution in integers."""
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


def int8_avg_pool2d(_graph: Graph, node: Node, images: Array) -> Array:
    """Return a mean over windows in integers."""
    total: Int32 = np.add.reduce(_pool_terms(images.astype(np.int32), node.attrs, 0))
    return requantize(total * np.int32(node.attrs["multiplier"]), node.attrs)


def int8_piecewise(_graph: Graph, node: Node, images: Array) -> Array:
    """Return a function of straight pieces, by its 256 results."""
    attrs = node.attrs
    every = np.arange(-128, 128, dtype=np.int32)
    total = np.full(256, attrs["offset"], dtype=np.int32)
    for multiplier, side, threshold in zip(attrs["multipliers"], attrs["sides"], attrs["thresholds"], strict=True):
        term = every * np.int32(multiplier)
        total += term if side == 0 else (np.maximum if side > 0 else np.minimum)(term, np.int32(threshold))
    return requantize(total, attrs)[images.astype(np.intp) + 128]


def int8_sum(_graph: Graph, node: Node, *images: Array) -> Array:
    """Return a sum of shifted operands."""
    attrs = node.attrs
    accumulator = np.zeros(images[0].shape, dtype=np.int32)
    for image, shift in zip(images, attrs["input_shifts"], strict=True):
        accumulator += image.astype(np.int32) << np.int32(shift)
    return requantize(_leaky(accumulator, attrs["leaky"]), attrs)


# ---- float32


def float_conv2d(graph: Graph, node: Node, images: Array) -> Array:
    """Return a convolution with its bias."""
    result = convolve(images, graph.constants[node.params["weight"]], *_geometry(node.attrs))
    bias = graph.param(node, "bias")
    return result if bias is None else result + bias[:, None, None]


def conv_transpose2d(graph: Graph, node: Node, images: Array) -> Array:
    """Return a transposed convolution with its bias."""
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


def scale_shift(graph: Graph, node: Node, x: Array) -> Array:
    """Return a factor and an offset per channel applied."""
    shape = (-1, *(1 for _ in x.shape[2:]))
    result: Array = x * graph.constants[node.params["scale"]].reshape(shape)
    offset = graph.param(node, "offset")
    return result if offset is None else result + offset.reshape(shape)


def dense(graph: Graph, node: Node, rows: Array) -> Array:
    """Return a dense layer's rows."""
    result: Array = rows @ graph.constants[node.params["weight"]].T
    bias = graph.param(node, "bias")
    return result if bias is None else result + bias


def float_avg_pool2d(_graph: Graph, node: Node, images: Array) -> Array:
    """Return a mean over windows."""
    kernel_y, kernel_x = node.attrs["kernel"]
    total: Array = np.add.reduce(_pool_terms(images, node.attrs, 0.0))
    return total / np.float32(kernel_y * kernel_x)


def softmax(_graph: Graph, _node: Node, x: Array) -> Array:
    """Return a softmax over the last axis."""
    exponent = np.exp(x - x.max(axis=-1, keepdims=True))
    result: Array = exponent / exponent.sum(axis=-1, keepdims=True)
    return result
