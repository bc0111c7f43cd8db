"""NHWC models, as Keras and TensorFlow export them: transposes moved down the graph until they cancel.

Between a transpose to NHWC and one back, everything works on channels first. What is left over stands at
the outputs, where the host does it. An input in NHWC becomes one in NCHW: pictures are made that way here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import Fate, OnnxNet, OnnxNode
from mpi_vta.frontend.onnx_operators import row

Array = NDArray[Any]
Order = tuple[int, ...]

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def sink_transposes(net: OnnxNet) -> OnnxNet:
    """Return the net with channels first, with as few transposes as can be.

    Raises
    ------
    ModelError
        For a transpose that moves the batch axis.
    """
    if not any(node.op == "Transpose" for node in net.nodes):
        return net
    return _Sinking(net).result()


class _Sinking:
    """One walk; `_order[t] = (s, order)` says that tensor t is ``transpose(s, order)`` and not made yet."""

    def __init__(self, net: OnnxNet) -> None:
        self._net = net
        self._order: dict[str, tuple[str, Order]] = {}
        self._nodes: list[OnnxNode] = []
        self._constants = dict(net.initializers)
        self._shapes = dict(net.shapes)
        self._fates: dict[str, Fate] = {}
        self._shape = net.input_shape
        if self._reads_nhwc():
            self._order[net.input_name] = (net.input_name, TO_NHWC)
            self._shape = tuple(net.input_shape[axis] for axis in TO_NCHW)

    def _reads_nhwc(self) -> bool:
        """Tell whether the input meets only padding and elementwise operators before a transpose to NCHW."""
        readers, todo = self._net.consumers(), [self._net.input_name]
        while todo:
            for node in readers.get(todo.pop(), []):
                if node.op == "Transpose" and tuple(node.attrs.get("perm", ())) == TO_NCHW:
                    return True
                if row(node).elementwise or node.op in ("Pad", "Gather"):
                    todo.append(node.output)
        return False

    def result(self) -> OnnxNet:
        for node in self._net.nodes:
            self._visit(node)
        for name in self._net.outputs:
            self._make(name)
        outputs = tuple(self._resolve(name) for name in self._net.outputs)
        net = replace(
            self._net,
            nodes=tuple(self._nodes),
            outputs=outputs,
            initializers=self._constants,
            shapes=self._shapes,
            input_shape=self._shape,
        )
        return net.noting(self._fates)

    def _visit(self, node: OnnxNode) -> None:
        moved = [name for name in node.inputs if name in self._order]
        if node.op == "Transpose":
            self._transpose(node)
        elif not moved:
            self._nodes.append(node)
        elif row(node).elementwise and self._agree(node):
            self._sink(node, {})
        elif node.op in ("Concat", "Gather") and self._agree(node):
            _, order = self._order[moved[0]]
            self._sink(node, {"axis": order[node.attrs.get("axis", 0) % len(order)]})
        elif not (self._sinks_axes(node) or self._permutes_dense(node)):
            for name in moved:
                self._make(name)
            self._nodes.append(replace(node, inputs=tuple(self._resolve(name) for name in node.inputs)))

    def _transpose(self, node: OnnxNode) -> None:
        rank = len(self._net.shapes.get(node.inputs[0], ())) or len(node.attrs.get("perm", ())) or 4
        order = tuple(axis % rank for axis in node.attrs.get("perm", range(rank - 1, -1, -1)))
        if sorted(order) != list(range(rank)) or order[0] != 0:
            raise ModelError(
                f"perm {order}", where=self._net.where(node), allowed="one that leaves the batch axis first"
            )
        source, before = self._order.get(node.inputs[0], (node.inputs[0], tuple(range(rank))))
        self._order[node.output] = (source, tuple(before[axis] for axis in order))
        self._fates[node.name] = Fate("", "channels come first throughout")

    def _agree(self, node: OnnxNode) -> bool:
        """Tell whether every operand is transposed alike, or a constant that can be."""
        orders = {self._order[name][1] for name in node.inputs if name in self._order}
        plain = [name for name in node.inputs if name and name not in self._order]
        return len(orders) == 1 and all(name in self._constants for name in plain)

    def _sink(self, node: OnnxNode, attrs: dict[str, Any]) -> None:
        """Do `node` before the transpose of its operands."""
        order = next(self._order[name][1] for name in node.inputs if name in self._order)
        output, inputs = f"{node.output} before transpose", []
        for name in node.inputs:
            inputs.append(self._order[name][0] if name in self._order else self._undone(node, name, order))
        self._nodes.append(replace(node, inputs=tuple(inputs), output=output, attrs={**node.attrs, **attrs}))
        self._order[node.output] = (output, order)
        self._note_shape(output, node.output, order)

    def _note_shape(self, output: str, before: str, order: Order) -> None:
        shape = self._net.shapes.get(before, ())
        if len(shape) == len(order):
            self._shapes[output] = tuple(shape[order.index(axis)] for axis in range(len(order)))

    def _undone(self, node: OnnxNode, name: str, order: Order) -> str:
        """Return a constant operand as it is before the transpose."""
        value = self._constants.get(name)
        if value is None or value.size == 1 or node.op == "Gather" or (node.op != "Concat" and value.ndim > len(order)):
            return name
        spread = value.reshape((1,) * (len(order) - value.ndim) + value.shape)
        result = f"{name} for {node.name}"
        self._constants[result] = np.ascontiguousarray(
            spread.transpose([order.index(axis) for axis in range(len(order))])
        )
        return result

    def _sinks_axes(self, node: OnnxNode) -> bool:
        """Do a Pad, a Slice or a mean before the transpose; tell whether that was possible."""
        if node.op == "Slice":
            return self._sinks_slice(node)
        if node.op != "Pad" and not row(node).pools:
            return False
        source, order = self._order[node.inputs[0]]
        rank = len(order)
        name = node.inputs[1] if len(node.inputs) > 1 else ""
        key = "pads" if node.op == "Pad" else "axes"
        listed = node.attrs.get(key) or (self._constants[name].reshape(-1).tolist() if name in self._constants else [])
        if node.op == "Pad":
            if len(listed) != 2 * rank or (len(node.inputs) > 3 and node.inputs[3]):
                return False
            sides = [[listed[side * rank + order.index(axis)] for axis in range(rank)] for side in (0, 1)]
            numbers = sides[0] + sides[1]
        else:
            numbers = sorted(order[axis % rank] for axis in listed)
            kept = [axis for axis in order if axis not in numbers]
            is_plain = not node.attrs.get("keepdims", 1)  # then nothing is left to transpose
            if not listed or (is_plain and kept != sorted(kept)):
                return False
        constant = f"{key} for {node.name}"
        self._constants[constant] = np.array(numbers, np.int64)
        ends_order = node.op != "Pad" and is_plain
        output = node.output if ends_order else f"{node.output} before transpose"
        if key in node.attrs:
            made = replace(node, inputs=(source, *node.inputs[1:]), output=output, attrs={**node.attrs, key: numbers})
        else:
            made = replace(node, inputs=(source, constant, *node.inputs[2:]), output=output)
        self._nodes.append(made)
        if not ends_order:
            self._order[node.output] = (output, order)
            self._note_shape(output, node.output, order)
        return True

    def _sinks_slice(self, node: OnnxNode) -> bool:
        source, order = self._order[node.inputs[0]]
        name = node.inputs[3] if len(node.inputs) > 3 else ""
        axes = node.attrs.get("axes") or (self._constants[name].reshape(-1).tolist() if name in self._constants else [])
        if not axes or any(entry and entry not in self._constants for entry in node.inputs[1:]):
            return False
        numbers, inputs = [order[axis % len(order)] for axis in axes], (source, *node.inputs[1:])
        output, attrs = f"{node.output} before transpose", dict(node.attrs)
        if "axes" in attrs:
            attrs["axes"] = numbers
        else:
            constant = f"axes for {node.name}"
            self._constants[constant] = np.array(numbers, np.int64)
            inputs = (*inputs[:3], constant, *inputs[4:])
        self._nodes.append(replace(node, inputs=inputs, output=output, attrs=attrs))
        self._order[node.output] = (output, order)
        self._note_shape(output, node.output, order)
        return True

    def _permutes_dense(self, node: OnnxNode) -> bool:
        """Flatten before the transpose and reorder the weights of the dense layers behind; tell whether that works."""
        if node.op not in ("Flatten", "Reshape"):
            return False
        source, order = self._order[node.inputs[0]]
        readers = self._net.consumers().get(node.output, [])
        before, after = self._net.shapes.get(node.inputs[0], ()), self._net.shapes.get(node.output, ())
        dense = all(r.op in ("Gemm", "MatMul") and r.inputs[1] in self._constants for r in readers) and readers
        if not dense or node.output in self._net.outputs or after != (1, int(np.prod(before))) or not before:
            return False
        extents = [before[order.index(axis)] for axis in range(len(order))]
        # where each element, as it lies before the transpose, stands after it
        places = np.arange(int(np.prod(extents))).reshape(before)
        places = places.transpose([order.index(axis) for axis in range(len(order))]).reshape(-1)
        for reader in dense:
            weight = self._constants[reader.inputs[1]]
            axis = 1 if reader.op == "Gemm" and reader.attrs.get("transB", 0) else 0
            if weight.ndim != 2 or weight.shape[axis] != len(places):
                return False
            self._constants[reader.inputs[1]] = np.take(weight, places, axis=axis)
        self._nodes.append(replace(node, op="Flatten", inputs=(source,), attrs={}))
        return True

    def _make(self, name: str) -> None:
        """Write the transpose behind a tensor, unless it changes nothing."""
        if name not in self._order:
            return
        source, order = self._order[name]
        if order == tuple(range(len(order))):
            return
        del self._order[name]
        self._nodes.append(OnnxNode(f"{name}.transpose", "Transpose", (source,), name, {"perm": list(order)}))

    def _resolve(self, name: str) -> str:
        return self._order[name][0] if name in self._order else name
