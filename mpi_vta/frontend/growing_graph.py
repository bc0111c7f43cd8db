"""Our float graph as it grows from plain ONNX nodes: extents by the operators' own rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import GraphError, ModelError
from mpi_vta.frontend.onnx_net import OnnxNet, OnnxNode
from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.ops import infer_shape
from mpi_vta.graph.verify import verify

Array = NDArray[Any]
Shape = tuple[int, ...]
Rule = Callable[["Lowering", OnnxNode], None]


class Lowering:
    """Our graph as it grows."""

    def __init__(self, net: OnnxNet, tail: set[str]) -> None:
        self.net, self.tail = net, tail
        self.nodes: list[Node] = []
        self.values = {net.input_name: Value(net.input_name, net.input_shape, "float32")}
        self._alias: dict[str, str] = {}
        self._constants: dict[str, Array] = {}

    def graph(self) -> Graph:
        """Return the verified graph."""
        net = self.net
        outputs = tuple(self._alias.get(name, name) for name in net.outputs)
        graph = Graph(net.name, "float32", (net.input_name,), outputs, tuple(self.nodes), self.values, self._constants)
        try:
            verify(graph)
        except GraphError as fault:
            raise ModelError(
                fault.what, where=f"{net.path}: {fault.where}", allowed=fault.allowed, remedy="correct that layer"
            ) from fault
        return graph

    def sources(self, node: OnnxNode) -> tuple[str, ...]:
        """Return the values that a node reads; refuse a constant among them."""
        names = tuple(self._alias.get(name, name) for name in node.inputs)
        if any(name not in self.values for name in names):
            self.refuse(node)
        return names

    def source(self, node: OnnxNode) -> str:
        """Return the value that is a node's first operand."""
        return self.sources(OnnxNode(node.name, node.op, node.inputs[:1], node.output))[0]

    def shape(self, name: str) -> Shape:
        """Return the extents of a value."""
        return self.values[name].shape

    def same(self, node: OnnxNode, source: str) -> None:
        """Note that a node changes nothing."""
        self._alias[node.output] = source

    def emit(
        self,
        node: OnnxNode,
        op: str,
        inputs: tuple[str, ...],
        attrs: Mapping[str, Any] | None = None,
        params: Mapping[str, Array] | None = None,
        *,
        name: str = "",
        output: str = "",
    ) -> str:
        """Add a node and return its value; name and output are those of the ONNX node unless given."""
        name, output, params, attrs = name or node.name, output or node.output, params or {}, dict(attrs or {})
        roles = {role: f"{name}.{role}" for role in params}
        shapes = {role: array.shape for role, array in params.items()}
        shape = infer_shape("float32", op, tuple(self.shape(entry) for entry in inputs), attrs, shapes, name)
        self._constants.update({roles[role]: np.asarray(array, order="C") for role, array in params.items()})
        self.nodes.append(Node(name, op, inputs, output, attrs, roles))
        self.values[output] = Value(output, shape, "float32")
        return output

    def drop(self, names: set[str]) -> None:
        """Take back nodes that nothing reads, by their values."""
        self.nodes = [node for node in self.nodes if node.output not in names]
        for name in names:
            del self.values[name]

    def refuse(self, node: OnnxNode) -> Any:
        """Raise for a node without counterpart."""
        constant = next((name for name in node.inputs if name in self.net.initializers), None)
        raise ModelError(
            f"{node.op} has no counterpart between layers" if constant is None else f"works on the constant {constant}",
            where=self.net.where(node),
            remedy="end the model before it" if constant is None else self.net.remedy(node.output),
        )
