"""From graph nodes to kernels: what each operator is in terms, pooling, bias and epilogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.kernel import Epilogue, Kernel, Pool, Term, identity_block, weight_blocks
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.layout import channel_blocks
from mpi_vta.hw.config import VTAConfig

IDENTITY_SHIFT_MAX = 6  # 2**6 is the largest power of two that an int8 weight holds
INT8 = (-128, 127)


def lower(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    """Return the kernel of a node (not of a ``concat`` that needs no work; see `concat_kernel`)."""
    return _LOWERINGS[node.op](graph, node, config)


def _kernel(
    graph: Graph,
    node: Node,
    config: VTAConfig,
    terms: Sequence[Term],
    epilogue: Epilogue,
    bias: NDArray[np.int32] | None = None,
    pool: Pool | None = None,
    lift: int = 0,
) -> Kernel:
    _, channels, height, width = graph.values[node.output].shape
    acc = graph.values[node.inputs[0]].shape[2:] if pool else (height, width)
    return Kernel(
        node.name,
        node.op,
        node.output,
        channel_blocks(channels, config),
        height,
        width,
        tuple(terms),
        acc[0],
        acc[1],
        pool or Pool(),
        bias,
        epilogue,
        lift,
    )


def _term(graph: Graph, value: str, weights: NDArray[np.int8], config: VTAConfig, **rest: Any) -> Term:
    """Return a term over a value; `rest` are the other fields of `Term`."""
    _, channels, height, width = graph.values[value].shape
    return Term(value, channel_blocks(channels, config), height, width, weights, **rest)


def _diagonal(graph: Graph, value: str, factor: int, config: VTAConfig, **rest: Any) -> Term:
    return _term(graph, value, identity_block(factor, config), config, **rest)


def _shifted_terms(graph: Graph, values: Sequence[tuple[str, int]], config: VTAConfig) -> tuple[list[Term], int]:
    """Return diagonal terms whose sum is that of value << shift, and the lift still owed after the last.

    A weight holds at most 2**6: larger shifts are made by lifting what was accumulated before, Horner's way.
    """
    ordered = sorted(values, key=lambda entry: -entry[1])
    terms: list[Term] = []
    owed = [max(0, shift - IDENTITY_SHIFT_MAX) for _, shift in ordered] + [0]
    lift = 0
    for (value, shift), rest, following in zip(ordered, owed, owed[1:], strict=False):
        term = _diagonal(graph, value, 1 << (shift - rest), config)
        terms.append(replace(term, lift=lift))
        lift = rest - following
    return terms, lift


def _requantize(node: Node, bounds: tuple[int, int], *, rounding_in_bias: bool = False) -> Epilogue:
    """Return the epilogue of a requantisation; a clip that no accumulator can reach is left out.

    Parameters
    ----------
    bounds : tuple of int
        Smallest and largest value that the accumulator can have before rounding.
    """
    shift, lo, hi = node.attrs["shift"], node.attrs["lo"], node.attrs["hi"]
    leaky = node.attrs.get("leaky")
    half = 1 << shift >> 1
    low, high = (bounds[0] + half) >> shift, (bounds[1] + half) >> shift
    wraps = bounds[0] < -(1 << 30) or bounds[1] >= 1 << 30
    return Epilogue(
        leaky=tuple(leaky) if leaky else None,
        rounding=0 if rounding_in_bias else half,
        shift=shift,
        lo=lo if wraps or low < lo else None,
        hi=hi if wraps or high > hi else None,
    )


def _conv2d(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    weight, bias = graph.constants[node.params["weight"]], graph.constants[node.params["bias"]]
    term = _term(
        graph,
        node.inputs[0],
        weight_blocks(weight, config),
        config,
        kernel=weight.shape[2:],
        strides=node.attrs["strides"],
        pads=node.attrs["pads"],
        dilations=node.attrs["dilations"],
    )
    terms = [term]
    if len(node.inputs) == 2:
        shift = node.attrs["residual_shift"]
        terms, lift = _shifted_terms(graph, [(node.inputs[1], shift)], config)
        terms.append(replace(term, lift=lift))
    folded = node.attrs["leaky"] is None
    padded = np.zeros(term.weights.shape[0] * config.block, dtype=np.int32)
    padded[: len(bias)] = bias
    if folded:
        padded += np.int32(1 << node.attrs["shift"] >> 1)
    return _kernel(
        graph, node, config, terms, _requantize(node, _conv_bounds(graph, node), rounding_in_bias=folded), padded
    )


def _sum(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    shifts = node.attrs["input_shifts"]
    terms, lift = _shifted_terms(graph, list(zip(node.inputs, shifts, strict=True)), config)
    low, high = (sum(bound << shift for shift in shifts) for bound in INT8)
    return _kernel(graph, node, config, terms, _requantize(node, (low, high)), lift=lift)


def _avg_pool2d(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    multiplier, kernel = node.attrs["multiplier"], node.attrs["kernel"]
    window = {"kernel": kernel, "strides": node.attrs["strides"], "pads": node.attrs["pads"]}
    term = _diagonal(graph, node.inputs[0], multiplier, config, **window)
    reach = multiplier * kernel[0] * kernel[1]
    return _kernel(graph, node, config, [term], _requantize(node, (INT8[0] * reach, INT8[1] * reach)))


def _max_pool2d(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    pool = Pool(node.attrs["kernel"], node.attrs["strides"], node.attrs["pads"])
    term = _diagonal(graph, node.inputs[0], 1, config)
    return _kernel(graph, node, config, [term], Epilogue(), pool=pool)


def _upsample2d(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    term = _diagonal(graph, node.inputs[0], 1, config, upsample=node.attrs["scales"])
    return _kernel(graph, node, config, [term], Epilogue())


def _slice2d(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    """Copy the view of a slice that has to be a tensor of its own; see `slice_view`."""
    source = graph.values[node.output]
    _, channels, height, width = source.shape
    term = Term(slice_view(node), channel_blocks(channels, config), height, width, identity_block(1, config))
    return _kernel(graph, node, config, [term], Epilogue())


def slice_view(node: Node) -> str:
    """Return the name of the place that a slice reads: part of its input as it lies."""
    return f"{node.output}.view"


def _concat(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    """Copy the pieces: each is a diagonal term where blocks align, else a 1x1 selection of channels."""
    total = graph.values[node.output].shape[1]
    terms, first = [], 0
    for value in node.inputs:
        channels = graph.values[value].shape[1]
        if first % config.block == 0 and (channels % config.block == 0 or first + channels == total):
            terms.append(_diagonal(graph, value, 1, config, first_block=first // config.block))
        else:
            select = np.zeros((total, channels, 1, 1), dtype=np.int8)
            select[np.arange(first, first + channels), np.arange(channels)] = 1
            terms.append(_term(graph, value, weight_blocks(select, config), config))
        first += channels
    return _kernel(graph, node, config, terms, Epilogue())


def fuse_pool(kernel: Kernel, graph: Graph, pool: Node) -> Kernel:
    """Return the kernel of a convolution whose only reader is the max pooling `pool`.

    Bias, leaky, rounding, shift and clip never decrease, so the maximum may be taken first, on a fraction of
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

    Accumulators must stay within 2**30: then none wraps, and the padding's -2**30 never wins.
    """
    readers = graph.consumers[node.output]
    if node.op != "conv2d" or node.output in graph.outputs or len(readers) != 1 or readers[0].op != "max_pool2d":
        return None
    low, high = _conv_bounds(graph, node)
    return readers[0] if low > -(1 << 30) and high < 1 << 30 else None


def _conv_bounds(graph: Graph, node: Node) -> tuple[int, int]:
    """Return the smallest and largest accumulator that a convolution can reach, with or without its bias."""
    weight, bias = graph.constants[node.params["weight"]], graph.constants[node.params["bias"]].astype(np.int64)
    reach = np.abs(weight.astype(np.int64)).sum(axis=(1, 2, 3)) * -INT8[0]
    low, high = int((np.minimum(bias, 0) - reach).min()), int((np.maximum(bias, 0) + reach).max())
    if len(node.inputs) == 2:
        shift = node.attrs["residual_shift"]
        low, high = low + (INT8[0] << shift), high + (INT8[1] << shift)
    return low, high


_LOWERINGS: Mapping[str, Callable[[Graph, Node, VTAConfig], Kernel]] = {
    "conv2d": _conv2d,
    "sum": _sum,
    "avg_pool2d": _avg_pool2d,
    "max_pool2d": _max_pool2d,
    "upsample2d": _upsample2d,
    "concat": _concat,
    "slice2d": _slice2d,
}


def check_supported(graph: Graph, config: VTAConfig) -> None:
    """Raise `CompileError` if a node has no lowering for a configuration."""
    for node in graph.nodes:
        if node.op not in _LOWERINGS:
            raise CompileError(f"no lowering for {node.op}", where=node.name, allowed=", ".join(_LOWERINGS))
        if node.attrs.get("groups", 1) > 1 or "channel_shift" in node.params:
            raise CompileError("groups or channel shifts", where=node.name, allowed="one group, no channel shifts")
        if node.op == "slice2d" and node.attrs["cols"] != (0, graph.values[node.inputs[0]].shape[3]):
            raise CompileError("a slice of some columns", where=node.name, allowed="all columns")
        if node.op == "slice2d" and node.attrs["channels"][0] % config.block:
            raise CompileError(
                f"a slice from channel {node.attrs['channels'][0]}",
                where=node.name,
                allowed=f"multiples of the block, {config.block}",
            )
