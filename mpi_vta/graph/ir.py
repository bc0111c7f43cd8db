"""The graph: frozen values, nodes and constants; serialisable and sliceable, with no tie to TVM."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.disk import write_atomically
from mpi_vta.errors import ArtifactError, GraphError
from mpi_vta.json_fields import Count, Exponent, from_json

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Value:
    """A tensor that flows along an edge.

    Attributes
    ----------
    name : str
        Unique in the graph.
    shape : tuple of int
        (1, C, H, W), or (1, C) in a float graph after ``flatten`` or ``dense``.
    dtype : str
        ``float32`` or ``int8``.
    scale_log2 : int or None
        For int8: real value = integer * 2**scale_log2.
    """

    name: str
    shape: tuple[Count, ...]
    dtype: str
    scale_log2: Exponent | None = None


@dataclass(frozen=True)
class Node:
    """One operator: inputs are value names, params are constant names by role."""

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    attrs: Mapping[str, Any]
    params: Mapping[str, str]


@dataclass(frozen=True)
class _Header:
    """What stands beside a graph's arrays in a file; values and nodes are lists of their fields."""

    name: str
    dialect: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: tuple[Value, ...]
    nodes: tuple[Node, ...]
    constants: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """A directed acyclic graph in one dialect, nodes in topological order.

    Attributes
    ----------
    name : str
        Model name.
    dialect : str
        ``float32`` or ``int8``; see `mpi_vta.graph.ops`.
    inputs, outputs : tuple of str
        Value names.
    nodes : tuple of Node
        In execution order; each value has exactly one producer.
    values : mapping of str to Value
        Every value of the graph, inputs included.
    constants : mapping of str to ndarray
        Weights and biases.
    """

    name: str
    dialect: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    constants: Mapping[str, NDArray[Any]]

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """The node that makes each value (graph inputs have none)."""
        return {node.output: node for node in self.nodes}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value."""
        readers: dict[str, list[Node]] = {name: [] for name in self.values}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers[name].append(node)
        return {name: tuple(nodes) for name, nodes in readers.items()}

    @cached_property
    def sha256(self) -> str:
        """Content hash of the whole graph, constants included."""
        return artifact.content_hash(self._header(), dict(self.constants))

    def param(self, node: Node, role: str) -> NDArray[Any] | None:
        """Return a node's constant by role, or None if it has none."""
        name = node.params.get(role)
        return None if name is None else self.constants[name]

    def subgraph(self, node_names: Iterable[str], name: str | None = None) -> Graph:
        """Cut out some nodes as a graph of their own.

        Inputs are the values that come from outside (in order of first use), outputs those that are
        read outside or are outputs of this graph (in order of production).
        """
        wanted = set(node_names)
        missing = wanted - {node.name for node in self.nodes}
        if missing:
            raise GraphError(f"no node named {', '.join(sorted(missing))}", where=self.name)
        nodes = tuple(node for node in self.nodes if node.name in wanted)
        made = {node.output for node in nodes}
        inputs = tuple(dict.fromkeys(v for node in nodes for v in node.inputs if v not in made))
        outputs = tuple(
            node.output
            for node in nodes
            if node.output in self.outputs or any(c.name not in wanted for c in self.consumers[node.output])
        )
        constants = {n: self.constants[n] for node in nodes for n in node.params.values()}
        values = {v: self.values[v] for v in (*inputs, *(node.output for node in nodes))}
        return Graph(name or self.name, self.dialect, inputs, outputs, nodes, values, constants)

    def _header(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dialect": self.dialect,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "values": [[v.name, list(v.shape), v.dtype, v.scale_log2] for v in self.values.values()],
            "nodes": [
                [n.name, n.op, list(n.inputs), n.output, _plain(dict(n.attrs)), dict(n.params)] for n in self.nodes
            ],
        }

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the graph as a JSON-able header and arrays, for a container of one's own."""
        names = list(self.constants)
        arrays = {f"c{i}": self.constants[name] for i, name in enumerate(names)}
        return {**self._header(), "constants": names}, arrays

    @classmethod
    def from_parts(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Graph:
        """Undo `to_parts`; raises KeyError, TypeError or ValueError for anything else."""
        read = from_json(_Header, dict(header))
        nodes = (_as_now(read.dialect, replace(node, attrs=_frozen(node.attrs))) for node in read.nodes)
        return cls(
            read.name,
            read.dialect,
            read.inputs,
            read.outputs,
            tuple(nodes),
            {value.name: value for value in read.values},
            {name: arrays[f"c{i}"] for i, name in enumerate(read.constants)},
        )

    def to_bytes(self) -> bytes:
        """Serialise the graph."""
        return artifact.pack("graph", FORMAT_VERSION, *self.to_parts())

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "graph") -> Graph:
        """Read what `to_bytes` wrote; raises `ArtifactError` on damage."""
        parts = artifact.unpack(data, "graph", FORMAT_VERSION, where)
        try:
            return cls.from_parts(*parts)
        except (KeyError, TypeError, ValueError) as fault:
            what = f"{fault} is missing" if isinstance(fault, KeyError) else str(fault)
            raise ArtifactError(f"not a whole graph ({what})", where=where, remedy="make it again") from fault

    def save(self, path: Path) -> None:
        """Write the graph to a file."""
        write_atomically(path, self.to_bytes(), "the graph")


def _as_now(dialect: str, node: Node) -> Node:
    """Return a node under today's name: files written before have others for what the host alone does."""
    if dialect != "float32":
        return node
    if node.op in ("join", "concat"):
        return replace(node, op="concat", attrs={"axis": 1, **node.attrs})
    if node.op == "slice2d":
        low, high = zip((0, 1), *(node.attrs[key] for key in ("channels", "rows", "cols")), strict=True)
        return replace(node, op="slice", attrs={"low": low, "high": high})
    return replace(node, op="slice") if node.op == "cut" else node


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _frozen(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in attrs.items()}


def array_sha256(arrays: Iterable[NDArray[Any]]) -> str:
    """Return the SHA-256 (hex) of arrays one after another."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def window_output_hw(
    height: int,
    width: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int] = (1, 1),
) -> tuple[int, int]:
    """Return the output height and width of a convolution or pooling window (floor mode)."""
    top, left, bottom, right = pads
    span_y, span_x = (kernel[0] - 1) * dilations[0] + 1, (kernel[1] - 1) * dilations[1] + 1
    return (height + top + bottom - span_y) // strides[0] + 1, (width + left + right - span_x) // strides[1] + 1
