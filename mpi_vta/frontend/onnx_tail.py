"""The end of a model, behind the last layer for VTA: any arithmetic, for the host.

Detectors decode their boxes there: products, powers, constants per position, tensors of three and more axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import Fate, OnnxNet, OnnxNode, axes_of
from mpi_vta.frontend.onnx_operators import HOST, VTA, row

Array = NDArray[Any]


def tail_of(net: OnnxNet) -> set[str]:
    """Return the names of the nodes behind which no layer for VTA comes."""
    readers = net.consumers()
    tail: set[str] = set()
    for node in reversed(net.nodes):
        followers = readers.get(node.output, [])
        if all(not _is_body(net, reader) and reader.name in tail for reader in followers):
            tail.add(node.name)
    return tail


def _is_body(net: OnnxNet, node: OnnxNode) -> bool:
    if row(node).place == VTA:
        return True
    is_picture = len(net.shapes.get(node.inputs[0], (1,) * 4)) == 4
    if node.op == "ReduceMean":
        return is_picture and set(axes_of(net, node, 4)) <= {2, 3}
    return node.op == "Slice" and is_picture


def settle_tail(net: OnnxNet) -> OnnxNet:
    """Return the net with what only the host can do, at the end of the model, as nodes of its own.

    Raises
    ------
    ModelError
        For what cannot be done there either: integers, several axes of a softmax.
    """
    net = _without_expectations(net)
    return _Settling(net).result()


def _without_expectations(net: OnnxNet) -> OnnxNet:
    """Replace a convolution that weighs the probabilities of a softmax by a product and a sum, which the host has."""
    made, constants, shapes = net.producers(), dict(net.initializers), dict(net.shapes)
    nodes: list[OnnxNode] = []
    for node in net.nodes:
        before = made.get(node.inputs[0])
        while before is not None and before.op in ("Transpose", "Reshape"):
            before = made.get(before.inputs[0])
        weight = constants.get(node.inputs[1]) if node.op == "Conv" and before and before.op == "Softmax" else None
        plain = weight is not None and weight.shape[0] == 1 and weight.shape[2:] == (1, 1) and len(node.inputs) == 2
        if weight is None or not plain or any(node.attrs.get("pads", [])) or max(node.attrs.get("strides", [1])) > 1:
            nodes.append(node)
            continue
        product = f"{node.output} weighed"
        constants[f"{product} by"] = weight.reshape(1, -1, 1, 1)
        shapes[product] = shapes.get(node.inputs[0], ())
        nodes.append(OnnxNode(f"{node.name}.product", "Mul", (node.inputs[0], f"{product} by"), product))
        nodes.append(OnnxNode(node.name, "ReduceSum", (product,), node.output, {"axes": [1], "keepdims": 1}))
    return replace(net, nodes=tuple(nodes), initializers=constants, shapes=shapes)


class _Settling:
    """One walk over the nodes of the tail."""

    def __init__(self, net: OnnxNet) -> None:
        self._net, self._tail = net, tail_of(net)
        self._nodes: list[OnnxNode] = []
        self._shapes, self._constants = dict(net.shapes), dict(net.initializers)
        self._fates: dict[str, Fate] = {}
        self._hosted: set[str] = set()  # tensors that the host makes

    def result(self) -> OnnxNet:
        for node in self._net.nodes:
            start = len(self._nodes)
            if node.name in self._tail:
                self._settle(node)
            else:
                self._nodes.append(node)
            self._mark(self._nodes[start:])
        return replace(self._net, nodes=tuple(self._nodes), shapes=self._shapes, initializers=self._constants).noting(
            self._fates
        )

    def _mark(self, added: list[OnnxNode]) -> None:
        for node in added:
            own = row(node).place == HOST and (node.name in self._tail or not row(node).listed)
            if own or any(name in self._hosted for name in node.inputs):
                self._hosted.add(node.output)

    def _settle(self, node: OnnxNode) -> None:
        if row(node).arithmetic and len(node.inputs) == 2 and not self._is_plain(node):
            self._arithmetic(node, row(node).arithmetic, node.inputs, node.output, node.name)
        elif row(node).function:
            self._own(node, "HostFunction", node.inputs[0], node.output, {"rule": row(node).function})
        elif row(node).reduction and not self._is_picture_mean(node):
            self._reduce(node, row(node).reduction)
        elif node.op == "ReduceL2":
            squares, sums = f"{node.output} squares", f"{node.output} sums"
            self._arithmetic(node, "multiply", (node.inputs[0],) * 2, squares, f"{node.name}.squares")
            self._reduce(replace(node, name=f"{node.name}.sum", inputs=(squares, *node.inputs[1:]), output=sums), "sum")
            self._own(node, "HostFunction", sums, node.output, {"rule": "sqrt"})
        elif node.op in ("Softmax", "LogSoftmax"):
            self._softmax(node)
        elif node.op == "Gather" and self._net.constant(node, 1).ndim == 0:
            self._chosen(node)
        elif node.op == "Expand" and node.inputs[0] not in self._constants:
            ones = f"{node.name} ones"
            self._constants[ones] = np.ones(self._shape(node, node.output), np.float32)
            self._arithmetic(node, "multiply", (node.inputs[0], ones), node.output, node.name)
        else:
            self._nodes.append(node)

    def _chosen(self, node: OnnxNode) -> None:
        """One of an axis, which goes: a Slice and a Reshape."""
        shape, index = self._shape(node, node.inputs[0]), int(self._net.constant(node, 1))
        axis, part = node.attrs.get("axis", 0) % len(shape), f"{node.output} kept"
        start = index % shape[axis]
        self._shapes[part] = (*shape[:axis], 1, *shape[axis + 1 :])
        self._shapes[node.output] = (*shape[:axis], *shape[axis + 1 :])
        attrs = {"axes": [axis], "starts": [start], "ends": [start + 1]}
        self._nodes.append(OnnxNode(f"{node.name}.slice", "Slice", node.inputs[:1], part, attrs))
        self._reshape(node.name, part, node.output)

    def _is_plain(self, node: OnnxNode) -> bool:
        """Tell whether the usual way takes a node: with one number, per channel, or a sum of equals."""
        constants = [self._constants[name] for name in node.inputs if name in self._constants]
        shape = self._shapes.get(node.output, ())
        is_behind = any(name in self._hosted for name in node.inputs)
        if len(constants) == 1 and node.op != "Pow":
            value = constants[0]
            if node.op == "Div" and node.inputs[0] in self._constants:
                return False
            extents = (1,) * (len(shape) - value.ndim) + value.shape
            per_channel = len(shape) in (2, 4) and all(n == 1 for axis, n in enumerate(extents) if axis != 1)
            is_single = value.size == 1 and len(extents) <= len(shape)
            is_bound = node.op in ("Min", "Max") and value.size == 1
            return is_bound or ((is_single or per_channel) and not is_behind)
        is_sum = node.op == "Add" or (node.op == "Sub" and not is_behind)
        return is_sum and not constants and self._shapes.get(node.inputs[0]) == self._shapes.get(node.inputs[1])

    def _is_picture_mean(self, node: OnnxNode) -> bool:
        shape = self._shapes.get(node.inputs[0], ())
        if len(shape) != 4 or any(name in self._hosted for name in node.inputs):
            return False
        return self._axes(node) == [2, 3] and row(node).pools

    def _axes(self, node: OnnxNode) -> list[int]:
        return axes_of(self._net, node, len(self._shape(node, node.inputs[0])))

    def _shape(self, node: OnnxNode, name: str) -> tuple[int, ...]:
        shape = self._shapes.get(name)
        if not shape:
            raise ModelError(
                f"the extents of {name} are not known", where=self._net.where(node), remedy="check the export"
            )
        return shape

    def _arithmetic(self, node: OnnxNode, rule: str, inputs: tuple[str, ...], output: str, name: str) -> None:
        attrs: dict[str, Any] = {"rule": rule, "constant_first": int(inputs[0] in self._constants)}
        computed = tuple(entry for entry in inputs if entry not in self._constants)
        if not computed:
            raise ModelError(
                "arithmetic on constants alone", where=self._net.where(node), remedy="fold constants before exporting"
            )
        constant = next((entry for entry in inputs if entry in self._constants), None)
        if constant is not None and self._constants[constant].dtype.kind not in "fiu":
            kind = self._constants[constant].dtype
            raise ModelError(f"a constant of type {kind}", where=self._net.where(node), allowed="numbers")
        if constant is not None:
            plain = f"{name} constant"
            self._constants[plain] = self._constants[constant].astype(np.float32)
            computed = (*computed, plain)
        shapes = [
            self._shapes.get(e) or self._constants[e].shape if e in self._constants else self._shape(node, e)
            for e in computed
        ]
        try:
            self._shapes[output] = tuple(np.broadcast_shapes(*shapes))
        except ValueError as fault:
            listed = " and ".join(map(str, shapes))
            raise ModelError(
                f"operands of shapes {listed}", where=self._net.where(node), remedy="check the export"
            ) from fault
        self._nodes.append(OnnxNode(name, "HostArithmetic", computed, output, attrs))

    def _own(
        self, node: OnnxNode, op: str, source: str, output: str, attrs: Mapping[str, Any], suffix: str = ""
    ) -> None:
        shape = list(self._shape(node, source))
        if op == "HostReduce":
            shape[attrs["axis"]] = 1
        self._shapes[output] = tuple(shape)
        self._nodes.append(OnnxNode(node.name + suffix, op, (source,), output, dict(attrs)))

    def _reduce(self, node: OnnxNode, rule: str) -> None:
        """Reduce axis by axis; axes that are not kept go by a Reshape at the end."""
        axes, source, kept = self._axes(node), node.inputs[0], bool(node.attrs.get("keepdims", 1))
        if 0 in axes:
            raise ModelError(f"a {rule} over the batch axis", where=self._net.where(node), allowed="the other axes")
        final = tuple(extent for axis, extent in enumerate(self._shape(node, source)) if axis not in axes)
        for index, axis in enumerate(axes):
            is_last = index == len(axes) - 1 and kept
            output = node.output if is_last else f"{node.output} axis {axis}"
            self._own(
                node, "HostReduce", source, output, {"rule": rule, "axis": axis}, "" if is_last else f".axis{axis}"
            )
            source = output
        if not kept:
            self._shapes[node.output] = final
            self._reshape(node.name, source, node.output)

    def _reshape(self, name: str, source: str, output: str) -> None:
        target = f"{name} extents"
        self._constants[target] = np.array(self._shapes[output], np.int64)
        self._nodes.append(OnnxNode(name, "Reshape", (source, target), output))

    def _softmax(self, node: OnnxNode) -> None:
        """Put the axis of a softmax last; a logarithm of one is spelled out, as that of a rounded 0 is infinite."""
        x, shape = node.inputs[0], self._shape(node, node.inputs[0])
        axis = node.attrs.get("axis", 1 if self._net.opset < 13 else -1) % len(shape)
        if self._net.opset < 13 and axis != len(shape) - 1 and any(n != 1 for n in shape[axis + 1 :]):
            raise ModelError(
                f"softmax over the axes from {axis} on", where=self._net.where(node), allowed="one axis",
                remedy="export with operator set 13 or later",
            )  # fmt: skip
        if node.op == "LogSoftmax":
            names = {part: f"{node.output} {part}" for part in ("peak", "moved", "powers", "sum", "logarithm")}
            self._own(node, "HostReduce", x, names["peak"], {"rule": "max", "axis": axis}, ".peak")
            self._arithmetic(node, "subtract", (x, names["peak"]), names["moved"], f"{node.name}.moved")
            self._own(node, "HostFunction", names["moved"], names["powers"], {"rule": "exp"}, ".powers")
            self._own(node, "HostReduce", names["powers"], names["sum"], {"rule": "sum", "axis": axis}, ".sum")
            self._own(node, "HostFunction", names["sum"], names["logarithm"], {"rule": "log"}, ".logarithm")
            self._arithmetic(node, "subtract", (names["moved"], names["logarithm"]), node.output, node.name)
            return
        if axis in (0, len(shape) - 1):
            self._nodes.append(node)
            return
        # the host's softmax works on the last axis
        order = [*(a for a in range(len(shape)) if a != axis), axis]
        back = [order.index(a) for a in range(len(shape))]
        turned, soft = f"{node.output} turned", f"{node.output} soft"
        self._shapes[turned] = self._shapes[soft] = tuple(shape[a] for a in order)
        self._nodes += [
            OnnxNode(f"{node.name}.turned", "Transpose", (x,), turned, {"perm": order}),
            OnnxNode(node.name, "Softmax", (turned,), soft, {"axis": len(shape) - 1}),
            OnnxNode(f"{node.name}.back", "Transpose", (soft,), node.output, {"perm": back}),
        ]
