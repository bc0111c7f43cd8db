"""The reference executor: every result by its operator's definition (`mpi_vta.graph.definitions`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from mpi_vta.errors import GraphError
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.ops import DIALECTS

Array = NDArray[Any]


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
    operators = DIALECTS[graph.dialect]
    values = {name: inputs[name] for name in graph.inputs}
    last_reader = {name: node.name for node in graph.nodes for name in node.inputs}
    for node in graph.nodes:
        values[node.output] = operators[node.op].compute(graph, node, *(values[name] for name in node.inputs))
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
