"""What lowerings share: terms over values, kernels, requantisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.kernel import Epilogue, Kernel, Pool, Term, identity_block, weight_blocks
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.layout import channel_blocks
from mpi_vta.hw.config import VTAConfig

IDENTITY_SHIFT_MAX = 6  # 2**6 is the largest power of two that an int8 weight holds
INT8 = (-128, 127)


def make_kernel(
    graph: Graph,
    node: Node,
    config: VTAConfig,
    terms: Sequence[Term],
    epilogue: Epilogue,
    bias: NDArray[np.int32] | None = None,
    pool: Pool | None = None,
    lift: int = 0,
) -> Kernel:
    """Return the kernel of a node from its terms and the rest; a pooling is over the whole first input."""
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
        epilogue=epilogue,
        lift=lift,
    )


def selection(graph: Graph, value: str, weight: NDArray[np.int8], config: VTAConfig) -> Term:
    """Return the term of a plain 1x1 convolution over a value, weight (O, I, 1, 1)."""
    return selection_of(value, graph.values[value].shape, weight, config)


def selection_of(value: str, shape: tuple[int, ...], weight: NDArray[np.int8], config: VTAConfig) -> Term:
    """Return `selection` of a value of `shape`."""
    weights = weight_blocks(weight, config)
    return Term(value, channel_blocks(shape[1], config), shape[2], shape[3], weights, weights.shape[:2], 1)


def diagonal(graph: Graph, value: str, factor: int, config: VTAConfig, **rest: Any) -> Term:
    """Return the term that multiplies every channel of a value; `rest` are the other fields of `Term`."""
    _, channels, height, width = graph.values[value].shape
    blocks = channel_blocks(channels, config)
    return Term(value, blocks, height, width, identity_block(factor, config), (1, 1), blocks, **rest)


def shifted_terms(graph: Graph, values: Sequence[tuple[str, int]], config: VTAConfig) -> tuple[list[Term], int]:
    """Return diagonal terms whose sum is that of value << shift, and the lift still owed after the last.

    A weight holds at most 2**6: larger shifts are made by lifting what was accumulated before, Horner's way.
    """
    ordered = sorted(values, key=lambda entry: -entry[1])
    terms: list[Term] = []
    owed = [max(0, shift - IDENTITY_SHIFT_MAX) for _, shift in ordered] + [0]
    lift = 0
    for (value, shift), rest, following in zip(ordered, owed, owed[1:], strict=False):
        term = diagonal(graph, value, 1 << (shift - rest), config)
        terms.append(replace(term, lift=lift))
        lift = rest - following
    return terms, lift


def requantization(node: Node, bounds: tuple[int, int], *, rounding_in_bias: bool = False) -> Epilogue:
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


def is_spread(graph: Graph, node: Node) -> bool:
    """Return whether a node spreads a map for convolutions alone, which walk over its input instead."""
    if node.op != "spread2d" or node.output in graph.outputs:
        return False
    return all(
        reader.op == "conv2d" and node.output not in reader.inputs[1:] and reader.attrs["strides"] == (1, 1)
        for reader in graph.consumers[node.output]
    )
