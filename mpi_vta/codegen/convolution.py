"""From convolutions to kernels: groups, residuals, shifts per channel, a pooling behind them."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from math import gcd, lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.kernel import Epilogue, Kernel, Pool, Term, weight_blocks
from mpi_vta.codegen.terms import INT8, is_spread, make_kernel, requantization, shifted_terms
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.layout import channel_blocks
from mpi_vta.hw.config import VTAConfig

REGISTER_SHIFT_MAX = 15  # the portable subset's largest shift by an accumulator element
INT32_MAX = (1 << 31) - 1
NO_WRAP = 1 << 30  # accumulators that stay within it do not wrap, nor do they meet the padding of a pooling

Bounds = tuple[NDArray[np.int64], NDArray[np.int64]]


def conv2d(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    """Return the kernel of a convolution."""
    window_terms = _window_terms(graph, node, config)
    low, high = _accumulator_bounds(graph, node)
    bias = graph.constants[node.params["bias"]].astype(np.int64)
    shifts = graph.param(node, "channel_shift")
    amounts = np.zeros(len(bias), dtype=np.int64) if shifts is None else shifts.astype(np.int64)
    half = 1 << node.attrs["shift"] >> 1
    rounded = bias + (half << amounts)
    room = int(np.maximum(high, -low).max()) + int((half << amounts).max()) <= INT32_MAX
    # without channel shifts a sum that wraps is the same in any order
    folded = node.attrs["leaky"] is None and (shifts is None or room)
    end = requantization(node, _final_bounds(graph, node), rounding_in_bias=folded)
    channel_shift = None
    terms, late = window_terms, 0
    if len(node.inputs) == 2 and shifts is None:
        diagonal, lift = shifted_terms(graph, [(node.inputs[1], node.attrs["residual_shift"])], config)
        terms = [*diagonal, replace(window_terms[0], lift=lift), *window_terms[1:]]
    elif len(node.inputs) == 2:
        diagonal, _ = shifted_terms(graph, [(node.inputs[1], node.attrs["residual_shift"])], config)
        terms, late = [*window_terms, *diagonal], len(diagonal)
    if shifts is not None:
        amounts, end = _one_shift(amounts, end) if folded and not late else (amounts, end)
        channel_shift = _per_lane(amounts, 0, config) if amounts.any() else None
    constant = _per_lane(rounded, half, config) if folded else _per_lane(bias, 0, config)
    kernel = make_kernel(graph, node, config, terms, end, constant)
    return replace(kernel, channel_shift=channel_shift, late_terms=late)


def _one_shift(amounts: NDArray[np.int64], end: Epilogue) -> tuple[NDArray[np.int64], Epilogue]:
    """Join the shift of the requantisation to those of the channels, as far as a register shift reaches."""
    if (amounts == amounts[0]).all():
        return np.zeros_like(amounts), replace(end, shift=end.shift + int(amounts[0]))
    joined = min(end.shift, REGISTER_SHIFT_MAX - int(amounts.max()))
    return amounts + joined, replace(end, shift=end.shift - joined)


def _per_lane(values: NDArray[np.int64], fill: int, config: VTAConfig) -> NDArray[np.int32]:
    """Return one int32 per channel, wrapped, and `fill` up to whole blocks."""
    padded = np.full(channel_blocks(len(values), config) * config.block, fill, dtype=np.int64)
    padded[: len(values)] = values
    return padded.astype(np.int32)


def _window_terms(graph: Graph, node: Node, config: VTAConfig) -> list[Term]:
    """Return the terms of a convolution over its window: one, unless groups lie askew to the channel blocks."""
    weight, groups = graph.constants[node.params["weight"]], node.attrs["groups"]
    source, spread = _source(graph, node)
    _, channels, height, width = graph.values[source].shape
    shape: dict[str, Any] = {key: node.attrs[key] for key in ("strides", "pads", "dilations")}
    shape |= {"kernel": weight.shape[2:], "spread": spread}
    blocks = channel_blocks(channels, config)
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    return [
        Term(source, blocks, height, width, weights, band, bands, first_block=out, first_source=into, **shape)
        for weights, band, bands, out, into in _bands(weight, groups, outputs, inputs, config)
    ]


def _source(graph: Graph, node: Node) -> tuple[str, tuple[int, int]]:
    """Return the value that a convolution reads, and the zeros that it walks over between its pixels."""
    maker = graph.producer.get(node.inputs[0])
    if maker is not None and is_spread(graph, maker):
        return maker.inputs[0], maker.attrs["scales"]
    return node.inputs[0], (1, 1)


def _bands(
    weight: NDArray[np.int8], groups: int, outputs: int, inputs: int, config: VTAConfig
) -> list[tuple[NDArray[np.int8], tuple[int, int], int, int, int]]:
    """Return (weights, band, bands, first output block, first input block) of each term of a convolution.

    Groups of `outputs` and `inputs` channels. The fewest that are whole blocks on both sides make a band. If
    its output blocks depend on fewer than all of its input blocks, runs of output blocks with one reach
    become terms instead.
    """
    block = config.block
    unit = min(lcm(*(block // gcd(block, each) for each in (inputs, outputs))), groups)
    reaches = []
    for first in range(0, weight.shape[0], block):
        low, last = first // outputs, (min(first + block, weight.shape[0]) - 1) // outputs
        reaches.append((low * inputs // block, -(-(last + 1) * inputs // block)))
    outs, ins = -(-unit * outputs // block), -(-unit * inputs // block)
    if all(reach == (0, ins) for reach in reaches[:outs]):
        return [_banded(weight, groups, unit, config)]
    blocks = weight_blocks(ungrouped(weight, groups), config)
    found = []
    for (low, high), run in groupby(range(len(reaches)), key=reaches.__getitem__):
        rows = list(run)
        part = np.ascontiguousarray(blocks[rows[0] : rows[-1] + 1, low:high])
        found.append((part, (len(rows), high - low), 1, rows[0], low))
    return found


def _banded(
    weight: NDArray[np.int8], groups: int, unit: int, config: VTAConfig
) -> tuple[NDArray[np.int8], tuple[int, int], int, int, int]:
    """Return the single term of groups of which every `unit` are whole blocks."""
    outputs = weight.shape[0] // groups
    parts = []
    for first in range(0, groups, unit):
        count = min(unit, groups - first)
        part = weight[first * outputs : (first + count) * outputs]
        parts.append(weight_blocks(ungrouped(part, count), config))
    size = (parts[0].shape[0], parts[0].shape[1])
    last = parts[-1]
    if last.shape[:2] != size:  # the last band ends early: its blocks that are not there hold zeros
        parts[-1] = np.zeros((*size, *last.shape[2:]), dtype=np.int8)
        parts[-1][: last.shape[0], : last.shape[1]] = last
    return np.concatenate(parts), size, len(parts), 0, 0


def ungrouped(weight: NDArray[np.int8], groups: int) -> NDArray[np.int8]:
    """Return the weight (O, I, kh, kw) of the plain convolution that equals one of groups, (O, I / groups, kh, kw)."""
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    if groups == 1:
        return weight
    dense = np.zeros((weight.shape[0], groups * inputs, *weight.shape[2:]), dtype=np.int8)
    for group in range(groups):
        out = slice(group * outputs, (group + 1) * outputs)
        dense[out, group * inputs : (group + 1) * inputs] = weight[out]
    return dense


def fuse_pool(kernel: Kernel, graph: Graph, pool: Node) -> Kernel:
    """Return the kernel of a convolution whose only reader is the max pooling `pool`.

    Bias, leaky, rounding, shifts and clip never decrease, so the maximum may be taken first, on a fraction of
    the vectors.
    """
    _, _, height, width = graph.values[pool.output].shape
    return replace(
        kernel,
        op=f"{kernel.op}+{pool.op}",
        output=pool.output,
        height=height,
        width=width,
        pool=Pool(pool.attrs["kernel"], pool.attrs["strides"], pool.attrs["pads"]),
    )


def pool_to_fuse(graph: Graph, node: Node) -> Node | None:
    """Return the max pooling that may be fused behind a convolution, if there is one.

    Accumulators must stay within 2**30: then none wraps, and the padding's -2**30 never wins. A residual behind
    channel shifts comes after bias and shifts, too late.
    """
    readers = graph.consumers[node.output]
    if node.op != "conv2d" or node.output in graph.outputs or len(readers) != 1 or readers[0].op != "max_pool2d":
        return None
    if ("channel_shift" in node.params and len(node.inputs) == 2) or _source(graph, node)[1] != (1, 1):
        return None
    bounds = _accumulator_bounds(graph, node)
    if "channel_shift" not in node.params:
        bounds = _with_residual(node, bounds)
    low, high = _extremes(bounds)
    return readers[0] if low > -NO_WRAP and high < NO_WRAP else None


def _accumulator_bounds(graph: Graph, node: Node) -> Bounds:
    """Return the least and the greatest accumulator of each channel, with or without its bias, no residual added."""
    weight, bias = graph.constants[node.params["weight"]], graph.constants[node.params["bias"]].astype(np.int64)
    span = np.abs(weight.astype(np.int64)).sum(axis=(1, 2, 3)) * -INT8[0]
    return np.minimum(bias, 0) - span, np.maximum(bias, 0) + span


def _with_residual(node: Node, bounds: Bounds) -> Bounds:
    if len(node.inputs) < 2:
        return bounds
    shift = node.attrs["residual_shift"]
    return bounds[0] + (INT8[0] << shift), bounds[1] + (INT8[1] << shift)


def _final_bounds(graph: Graph, node: Node) -> tuple[int, int]:
    """Return the least and the greatest value that is requantised; beyond int32 if the accumulator may wrap."""
    low, high = _accumulator_bounds(graph, node)
    shifts = graph.param(node, "channel_shift")
    if shifts is not None and high.max() <= INT32_MAX and low.min() >= -INT32_MAX:
        low, high = low >> shifts.astype(np.int64), high >> shifts.astype(np.int64)
    return _extremes(_with_residual(node, (low, high)))


def _extremes(bounds: Bounds) -> tuple[int, int]:
    return int(bounds[0].min()), int(bounds[1].max())
