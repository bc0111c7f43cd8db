"""An ONNX model as plain Python: nodes, initialisers, one static input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from mpi_vta.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True)
class Fate:
    """What became of a node of the file that is no node of the float graph.

    Attributes
    ----------
    into : str
        Node that does its work; empty when nothing is left of it.
    why : str
        What was done, as shown to the user.
    """

    into: str
    why: str


@dataclass(frozen=True)
class OnnxNode:
    """One operator; attributes are Python numbers, lists, strings or arrays."""

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OnnxNet:
    """A model with one static input.

    Attributes
    ----------
    name, path : str
        Name for the graph and for messages.
    opset : int
        Version of the default operator set.
    input_name, input_shape : str, tuple of int
        The image input, (1, C, H, W).
    outputs : tuple of str
        Output tensors.
    nodes : tuple of OnnxNode
        In topological order, as ONNX demands.
    initializers : dict of str to ndarray
        Weights and other constants.
    shapes : dict of str to tuple of int
        The file's tensors whose extents are known.
    listed : tuple of (str, str)
        Name and operator of every node of the file.
    fates : dict of str to Fate
        By name, those of `listed` that a pass has removed.
    ranges : dict of str to (float, float)
        Least and largest value of the tensors whose range the file states.
    notes : tuple of str
        What was settled that the file leaves open.
    levels : float
        What a white pixel is in the input.
    """

    name: str
    path: str
    opset: int
    input_name: str
    input_shape: tuple[int, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    initializers: dict[str, Array]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    listed: tuple[tuple[str, str], ...] = ()
    fates: dict[str, Fate] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    levels: float = 1.0

    def consumers(self) -> dict[str, list[OnnxNode]]:
        """Return the nodes that read each tensor."""
        readers: dict[str, list[OnnxNode]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return readers

    def where(self, node: OnnxNode) -> str:
        """Return how a message names a node."""
        return f"{self.path}: node {node.name} ({node.op})"

    def rewired(self, nodes: list[OnnxNode], alias: dict[str, str], initializers: dict[str, Array]) -> OnnxNet:
        """Return the net with other nodes, reading `alias[name]` wherever `name` was read."""

        def resolve(name: str) -> str:
            while name in alias:
                name = alias[name]
            return name

        renamed = [replace(node, inputs=tuple(resolve(name) for name in node.inputs)) for node in nodes]
        outputs = tuple(resolve(name) for name in self.outputs)
        return replace(self, nodes=tuple(renamed), outputs=outputs, initializers=initializers)

    def noting(self, fates: dict[str, Fate]) -> OnnxNet:
        """Return the net with more removed nodes on record."""
        return replace(self, fates={**self.fates, **fates})

    def producers(self) -> dict[str, OnnxNode]:
        """Return the node that makes each tensor."""
        return {node.output: node for node in self.nodes}

    def constant(self, node: OnnxNode, index: int, constants: dict[str, Array] | None = None) -> Array:
        """Return a constant operand of a node, from the initialisers or those given."""
        name = node.inputs[index] if len(node.inputs) > index else ""
        known = self.initializers if constants is None else constants
        if name not in known:
            raise ModelError(
                f"input {index} ({name or 'absent'}) is not a constant",
                where=self.where(node),
                allowed="a constant",
                remedy=self.remedy(name),
            )
        return known[name]

    def remedy(self, name: str) -> str:
        """Return what to do about a tensor that should be a constant, or not be one."""
        if not name:
            return "check the export"
        return "end the model before it" if self.depends_on_input(name) else "export the model with constant folding"

    def depends_on_input(self, name: str) -> bool:
        """Return whether a tensor is computed from the model's input."""
        producers, todo, seen = self.producers(), [name], {name}
        while todo:
            tensor = todo.pop()
            if tensor == self.input_name:
                return True
            new = [source for source in (producers[tensor].inputs if tensor in producers else ()) if source not in seen]
            seen.update(new)
            todo += new
        return False

    def scalar(self, node: OnnxNode, index: int) -> float:
        """Return a constant operand that is one number."""
        value = self.constant(node, index)
        if value.size != 1:
            raise ModelError(f"input {index} has shape {value.shape}", where=self.where(node), allowed="one number")
        return float(value.reshape(-1)[0])


def live_nodes(nodes: Sequence[OnnxNode], outputs: tuple[str, ...]) -> tuple[OnnxNode, ...]:
    """Return the nodes that the outputs depend on, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if node.output in wanted:
            kept.append(node)
            wanted.update(node.inputs)
    return tuple(reversed(kept))


def axes_of(net: OnnxNet, node: OnnxNode, rank: int) -> list[int]:
    """Return the axes of a reduction, in order."""
    listed = node.attrs.get("axes")
    if listed is None and len(node.inputs) > 1 and node.inputs[1]:
        listed = net.constant(node, 1).reshape(-1).tolist()
    if not listed and node.attrs.get("noop_with_empty_axes", 0):
        raise ModelError("no axes and noop_with_empty_axes", where=net.where(node), allowed="axes to reduce")
    return sorted(int(axis) % rank for axis in (listed if listed else range(rank))) if rank else []
