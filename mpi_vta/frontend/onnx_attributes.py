"""Each node with its operands that are no tensors as attributes; attributes without a counterpart refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import OnnxNet, OnnxNode
from mpi_vta.frontend.onnx_operators import row

Array = NDArray[Any]


def plain_nodes(net: OnnxNet) -> OnnxNet:
    """Return the net with plain nodes; a Squeeze, Unsqueeze or Flatten becomes a Reshape with its extents.

    Raises
    ------
    ModelError
        For attributes and operands that have no counterpart in our graph.
    """
    nodes: list[OnnxNode] = []
    for node in net.nodes:
        rule = _reshape if row(node).reshapes else _RULES.get(node.op)
        nodes += _slice(net, node) if node.op == "Slice" else [rule(net, node) if rule else node]
    return replace(net, nodes=tuple(nodes))


def _plain(node: OnnxNode, op: str, attrs: dict[str, Any]) -> OnnxNode:
    return OnnxNode(node.name, op, node.inputs[:1], node.output, attrs)


def _shape(net: OnnxNet, node: OnnxNode, name: str) -> tuple[int, ...]:
    shape = net.shapes.get(name)
    if not shape:
        raise ModelError(f"the extents of {name} are not known", where=net.where(node), remedy="check the export")
    return shape


def _numbers(net: OnnxNet, node: OnnxNode, index: int, key: str) -> list[int] | None:
    """Return integers that stand in an attribute or, from a later opset on, in an operand; None if in neither."""
    if key in node.attrs:
        return [int(number) for number in np.atleast_1d(node.attrs[key])]
    if len(node.inputs) > index and node.inputs[index]:
        return [int(number) for number in net.constant(node, index).reshape(-1)]
    return None


def _clip(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    bounds = [float(node.attrs.get("min", -np.inf)), float(node.attrs.get("max", np.inf))]
    for index in (1, 2):
        if len(node.inputs) > index and node.inputs[index]:
            bounds[index - 1] = net.scalar(node, index)
    if bounds[0] > bounds[1]:
        raise ModelError(f"min {bounds[0]} exceeds max {bounds[1]}", where=net.where(node), remedy="check the export")
    return _plain(node, "Clip", {"min": bounds[0], "max": bounds[1]})


def _resize(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    """Keep the scales; the importer checks that they mean plain repetition."""
    attrs = dict(node.attrs)
    coordinates = attrs.get("coordinate_transformation_mode", "half_pixel")
    rounding = attrs.get("nearest_mode", "round_prefer_floor")
    if node.op == "Upsample" or net.opset < 11:
        coordinates, rounding = "asymmetric", "floor"
    index = 1 if len(node.inputs) == 2 else 2
    sizes = _numbers(net, node, 3, "sizes") or []
    scales = attrs.get("scales") or ([] if sizes else net.constant(node, index).reshape(-1).tolist())
    mode = attrs.get("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear"):
        raise ModelError(f"mode {mode}", where=net.where(node), allowed="nearest, linear")
    plain = {"scales": [float(s) for s in scales]} if scales else {"sizes": [int(s) for s in sizes]}
    return _plain(node, "Resize", plain | {"mode": mode, "coordinates": coordinates, "rounding": rounding})


def _conv(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    weight = net.constant(node, 1)
    if weight.ndim != 4:
        raise ModelError(f"weight of shape {weight.shape}", where=net.where(node), allowed="2-D: (O, I, kh, kw)")
    _check_kernel(net, node, weight)
    return replace(node, attrs={**node.attrs, "kernel_shape": list(weight.shape[2:])})


def _check_kernel(net: OnnxNet, node: OnnxNode, weight: Array) -> None:
    stated = tuple(node.attrs.get("kernel_shape", weight.shape[2:]))
    if stated != weight.shape[2:]:
        found = f"kernel_shape {stated} for a weight of shape {weight.shape}"
        raise ModelError(found, where=net.where(node), remedy="check the export")


def _conv_transpose(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    """Make pads explicit; weight (I, O/groups, kh, kw)."""
    weight = net.constant(node, 1)
    if weight.ndim != 4:
        raise ModelError(f"weight of shape {weight.shape}", where=net.where(node), allowed="2-D: (I, O, kh, kw)")
    _check_kernel(net, node, weight)
    if "output_shape" in node.attrs:
        raise ModelError("output_shape", where=net.where(node), allowed="pads and output_padding")
    attrs = {key: list(node.attrs.get(key, [1, 1])) for key in ("strides", "dilations")}
    attrs |= {
        "output_padding": list(node.attrs.get("output_padding", [0, 0])),
        "pads": list(node.attrs.get("pads", [0] * 4)),
    }
    mode = node.attrs.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        # the result is the input times the stride
        spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], attrs["dilations"], strict=True)]
        totals = [
            max(span - s + o, 0) for span, s, o in zip(spans, attrs["strides"], attrs["output_padding"], strict=True)
        ]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        attrs["pads"] = small + large if mode == "SAME_UPPER" else large + small
    return replace(node, attrs={**attrs, "group": node.attrs.get("group", 1)})


def _pool(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    if any(d != 1 for d in node.attrs.get("dilations", [1])):
        raise ModelError("dilated pooling", where=net.where(node), allowed="dilations of 1")
    if node.attrs.get("storage_order", 0):
        raise ModelError("storage_order 1", where=net.where(node), allowed="0")
    return node


def _global_max_pool(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    return _plain(node, "MaxPool", {"kernel_shape": list(_shape(net, node, node.inputs[0])[2:])})


def _pad(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    """Reduce a Pad to (top, left, bottom, right) and a value."""
    if node.attrs.get("mode", "constant") != "constant":
        raise ModelError(f"mode {node.attrs['mode']}", where=net.where(node), allowed="constant")
    pads = _numbers(net, node, 1, "pads") or []
    axes = _numbers(net, node, 3, "axes")
    if axes is not None and len(pads) == 2 * len(axes) and all(-4 <= axis < 4 for axis in axes):
        chosen, pads = pads, [0] * 8
        for index, axis in enumerate(axes):
            pads[axis % 4], pads[4 + axis % 4] = chosen[index], chosen[len(axes) + index]
    has_value = len(node.inputs) > 2 and node.inputs[2] != ""
    value = net.scalar(node, 2) if has_value else float(node.attrs.get("value", 0.0))
    if len(pads) != 8 or any(pads[i] for i in (0, 1, 4, 5)) or min(pads) < 0:
        raise ModelError(f"pads {pads}", where=net.where(node), allowed="height and width only, not negative")
    return _plain(node, "Pad", {"pads": [pads[2], pads[3], pads[6], pads[7]], "value": value})


def _slice(net: OnnxNet, node: OnnxNode) -> list[OnnxNode]:
    """Give a Slice a start and an end on every axis; steps over rows and columns are windows of one pixel."""
    shape = _shape(net, node, node.inputs[0])
    rank = len(shape)
    axes = _numbers(net, node, 3, "axes")
    starts, ends = _numbers(net, node, 1, "starts"), _numbers(net, node, 2, "ends")
    if "part" in node.attrs and starts is None:
        index, count = node.attrs["part"]
        extent = shape[(axes or [0])[0] % rank]
        each = -(-extent // count)
        starts, ends = [index * each], [min((index + 1) * each, extent)]
    if starts is None or ends is None:
        raise ModelError("has no starts or ends", where=net.where(node), remedy="check the export")
    axes = list(range(len(starts))) if axes is None else axes
    steps = _numbers(net, node, 4, "steps") or [1] * len(starts)
    strides = {axis % rank: step for axis, step in zip(axes, steps, strict=False) if step != 1}
    if any(step < 1 for step in strides.values()) or (strides and (rank != 4 or not strides.keys() <= {2, 3})):
        raise ModelError(f"steps {steps}", where=net.where(node), allowed="1; more over rows and columns")
    if not len(axes) == len(starts) == len(ends) or any(not -rank <= axis < rank for axis in axes):
        raise ModelError(f"axes {axes}, starts {starts}, ends {ends}", where=net.where(node), remedy="check the export")
    low, high = [0] * rank, list(shape)
    for axis, start, end in zip(axes, starts, ends, strict=True):
        extent = shape[axis]
        low[axis], high[axis] = (min(max(n + extent if n < 0 else n, 0), extent) for n in (start, end))
    if any(begin >= end for begin, end in zip(low, high, strict=True)):
        raise ModelError(f"an empty slice {low}..{high} of {shape}", where=net.where(node), remedy="check the export")
    box = {"low": low, "high": high}
    if not strides:
        return [_plain(node, "Slice", box)]
    whole = OnnxNode(f"{node.name}.whole", "Slice", node.inputs[:1], f"{node.output} whole", box)
    window = {"kernel_shape": [1, 1], "strides": [strides.get(2, 1), strides.get(3, 1)]}
    return [whole, OnnxNode(node.name, "MaxPool", (whole.output,), node.output, window)]


def _reshape(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    return _plain(node, "Reshape", {"shape": list(_shape(net, node, node.output))})


_RULES: Mapping[str, Callable[[OnnxNet, OnnxNode], OnnxNode]] = {
    "Clip": _clip,
    "Upsample": _resize,
    "Resize": _resize,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalMaxPool": _global_max_pool,
    "Pad": _pad,
}
