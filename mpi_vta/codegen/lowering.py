"""From graph nodes to kernels: what each operator is in terms, pooling, bias and epilogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mpi_vta.codegen.convolution import conv2d
from mpi_vta.codegen.kernel import Epilogue, Kernel, Pool, Term, identity_block
from mpi_vta.codegen.piecewise import piecewise
from mpi_vta.codegen.terms import INT8, diagonal, make_kernel, requantization, selection, selection_of, shifted_terms
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.layout import channel_blocks
from mpi_vta.hw.config import VTAConfig

Lowering = Callable[[Graph, Node, VTAConfig], Kernel]


def lower(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    """Return the kernel of a node that needs work; see `mpi_vta.codegen.layout.Layout.free`."""
    return _LOWERINGS[node.op](graph, node, config)


def _sum(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    shifts = node.attrs["input_shifts"]
    terms, lift = shifted_terms(graph, list(zip(node.inputs, shifts, strict=True)), config)
    low, high = (sum(bound << shift for shift in shifts) for bound in INT8)
    return make_kernel(graph, node, config, terms, requantization(node, (low, high)), lift=lift)


def _avg_pool2d(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    multiplier, kernel = node.attrs["multiplier"], node.attrs["kernel"]
    window = {"kernel": kernel, "strides": node.attrs["strides"], "pads": node.attrs["pads"]}
    term = diagonal(graph, node.inputs[0], multiplier, config, **window)
    reach = multiplier * kernel[0] * kernel[1]
    return make_kernel(graph, node, config, [term], requantization(node, (INT8[0] * reach, INT8[1] * reach)))


def _max_pool2d(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    pool = Pool(node.attrs["kernel"], node.attrs["strides"], node.attrs["pads"])
    return make_kernel(graph, node, config, [diagonal(graph, node.inputs[0], 1, config)], Epilogue(), pool=pool)


def _moved(**geometry: str) -> Lowering:
    """Return the lowering of a copy that puts elements elsewhere; by argument of `diagonal`, the attribute."""

    def lowering(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
        places = {argument: node.attrs[name] for argument, name in geometry.items()}
        return make_kernel(graph, node, config, [diagonal(graph, node.inputs[0], 1, config, **places)], Epilogue())

    return lowering


def _slice2d(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    """Copy the view of a slice that has to be a tensor of its own; see `slice_view`."""
    _, channels, height, width = graph.values[node.output].shape
    skipped = node.attrs["channels"][0] % config.block
    if not skipped:
        blocks = channel_blocks(channels, config)
        term = Term(slice_view(node), blocks, height, width, identity_block(1, config), (1, 1), blocks)
    else:
        select = np.eye(channels, skipped + channels, skipped, dtype=np.int8)[:, :, None, None]
        term = selection_of(slice_view(node), (1, skipped + channels, height, width), select, config)
    return make_kernel(graph, node, config, [term], Epilogue())


def slice_view(node: Node) -> str:
    """Return the name of the place that a slice reads: part of its input as it lies, whole blocks of channels."""
    return f"{node.output}.view"


def _concat(graph: Graph, node: Node, config: VTAConfig) -> Kernel:
    """Copy the pieces: each is a diagonal term where blocks align, else a 1x1 selection of channels."""
    total = graph.values[node.output].shape[1]
    terms, first = [], 0
    for value in node.inputs:
        channels = graph.values[value].shape[1]
        if first % config.block == 0 and (channels % config.block == 0 or first + channels == total):
            terms.append(diagonal(graph, value, 1, config, first_block=first // config.block))
        else:
            select = np.zeros((total, channels, 1, 1), dtype=np.int8)
            select[np.arange(first, first + channels), np.arange(channels)] = 1
            terms.append(selection(graph, value, select, config))
        first += channels
    return make_kernel(graph, node, config, terms, Epilogue())


_LOWERINGS: Mapping[str, Lowering] = {
    "conv2d": conv2d,
    "sum": _sum,
    "avg_pool2d": _avg_pool2d,
    "max_pool2d": _max_pool2d,
    "piecewise": piecewise,
    "upsample2d": _moved(upsample="scales"),
    "spread2d": _moved(spread="scales"),
    "pad2d": _moved(pads="pads"),
    "concat": _concat,
    "slice2d": _slice2d,
}


def check_supported(graph: Graph) -> None:
    """Raise `CompileError` if a node has no lowering."""
    for node in graph.nodes:
        if node.op not in _LOWERINGS:
            raise CompileError(f"no lowering for {node.op}", where=node.name, allowed=", ".join(_LOWERINGS))
