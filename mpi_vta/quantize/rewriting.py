"""Float graph to float graph: what is the same in fewer kinds of layers, so that quantisation sees convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.ops import FLOAT_OPS
from mpi_vta.graph.verify import verify

Array = NDArray[Any]


def without_scale_shifts(graph: Graph) -> Graph:
    """Return the graph with every ``scale_shift`` in the weights of the layer before it, or as a layer of its own.

    It goes into a convolution or dense layer that nothing else reads; else it becomes a convolution of 1x1 with
    one group per channel, or a diagonal dense layer.
    """
    constants = dict(graph.constants)
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        if node.op != "scale_shift":
            nodes[node.output] = node
            continue
        scale, offset = constants.pop(node.params["scale"]), np.zeros(1, np.float32)
        if "offset" in node.params:
            offset = constants.pop(node.params["offset"])
        offset = np.broadcast_to(offset, scale.shape)
        source = nodes.get(node.inputs[0])
        alone = len(graph.consumers[node.inputs[0]]) == 1 and node.inputs[0] not in graph.outputs
        if source is not None and FLOAT_OPS[source.op].becomes == "conv2d" and alone:
            del nodes[source.output]
            nodes[node.output] = _scaled(source, node.output, constants, scale, offset)
        else:
            nodes[node.output] = _own_layer(graph, node, constants, scale, offset)
    kept = {*graph.inputs, *nodes}
    values = {name: value for name, value in graph.values.items() if name in kept}
    result = replace(graph, nodes=tuple(nodes.values()), values=values, constants=constants)
    verify(result)
    return result


def _scaled(node: Node, output: str, constants: dict[str, Array], scale: Array, offset: Array) -> Node:
    """Return a convolution or dense layer whose result is scaled and shifted, under the name `output`."""
    weight = constants[node.params["weight"]]
    if node.op == "conv_transpose2d":
        # (I, O/groups, kh, kw): the outputs of a group stand behind its inputs
        groups = node.attrs["groups"]
        factors = np.repeat(scale.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        constants[node.params["weight"]] = weight * factors[:, :, None, None]
    else:
        constants[node.params["weight"]] = weight * scale.reshape(-1, *(1 for _ in weight.shape[1:]))
    roles = {**node.params, "bias": node.params.get("bias", f"{node.name}.bias")}
    bias = constants.get(roles["bias"], np.zeros_like(scale))
    constants[roles["bias"]] = (bias * scale + offset).astype(np.float32)
    return replace(node, output=output, params=roles)


def _own_layer(graph: Graph, node: Node, constants: dict[str, Array], scale: Array, offset: Array) -> Node:
    roles = {role: f"{node.name}.{role}" for role in ("weight", "bias")}
    constants[roles["bias"]] = np.ascontiguousarray(offset, np.float32)
    if len(graph.values[node.inputs[0]].shape) == 2:
        constants[roles["weight"]] = np.diag(scale)
        return replace(node, op="dense", attrs={}, params=roles)
    constants[roles["weight"]] = scale.reshape(-1, 1, 1, 1)
    attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": len(scale)}
    return replace(node, op="conv2d", attrs=attrs, params=roles)
