"""Networks of one dimension, (1, C, L): pictures of one row, (1, C, 1, L)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import OnnxNet, OnnxNode, axes_of
from mpi_vta.frontend.onnx_operators import row

_AS_THEY_ARE = ("GlobalAveragePool", "GlobalMaxPool", "BatchNormalization")
# what a window has along the rows, by attribute
_ALONG_ROWS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0}


def as_pictures(net: OnnxNet) -> OnnxNet:
    """Return a net with tensors of four axes for those of three; any other net as it is.

    Raises
    ------
    ModelError
        For an operator that has no such counterpart.
    """
    if len(net.input_shape) != 3:
        return net
    shapes = {name: (*s[:2], 1, s[2]) if len(s) == 3 else s for name, s in net.shapes.items()}
    constants = dict(net.initializers)
    nodes = [_widened(net, node, constants) if _is_row(net, node) else node for node in net.nodes]
    channels, length = net.input_shape[1:]
    shape = (1, channels, 1, length)
    return replace(net, nodes=tuple(nodes), shapes=shapes, initializers=constants, input_shape=shape)


def _is_row(net: OnnxNet, node: OnnxNode) -> bool:
    computed = [name for name in node.inputs if name and name not in net.initializers]
    return any(name == net.input_name or len(net.shapes.get(name, ())) == 3 for name in computed)


def _widened(net: OnnxNet, node: OnnxNode, constants: dict[str, Any]) -> OnnxNode:
    kind, attrs = row(node), dict(node.attrs)
    if "kernel_shape" in kind.reads:
        for key, along in _ALONG_ROWS.items():
            if key in attrs:
                attrs[key] = [along, *attrs[key]]
        if "pads" in attrs:
            begin, end = attrs["pads"]
            attrs["pads"] = [0, begin, 0, end]
        if len(node.inputs) < 2:
            return replace(node, attrs=attrs)
        weight = f"{node.inputs[1]} of one row"
        constants[weight] = np.expand_dims(net.constant(node, 1), 2)
        return replace(node, inputs=(node.inputs[0], weight, *node.inputs[2:]), attrs=attrs)
    if node.op in _AS_THEY_ARE or kind.reshapes:
        return node
    if kind.elementwise:
        return replace(node, inputs=tuple(_constant(name, constants) for name in node.inputs))
    if node.op == "Concat" and attrs["axis"] in (1, -2):
        return replace(node, attrs={**attrs, "axis": 1})
    if node.op in ("Softmax", "LogSoftmax") and attrs.get("axis", 0) == -1:
        return node
    if kind.pools and axes_of(net, node, 3) == [2]:
        attrs.pop("axes", None)
        name = f"{node.name} axes of one row"
        constants[name] = np.array([2, 3], np.int64)
        return replace(node, inputs=(node.inputs[0], name), attrs=attrs)
    raise ModelError(
        "works on a tensor of three axes",
        where=net.where(node),
        allowed="layers, poolings and functions of each element",
        remedy="export the model with inputs of (1, C, 1, L)",
    )


def _constant(name: str, constants: dict[str, Any]) -> str:
    """Return a constant operand with an axis more, where it has more than the last one."""
    value = constants.get(name)
    if value is None or value.ndim < 2:
        return name
    result = f"{name} of one row"
    constants[result] = np.expand_dims(value, value.ndim - 1)
    return result
