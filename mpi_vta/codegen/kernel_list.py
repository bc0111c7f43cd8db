"""The kernels of a graph in execution order, poolings fused behind the convolutions that feed them."""

from __future__ import annotations

from mpi_vta.codegen.convolution import fuse_pool
from mpi_vta.codegen.kernel import Kernel
from mpi_vta.codegen.layout import Layout, lay_out
from mpi_vta.codegen.lowering import lower
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig


def kernels_of(graph: Graph, config: VTAConfig, layout: Layout | None = None) -> list[Kernel]:
    """Return what the compiler makes of a graph whose thin inputs are gathered: one kernel a layer.

    Parameters
    ----------
    graph : Graph
        An int8 graph.
    config : VTAConfig
        The build.
    layout : Layout, optional
        Where the graph's values lie, if that is known already.
    """
    placed = layout or lay_out(graph, config)
    kernels = []
    pooled = set(placed.merged.values())
    for node in graph.nodes:
        if node.name in placed.free or node.output in pooled:
            continue
        kernel = lower(graph, node, config)
        if node.output in placed.merged:
            kernel = fuse_pool(kernel, graph, graph.producer[placed.merged[node.output]])
        kernels.append(kernel)
    return kernels
