"""What a model leaves to the head node, in kernels that TVM compiles for it; in NumPy where TVM is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.graph.activations import SELU_ALPHA, SELU_SCALE
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.reference import execute

Array = NDArray[Any]
Run = Callable[[Graph, Mapping[str, Array]], dict[str, Array]]

KEPT_KERNELS = 8


@dataclass(frozen=True)
class HostEngine:
    """What runs a float graph on the head node.

    Attributes
    ----------
    name : str
        As the report names it.
    run : callable
        Takes a float graph and arrays of n images per input; returns the outputs, as
        `mpi_vta.graph.reference.execute`.
    """

    name: str
    run: Run


def host_engine() -> HostEngine:
    """Return TVM's kernels; NumPy where TVM is not installed, as on a board of 32 bits. No other rule decides."""
    if importlib.util.find_spec("tvm") is None:
        return HostEngine("NumPy, as TVM is not installed", execute)
    return HostEngine("kernels compiled by TVM", run_compiled)


def run_compiled(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a float graph in compiled kernels; parameters and result as `mpi_vta.graph.reference.execute`.

    Results equal the reference to float32 rounding: exponentials are another library's.

    Raises
    ------
    ModelError
        For an operator that is never left to the host.
    """
    import tvm

    (count,) = {len(inputs[name]) for name in graph.inputs}
    results = _compiled(_Key(graph), count)["main"](*(tvm.runtime.tensor(_contiguous(inputs[n])) for n in graph.inputs))
    return {name: result.numpy() for name, result in zip(graph.outputs, results, strict=True)}


def _contiguous(array: Array) -> Array:
    return np.ascontiguousarray(array, np.float32)


class _Key:
    """A graph that is equal to another of the same content."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __hash__(self) -> int:
        return hash(self.graph.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.graph.sha256 == self.graph.sha256


@lru_cache(maxsize=KEPT_KERNELS)
def _compiled(key: _Key, count: int) -> Any:
    """Return the virtual machine of a graph for `count` images."""
    import tvm
    from tvm import relax

    graph = key.graph
    builder = relax.BlockBuilder()
    values = {
        name: relax.Var(f"x{index}", relax.TensorType((count, *graph.values[name].shape[1:]), "float32"))
        for index, name in enumerate(graph.inputs)
    }
    with builder.function("main", list(values.values())):
        with builder.dataflow():
            for node in graph.nodes:
                if node.op not in RULES:
                    raise ModelError(f"{node.op} is no operator for the host", where=f"{graph.name}: {node.name}")
                operands = [values[name] for name in node.inputs]
                values[node.output] = builder.emit(RULES[node.op](relax, graph, node, *operands))
            result = builder.emit_output(relax.Tuple([values[name] for name in graph.outputs]))
        builder.emit_func_output(result)
    program = tvm.compile(builder.get(), target=tvm.target.Target({"kind": "llvm"}))
    return relax.VirtualMachine(program, tvm.cpu())


Rule = Callable[..., Any]
"""Takes TVM's module of operators, the graph, a node and its operands; returns the result."""


def _reshape(relax: Any, graph: Graph, node: Node, x: Any) -> Any:
    return relax.op.reshape(x, (-1, *graph.values[node.output].shape[1:]))


def _scale_shift(relax: Any, graph: Graph, node: Node, x: Any) -> Any:
    rank = len(graph.values[node.output].shape)
    scale, offset = (
        None if entry is None else relax.const(entry.reshape(1, -1, *(1,) * (rank - 2)), "float32")
        for entry in (graph.param(node, "scale"), graph.param(node, "offset"))
    )
    scaled = relax.op.multiply(x, scale)
    return scaled if offset is None else relax.op.add(scaled, offset)


def _pad(relax: Any, _graph: Graph, node: Node, x: Any) -> Any:
    top, left, bottom, right = node.attrs["pads"]
    return relax.op.nn.pad(x, [0, 0, 0, 0, top, bottom, left, right], "constant", 0.0)


def _upsample(relax: Any, graph: Graph, node: Node, x: Any) -> Any:
    size = relax.ShapeExpr(list(graph.values[node.output].shape[2:]))
    return relax.op.image.resize2d(
        x, size, layout="NCHW", method="nearest_neighbor",
        coordinate_transformation_mode="asymmetric", rounding_method="floor",
    )  # fmt: skip


def _arithmetic(relax: Any, graph: Graph, node: Node, *operands: Any) -> Any:
    constant = graph.param(node, "constant")
    both = operands if constant is None else (operands[0], relax.const(constant, "float32"))
    return getattr(relax.op, node.attrs["rule"])(*(both[::-1] if node.attrs["constant_first"] else both))


def _slice(relax: Any, _graph: Graph, node: Node, x: Any) -> Any:
    low, high = node.attrs["low"][1:], node.attrs["high"][1:]
    return relax.op.strided_slice(x, list(range(1, len(low) + 1)), list(low), list(high))


def _activation(relax: Any, _graph: Graph, node: Node, x: Any) -> Any:
    op = relax.op

    def const(value: float) -> Any:
        return relax.const(value, "float32")

    def gate() -> Any:
        return op.clip(op.add(op.multiply(x, const(1 / 6)), const(0.5)), 0.0, 1.0)

    def below() -> Any:
        return op.subtract(op.exp(op.minimum(x, const(0.0))), const(1.0))

    def selu() -> Any:
        return op.multiply(op.add(op.nn.relu(x), op.multiply(below(), const(SELU_ALPHA))), const(SELU_SCALE))

    rules: Mapping[str, Callable[[], Any]] = {
        "sigmoid": lambda: op.sigmoid(x),
        "tanh": lambda: op.tanh(x),
        "silu": lambda: op.nn.silu(x),
        "hard_sigmoid": gate,
        "hard_swish": lambda: op.multiply(x, gate()),
        "mish": lambda: op.multiply(x, op.tanh(op.nn.softplus(x))),
        "elu": lambda: op.add(op.nn.relu(x), below()),
        "gelu": lambda: op.nn.gelu_tanh(x),
        "quick_gelu": lambda: op.multiply(x, op.sigmoid(op.multiply(x, const(1.702)))),
        "selu": selu,
        "softplus": lambda: op.nn.softplus(x),
        "abs": lambda: op.abs(x),
    }
    return rules[node.attrs["kind"]]()


RULES: Mapping[str, Rule] = {
    "flatten": _reshape,
    "unflatten": _reshape,
    "reshape": _reshape,
    "transpose": lambda relax, _g, n, x: relax.op.permute_dims(x, list(n.attrs["order"])),
    "softmax": lambda relax, _g, _n, x: relax.op.nn.softmax(x, axis=-1),
    "sigmoid": lambda relax, _g, _n, x: relax.op.sigmoid(x),
    "relu": lambda relax, _g, _n, x: relax.op.nn.relu(x),
    "leaky_relu": lambda relax, _g, n, x: relax.op.nn.leakyrelu(x, n.attrs["alpha"]),
    "clip": lambda relax, _g, n, x: relax.op.clip(x, n.attrs["lo"], n.attrs["hi"]),
    "activation": _activation,
    "scale_shift": _scale_shift,
    "add": lambda relax, _g, _n, x, y: relax.op.add(x, y),
    "arithmetic": _arithmetic,
    "function": lambda relax, _g, n, x: getattr(relax.op, n.attrs["rule"])(x),
    "reduce": lambda relax, _g, n, x: getattr(relax.op, n.attrs["rule"])(x, n.attrs["axis"], keepdims=True),
    "concat": lambda relax, _g, n, *parts: relax.op.concat(list(parts), axis=n.attrs["axis"]),
    "slice": _slice,
    "pad2d": _pad,
    "upsample2d": _upsample,
}
"""The kernel of every operator of the float table that the host may do."""
