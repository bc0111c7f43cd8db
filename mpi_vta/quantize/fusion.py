"""Float nodes grouped into the layers that one int8 operator can do, and what is left to the host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mpi_vta.errors import ModelError
from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.ops import FLOAT_OPS, HOST, INT8_OPS, VTA
from mpi_vta.graph.verify import verify

_FOLLOWS_HOST = "works on the result of a host operator"


@dataclass(frozen=True)
class Activation:
    """``clip(max(x, alpha * x), lo, hi)``; alpha None means no slope."""

    lo: float = float("-inf")
    hi: float = float("inf")
    alpha: float | None = None


@dataclass(frozen=True)
class FusedLayer:
    """One int8 operator to be.

    Attributes
    ----------
    node : Node
        The float node that gives the layer its name, parameters and window.
    op : str
        Operator of the int8 dialect; a transposed convolution is a ``conv2d`` behind a ``spread2d`` of its own.
    inputs : tuple of str
        Values read; for a conv2d the second is the residual.
    output : str
        Value of the last fused node.
    activation : Activation
        Fused activation.
    fused : tuple of str
        Names of all float nodes, `node` first.
    """

    node: Node
    op: str
    inputs: tuple[str, ...]
    output: str
    activation: Activation = field(default_factory=Activation)
    fused: tuple[str, ...] = ()

    def taking(self, node: Node) -> FusedLayer:
        """Return the layer with one more float node in it, the last."""
        return replace(self, output=node.output, fused=(*self.fused, node.name))


def split_host(graph: Graph) -> tuple[Graph, Graph | None]:
    """Cut a float graph into the part for VTA and the host's tail (None when there is none).

    Raises
    ------
    ModelError
        If a layer for VTA follows an operator that only the host has, or nothing is left for VTA.
    """
    tail: set[str] = set()
    for node in graph.nodes:
        behind = any(name in graph.producer and graph.producer[name].name in tail for name in node.inputs)
        place = FLOAT_OPS[node.op].place_of(graph, node)
        if behind and place == VTA:
            raise ModelError(
                f"{node.op} follows an operator that runs on the host only",
                where=f"{graph.name}: node {node.name}",
                allowed="softmax, sigmoid and reshaping at the end of the model",
            )
        if behind or place == HOST or _is_host_flatten(graph, node):
            tail.add(node.name)
    if len(tail) == len(graph.nodes):
        raise ModelError("no layer that VTA can run", where=graph.name, allowed="at least one convolution or pooling")
    if not tail:
        return graph, None
    body = graph.subgraph([node.name for node in graph.nodes if node.name not in tail])
    host = graph.subgraph(tail, f"{graph.name} on the host")
    if graph.inputs[0] in host.inputs:
        raise ModelError("an operator for the host reads the model's input", where=graph.name)
    verify(host)
    return body, host


def host_reason(graph: Graph, node: Node) -> str:
    """Return why a node runs on the host."""
    row = FLOAT_OPS[node.op]
    follows = not row.reason or (row.hosted is not None and not row.hosted(graph, node))
    return _FOLLOWS_HOST if follows else row.reason


def _is_host_flatten(graph: Graph, node: Node) -> bool:
    """Tell whether a flatten reorders nothing that a following dense layer could take as a window."""
    if node.op != "flatten" or _is_alias(graph.values[node.inputs[0]]):
        return False
    readers = graph.consumers[node.output]
    return node.output in graph.outputs or any(reader.op != "dense" for reader in readers)


def _is_alias(value: Value) -> bool:
    return len(value.shape) == 2 or value.shape[2:] == (1, 1)


def fuse(graph: Graph) -> tuple[tuple[FusedLayer, ...], dict[str, str]]:
    """Group the nodes of VTA's part into layers.

    A convolution or dense layer takes a following addition (the other operand becomes its residual)
    and activation; an addition or average pooling takes a following activation. What is taken has one
    reader and is no output.

    Returns
    -------
    layers : tuple of FusedLayer
        In topological order.
    alias : dict of str to str
        Values made by flatten, and the value that holds the same elements.
    """
    alias = _flatten_aliases(graph)
    taken: set[str] = set()
    layers: dict[str, FusedLayer] = {}
    # convolutions first: an addition belongs to the convolution before it
    order = sorted(graph.nodes, key=lambda node: FLOAT_OPS[node.op].becomes != "conv2d")
    for node in order:
        if node.name in taken or FLOAT_OPS[node.op].renames:
            continue
        last, layer = _grow(graph, node, taken)
        layers[last] = replace(layer, inputs=tuple(alias.get(name, name) for name in layer.inputs))
    # a layer stands where its last node stood: all its inputs are there by then
    return tuple(layers[node.name] for node in graph.nodes if node.name in layers), alias


def _flatten_aliases(graph: Graph) -> dict[str, str]:
    alias: dict[str, str] = {}
    for node in graph.nodes:
        if FLOAT_OPS[node.op].renames:
            alias[node.output] = alias.get(node.inputs[0], node.inputs[0])
    return alias


def _grow(graph: Graph, node: Node, taken: set[str]) -> tuple[str, FusedLayer]:
    """Return the name of the last node fused, and the layer; mark what it took."""
    op = FLOAT_OPS[node.op].becomes
    if not op:
        raise ModelError(
            f"{node.op} has no counterpart in integers",
            where=f"{graph.name}: node {node.name}",
            allowed=", ".join(name for name, row in FLOAT_OPS.items() if row.becomes),
        )
    layer, last = FusedLayer(node, op, node.inputs, node.output, fused=(node.name,)), node
    taken.add(node.name)
    if FLOAT_OPS[node.op].bounds:
        return last.name, replace(layer, activation=_activation(node))
    follower = _only_reader(graph, last, taken)
    if layer.op == "conv2d" and follower is not None and follower.op == "add" and len(set(follower.inputs)) == 2:
        residual = next(name for name in follower.inputs if name != last.output)
        layer, last = replace(layer, inputs=(*layer.inputs, residual)).taking(follower), follower
        taken.add(last.name)
        follower = _only_reader(graph, last, taken)
    if follower is not None and follower.op in INT8_OPS[layer.op].takes:
        layer, last = replace(layer, activation=_activation(follower)).taking(follower), follower
        taken.add(last.name)
    return last.name, layer


def _only_reader(graph: Graph, node: Node, taken: set[str]) -> Node | None:
    readers = graph.consumers[node.output]
    free = len(readers) == 1 and node.output not in graph.outputs and readers[0].name not in taken
    return readers[0] if free else None


def _activation(node: Node) -> Activation:
    if node.op == "relu":
        return Activation(lo=0.0)
    if node.op == "clip":
        return Activation(lo=node.attrs["lo"], hi=node.attrs["hi"])
    return Activation(alpha=node.attrs["alpha"])
