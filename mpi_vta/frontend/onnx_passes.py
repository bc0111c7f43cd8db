"""Rewrites on the ONNX level, before TVM sees the model: batch norm and padding folded, synonyms unified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import OnnxNet, OnnxNode

Array = NDArray[Any]

MINUS_INFINITY = -1e30  # padding with less than this never wins a maximum


def normalize(net: OnnxNet) -> OnnxNet:
    """Return an equivalent net without dead nodes, Identity, Dropout, BatchNormalization, MatMul and Pad.

    Raises
    ------
    ModelError
        For a use of these operators, or of attributes, that has no counterpart in our graph.
    """
    _check_order(net)
    for step in (_drop_copies, _drop_dead, _fold_batch_norm, _fold_pads, _unify_dense, _unify_attributes, _drop_dead):
        net = step(net)
    return net


def _check_order(net: OnnxNet) -> None:
    """Check that every tensor has one producer and is made before it is read."""
    ready = {net.input_name, *net.initializers}
    for node in net.nodes:
        if not node.inputs or not node.inputs[0]:
            raise ModelError("has no input", where=net.where(node), remedy="check the export")
        missing = [name for name in node.inputs if name and name not in ready]
        if missing:
            raise ModelError(
                f"reads {', '.join(missing)}, which nothing before it makes",
                where=net.where(node),
                remedy="check the export",
            )
        if node.output in ready:
            raise ModelError(f"makes {node.output} a second time", where=net.where(node), remedy="check the export")
        ready.add(node.output)
    absent = [name for name in net.outputs if name not in ready]
    if absent:
        raise ModelError(f"nothing makes the output {absent[0]}", where=net.path, remedy="check the export")


def _drop_copies(net: OnnxNet) -> OnnxNet:
    alias = {node.output: node.inputs[0] for node in net.nodes if node.op in ("Identity", "Dropout")}
    return net.rewired([node for node in net.nodes if node.output not in alias], alias, net.initializers)


def _drop_dead(net: OnnxNet) -> OnnxNet:
    wanted, kept = set(net.outputs), []
    for node in reversed(net.nodes):
        if node.output in wanted:
            kept.append(node)
            wanted.update(node.inputs)
    if not kept:
        raise ModelError("the outputs do not depend on any supported node", where=net.path)
    return replace(net, nodes=tuple(reversed(kept)))


def _fold_batch_norm(net: OnnxNet) -> OnnxNet:
    """Fold y = (x - mean) / sqrt(var + eps) * scale + shift into the convolution that makes x."""
    constants = dict(net.initializers)
    readers = net.consumers()
    made = {node.output: node for node in net.nodes}
    folded: dict[str, OnnxNode] = {}
    for norm in [node for node in net.nodes if node.op == "BatchNormalization"]:
        conv = made.get(norm.inputs[0])
        if conv is None or conv.op != "Conv" or len(readers[conv.output]) != 1 or conv.output in net.outputs:
            raise ModelError(
                f"batch normalisation of {norm.inputs[0]}, which is not the result of a convolution of its own",
                where=net.where(norm),
                allowed="BatchNormalization directly after Conv",
            )
        scale, shift, mean, variance = (_constant(net, norm, index, constants) for index in range(1, 5))
        factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + norm.attrs.get("epsilon", 1e-5))
        weight = _constant(net, conv, 1, constants)
        bias = _constant(net, conv, 2, constants) if len(conv.inputs) > 2 and conv.inputs[2] else np.zeros(len(factor))
        names = (f"{conv.name}.weight folded", f"{conv.name}.bias folded")
        constants[names[0]] = (weight * factor[:, None, None, None]).astype(np.float32)
        constants[names[1]] = ((bias - mean) * factor + shift).astype(np.float32)
        folded[conv.name] = replace(conv, inputs=(conv.inputs[0], *names), output=norm.output)
    nodes = [folded.get(node.name, node) for node in net.nodes if node.op != "BatchNormalization"]
    return replace(net, nodes=tuple(nodes), initializers=constants)


def _fold_pads(net: OnnxNet) -> OnnxNet:
    """Fold a constant Pad of height and width into the convolutions or maximum poolings that read it."""
    readers = net.consumers()
    made = {node.output: node for node in net.nodes}
    alias: dict[str, str] = {}
    for pad in [node for node in net.nodes if node.op == "Pad"]:
        amounts, value = _pad_amounts(net, pad)
        targets = readers.get(pad.output, [])
        for target in targets:
            node = made[target.output]
            fits = (node.op == "Conv" and value == 0) or (node.op == "MaxPool" and value <= MINUS_INFINITY)
            if not fits or node.attrs.get("auto_pad", "NOTSET") != "NOTSET" or pad.output in net.outputs:
                raise ModelError(
                    f"padding with {value} before {node.op} {node.name}",
                    where=net.where(pad),
                    allowed="zeros before Conv, -inf before MaxPool",
                )
            own = node.attrs.get("pads", [0, 0, 0, 0])
            total = [a + b for a, b in zip(own, amounts, strict=True)]
            made[node.output] = replace(node, attrs={**node.attrs, "pads": total})
        alias[pad.output] = pad.inputs[0]
    return net.rewired([made[n.output] for n in net.nodes if n.output not in alias], alias, net.initializers)


def _pad_amounts(net: OnnxNet, pad: OnnxNode) -> tuple[list[int], float]:
    """Return (top, left, bottom, right) and the value of a Pad node."""
    if pad.attrs.get("mode", "constant") != "constant":
        raise ModelError(f"mode {pad.attrs['mode']}", where=net.where(pad), allowed="constant")
    if len(pad.inputs) > 3 and pad.inputs[3]:
        raise ModelError("padding of chosen axes", where=net.where(pad), allowed="pads for all four axes")
    pads = pad.attrs.get("pads") or _constant(net, pad, 1, net.initializers).tolist()
    has_value = len(pad.inputs) > 2 and pad.inputs[2] != ""
    value = _scalar(net, pad, 2) if has_value else float(pad.attrs.get("value", 0.0))
    if len(pads) != 8 or any(pads[i] for i in (0, 1, 4, 5)) or min(pads) < 0:
        raise ModelError(f"pads {pads}", where=net.where(pad), allowed="height and width only, not negative")
    return [pads[2], pads[3], pads[6], pads[7]], value


def _unify_dense(net: OnnxNet) -> OnnxNet:
    """Turn Gemm, and MatMul with or without a following constant Add, into Gemm with weight (O, I)."""
    constants, readers, absorbed = dict(net.initializers), net.consumers(), set[str]()
    nodes: list[OnnxNode] = []
    for node in net.nodes:
        if node.op == "Gemm":
            nodes.append(_plain_gemm(net, node, constants))
        elif node.op == "MatMul":
            bias, output = _following_bias(net, node, readers.get(node.output, []), constants)
            absorbed.update({output} - {node.output})
            nodes.append(_plain_gemm(net, replace(node, inputs=(*node.inputs, bias), output=output), constants))
        elif node.output not in absorbed:
            nodes.append(node)
    return replace(net, nodes=tuple(nodes), initializers=constants)


def _following_bias(
    net: OnnxNet, matmul: OnnxNode, readers: list[OnnxNode], constants: dict[str, Array]
) -> tuple[str, str]:
    """Return the constant that a following Add puts on every row and that Add's output; ("", own) if none."""
    weight = _constant(net, matmul, 1, constants)
    if weight.ndim != 2:
        raise ModelError(f"right operand of shape {weight.shape}", where=net.where(matmul), allowed="(I, O)")
    if len(readers) == 1 and readers[0].op == "Add" and matmul.output not in net.outputs:
        for name in readers[0].inputs:
            if name in constants and constants[name].size == weight.shape[1]:
                return name, readers[0].output
    return "", matmul.output


def _plain_gemm(net: OnnxNet, node: OnnxNode, constants: dict[str, Array]) -> OnnxNode:
    if node.attrs.get("transA", 0):
        raise ModelError("transA = 1", where=net.where(node), allowed="transA = 0")
    weight = _constant(net, node, 1, constants) * np.float32(node.attrs.get("alpha", 1.0))
    names = [f"{node.name}.weight plain"]
    constants[names[0]] = np.ascontiguousarray(weight if node.attrs.get("transB", 0) else weight.T)
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = _constant(net, node, 2, constants) * np.float32(node.attrs.get("beta", 1.0))
        names.append(f"{node.name}.bias plain")
        outputs = constants[names[0]].shape[0]
        constants[names[1]] = np.repeat(bias.reshape(-1), outputs if bias.size == 1 else 1)
    return OnnxNode(node.name, "Gemm", (node.inputs[0], *names), node.output, {"transB": 1})


def _unify_attributes(net: OnnxNet) -> OnnxNet:
    """Make Clip bounds and Resize scales attributes, and refuse attributes without a counterpart."""
    rules: dict[str, Callable[[OnnxNet, OnnxNode], OnnxNode]] = {
        "Clip": _plain_clip,
        "Upsample": _plain_resize,
        "Resize": _plain_resize,
        "Conv": _checked_conv,
        "MaxPool": _checked_pool,
        "AveragePool": _checked_pool,
    }
    nodes = tuple(rules[node.op](net, node) if node.op in rules else node for node in net.nodes)
    return replace(net, nodes=nodes)


def _plain_clip(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    bounds = [float(node.attrs.get("min", -np.inf)), float(node.attrs.get("max", np.inf))]
    for index in (1, 2):
        if len(node.inputs) > index and node.inputs[index]:
            bounds[index - 1] = _scalar(net, node, index)
    return OnnxNode(node.name, "Clip", node.inputs[:1], node.output, {"min": bounds[0], "max": bounds[1]})


def _plain_resize(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    """Keep the scales, as integers; the importer checks that they mean plain repetition."""
    attrs = dict(node.attrs)
    coordinates = attrs.get("coordinate_transformation_mode", "half_pixel")
    rounding = attrs.get("nearest_mode", "round_prefer_floor")
    if node.op == "Upsample" or net.opset < 11:
        coordinates, rounding = "asymmetric", "floor"
    index = 1 if len(node.inputs) == 2 else 2
    sizes = _constant(net, node, 3, net.initializers).tolist() if len(node.inputs) > 3 and node.inputs[3] else []
    scales = attrs.get("scales") or ([] if sizes else _constant(net, node, index, net.initializers).tolist())
    if attrs.get("mode", "nearest") != "nearest":
        raise ModelError(f"mode {attrs['mode']}", where=net.where(node), allowed="nearest")
    plain = {"scales": [float(s) for s in scales]} if scales else {"sizes": [int(s) for s in sizes]}
    plain |= {"coordinates": coordinates, "rounding": rounding}
    return OnnxNode(node.name, "Resize", node.inputs[:1], node.output, plain)


def _checked_conv(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    groups, weight = node.attrs.get("group", 1), _constant(net, node, 1, net.initializers)
    if groups != 1:
        raise ModelError(f"{groups} groups", where=net.where(node), allowed="1 group, no depthwise convolution yet")
    if weight.ndim != 4:
        raise ModelError(f"weight of shape {weight.shape}", where=net.where(node), allowed="2-D: (O, I, kh, kw)")
    return replace(node, attrs={**node.attrs, "kernel_shape": list(weight.shape[2:])})


def _checked_pool(net: OnnxNet, node: OnnxNode) -> OnnxNode:
    if any(d != 1 for d in node.attrs.get("dilations", [1])):
        raise ModelError("dilated pooling", where=net.where(node), allowed="dilations of 1")
    if node.attrs.get("storage_order", 0):
        raise ModelError("storage_order 1", where=net.where(node), allowed="0")
    return node


def _constant(net: OnnxNet, node: OnnxNode, index: int, constants: dict[str, Array]) -> Array:
    name = node.inputs[index] if len(node.inputs) > index else ""
    if name not in constants:
        raise ModelError(
            f"input {index} ({name or 'absent'}) is not a constant",
            where=net.where(node),
            remedy="export the model with constant folding",
        )
    return constants[name]


def _scalar(net: OnnxNet, node: OnnxNode, index: int) -> float:
    value = _constant(net, node, index, net.initializers)
    if value.size != 1:
        raise ModelError(f"input {index} has shape {value.shape}", where=net.where(node), allowed="one number")
    return float(value.reshape(-1)[0])
