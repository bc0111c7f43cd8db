"""Operators that VTA has no counterpart of, by others that it has: the same function, node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import Fate, OnnxNet, OnnxNode, axes_of
from mpi_vta.frontend.onnx_operators import row

Array = NDArray[Any]

AXES_ARE_OPERANDS = 18  # operator set in which ReduceMean takes its axes as an operand


def substitute(net: OnnxNet) -> OnnxNet:
    """Return the net without slopes per channel, differences, maxima of two tensors, sums and means of rows alone.

    Raises
    ------
    ModelError
        For slopes that differ within a channel.
    """
    return _Substitution(net).result()


def join_means(net: OnnxNet) -> OnnxNet:
    """Return the net with a mean over rows and columns for one over either, or over flattened ones."""
    readers, made = net.consumers(), net.producers()
    fates: dict[str, Fate] = {}
    constants = dict(net.initializers)
    for node in net.nodes:
        before = made.get(node.inputs[0])
        if not row(node).pools or before is None or len(net.shapes.get(before.inputs[0], ())) != 4:
            continue
        alone = len(readers[before.output]) == 1 and before.output not in net.outputs
        source, kept = net.shapes[before.inputs[0]], net.shapes.get(before.output, ())
        own = axes_of(net, node, len(kept))
        flattened = before.op in ("Reshape", "Flatten", "Squeeze") and kept == (1, source[1], source[2] * source[3])
        inner = axes_of(net, before, 4) if before.op == node.op else []
        # behind a dropped axis the other one is the third
        halves = inner in ([2], [3]) and own == ([2] if len(kept) == 3 else [5 - inner[0]])
        if not alone or not (halves or (flattened and own == [2])):
            continue
        final = net.shapes.get(node.output, ())
        attrs: dict[str, Any] = {"keepdims": int(len(final) == 4)}
        inputs = before.inputs[:1]
        if net.opset < AXES_ARE_OPERANDS:
            attrs["axes"] = [2, 3]
        else:
            constants[f"{node.name} axes"] = np.array([2, 3], np.int64)
            inputs = (*inputs, f"{node.name} axes")
        made[node.output] = OnnxNode(node.name, node.op, inputs, node.output, attrs)
        fates[before.name] = Fate(node.name, "part of a mean over rows and columns")
    nodes = [made[node.output] for node in net.nodes if node.name not in fates]
    return replace(net, nodes=tuple(nodes), initializers=constants).noting(fates)


class _Substitution:
    """One walk over the nodes."""

    def __init__(self, net: OnnxNet) -> None:
        self._net = net
        self._nodes: list[OnnxNode] = []
        self._shapes, self._constants = dict(net.shapes), dict(net.initializers)

    def result(self) -> OnnxNet:
        rules: Mapping[str, Callable[[OnnxNode], bool]] = {
            "PRelu": self._prelu,
            "Sub": self._difference,
            "Max": self._extreme,
            "Min": self._extreme,
            "ReduceMax": self._global,
            "ReduceSum": self._global,
            "ReduceMean": self._global,
        }
        for node in self._net.nodes:
            if not (node.op in rules and rules[node.op](node)):
                self._nodes.append(node)
        return replace(self._net, nodes=tuple(self._nodes), shapes=self._shapes, initializers=self._constants)

    def _emit(self, node: OnnxNode, part: str, op: str, inputs: tuple[str, ...], **attrs: Any) -> str:
        """Add a node that makes a tensor like the result of `node`: that result itself for the part ""."""
        name, output = (node.name, node.output) if not part else (f"{node.name}.{part}", f"{node.output} {part}")
        self._nodes.append(OnnxNode(name, op, inputs, output, attrs))
        self._shapes.setdefault(output, self._shapes.get(node.output, ()))
        return output

    def _scaled(self, node: OnnxNode, part: str, source: str, factor: Array | float) -> str:
        name = f"{node.output} {part} by"
        self._constants[name] = np.asarray(factor, np.float32)
        return self._emit(node, part, "Mul", (source, name))

    def _prelu(self, node: OnnxNode) -> bool:
        """x + (1 - slope) * max(-x, 0): only x itself is rounded before."""
        slope, shape = self._net.constant(node, 1), self._shapes.get(node.output, ())
        extents = (1,) * (len(shape) - slope.ndim) + slope.shape
        if len(shape) < 2 or len(extents) != len(shape) or any(n != 1 for a, n in enumerate(extents) if a != 1):
            raise ModelError(
                f"slopes of shape {slope.shape}", where=self._net.where(node), allowed="one, or one per channel"
            )
        x = node.inputs[0]
        below = self._emit(node, "below", "Relu", (self._scaled(node, "negated", x, -1.0),))
        self._emit(node, "", "Add", (x, self._scaled(node, "bent", below, 1 - slope.reshape(extents))))
        return True

    def _is_pair(self, node: OnnxNode) -> bool:
        shapes = [self._shapes.get(name) for name in node.inputs]
        computed = not any(name in self._constants for name in node.inputs)
        return computed and len(shapes) == 2 and shapes[0] == shapes[1] and bool(shapes[0])

    def _difference(self, node: OnnxNode) -> bool:
        if not self._is_pair(node):
            return False
        self._emit(node, "", "Add", (node.inputs[0], self._scaled(node, "negated", node.inputs[1], -1.0)))
        return True

    def _extreme(self, node: OnnxNode) -> bool:
        """max(a, b) = b + max(a - b, 0); min(a, b) = a - max(a - b, 0)."""
        if not self._is_pair(node):
            return False
        a, b = node.inputs
        away = self._emit(node, "difference", "Add", (a, self._scaled(node, "negated", b, -1.0)))
        above = self._emit(node, "above", "Relu", (away,))
        if node.op == "Max":
            self._emit(node, "", "Add", (b, above))
        else:
            self._emit(node, "", "Add", (a, self._scaled(node, "taken", above, -1.0)))
        return True

    def _global(self, node: OnnxNode) -> bool:
        """Maximum and sum over rows and columns; a mean over either of them."""
        shape = self._shapes.get(node.inputs[0], ())
        if len(shape) != 4:
            return False
        axes, kept = axes_of(self._net, node, 4), node.attrs.get("keepdims", 1)
        source = node.inputs[0]
        if node.op == "ReduceMean":
            if axes not in ([2], [3]) or not kept:
                return False
            kernel = [shape[2] if 2 in axes else 1, shape[3] if 3 in axes else 1]
            self._emit(node, "", "AveragePool", (source,), kernel_shape=kernel, strides=[1, 1])
            return True
        if axes != [2, 3]:
            raise ModelError(f"{node.op} over axes {axes}", where=self._net.where(node), allowed="height and width")
        pooled = (1, shape[1], 1, 1)
        part = "pooled" if not kept or node.op == "ReduceSum" else ""
        self._shapes[f"{node.output} {part}" if part else node.output] = pooled
        op = "GlobalMaxPool" if node.op == "ReduceMax" else "GlobalAveragePool"
        result = self._emit(node, part, op, (source,))
        if node.op == "ReduceSum":
            if not kept:
                self._shapes[f"{node.output} summed"] = pooled
            result = self._scaled(node, "" if kept else "summed", result, float(shape[2] * shape[3]))
        if not kept:
            self._constants[f"{node.output} extents"] = np.array(pooled[:2], np.int64)
            self._shapes[node.output] = pooled[:2]
            self._emit(node, "", "Reshape", (result, f"{node.output} extents"))
        return True
