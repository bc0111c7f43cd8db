"""Arithmetic with constants and batch norm, unified: ``x * scale + offset`` per channel, folded where it can be.

The unified node is a BatchNormalization with mean 0, variance 1 and epsilon 0.
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


def fold_arithmetic(net: OnnxNet) -> OnnxNet:
    """Return the net with every multiplication and addition of constants folded into a layer before it.

    What follows no layer of its own stays as one node, merged with its like.

    Raises
    ------
    ModelError
        If a constant does not act on whole channels, or divides by zero.
    """
    return _fold(_unify(net))


def _unify(net: OnnxNet) -> OnnxNet:
    constants = dict(net.initializers)
    nodes = []
    for node in net.nodes:
        is_constant = [name in net.initializers for name in node.inputs]
        if node.op == "BatchNormalization":
            nodes.append(_affine(net, node, node.inputs[0], *_norm_factors(net, node), constants))
        elif node.op == "Neg" or (row(node).scales and is_constant.count(True) == 1 and len(is_constant) == 2):
            nodes.append(_affine(net, node, *_arithmetic_factors(net, node, is_constant), constants))
        elif node.op == "Sub":
            shapes = " and ".join(str(net.shapes.get(name, "unknown extents")) for name in node.inputs)
            raise ModelError(f"difference of {shapes}", where=net.where(node), allowed="equal shapes, or a constant")
        elif node.op == "Div":
            raise ModelError("division by a computed tensor", where=net.where(node), allowed="by a constant")
        else:
            nodes.append(node)
    return replace(net, nodes=tuple(nodes), initializers=constants)


def _norm_factors(net: OnnxNet, node: OnnxNode) -> tuple[Array, Array]:
    scale, shift, mean, variance = (net.constant(node, index).astype(np.float64) for index in range(1, 5))
    if len({entry.shape for entry in (scale, shift, mean, variance)}) != 1 or scale.ndim != 1:
        shapes = ", ".join(str(entry.shape) for entry in (scale, shift, mean, variance))
        raise ModelError(f"constants of shapes {shapes}", where=net.where(node), allowed="four of shape (C,)")
    spread = variance + node.attrs.get("epsilon", 1e-5)
    if not np.all(spread > 0):
        raise ModelError("a variance that is not positive", where=net.where(node), remedy="check the export")
    factor = scale / np.sqrt(spread)
    return factor, shift - mean * factor


def _arithmetic_factors(net: OnnxNet, node: OnnxNode, is_constant: list[bool]) -> tuple[str, Array, Array]:
    """Return the computed operand, its factor and what is added."""
    one, zero = np.ones(1), np.zeros(1)
    if node.op == "Neg":
        return node.inputs[0], -one, zero
    first_is_constant = is_constant[0]
    source = node.inputs[1] if first_is_constant else node.inputs[0]
    value = net.constant(node, 0 if first_is_constant else 1)
    number = _per_channel(net, node, source, value)
    if node.op == "Add":
        return source, one, number
    if node.op == "Sub":
        return (source, -one, number) if first_is_constant else (source, one, -number)
    if node.op == "Mul":
        return source, number, zero
    if first_is_constant or not np.all(number):
        raise ModelError("division by a computed tensor or by zero", where=net.where(node), allowed="by a constant")
    return source, 1 / number, zero


def _per_channel(net: OnnxNet, node: OnnxNode, source: str, value: Array) -> Array:
    """Return a constant as (1,) or (C,); refuse one that differs within a channel."""
    if value.dtype.kind != "f":
        raise ModelError(f"a constant of type {value.dtype}", where=net.where(node), allowed="float32")
    if value.size == 1:
        return value.reshape(1).astype(np.float64)
    rank = len(net.shapes.get(node.output, ())) or 4
    extents = (1,) * (rank - value.ndim) + value.shape
    if len(extents) != rank or rank < 2 or any(extent != 1 for axis, extent in enumerate(extents) if axis != 1):
        raise ModelError(
            f"a constant of shape {value.shape} with {source} of rank {rank}",
            where=net.where(node),
            allowed="one number, or one per channel",
        )
    return value.reshape(-1).astype(np.float64)


def _affine(
    net: OnnxNet, node: OnnxNode, source: str, scale: Array, offset: Array, constants: dict[str, Array]
) -> OnnxNode:
    """Return the unified node; numbers are spread over the channels of its result."""
    shape = net.shapes.get(node.output) or net.shapes.get(source, ())
    if len(shape) < 2:
        raise ModelError("a tensor whose extents are not known", where=net.where(node), remedy="check the export")
    channels, given = shape[1], max(scale.size, offset.size)
    if given not in (1, channels):
        raise ModelError(f"{given} constants for {channels} channels", where=net.where(node), allowed="one per channel")
    names = [f"{node.name} {role}" for role in ("scale", "offset", "mean", "variance")]
    arrays = (
        *(np.broadcast_to(entry, (channels,)) for entry in (scale, offset)),
        np.zeros(channels),
        np.ones(channels),
    )
    constants.update({name: array.astype(np.float64) for name, array in zip(names, arrays, strict=True)})
    return OnnxNode(node.name, "BatchNormalization", (source, *names), node.output, {"epsilon": 0.0})


def _fold(net: OnnxNet) -> OnnxNet:
    """Fold each unified node into the layer, or the unified node, that alone makes its operand."""
    constants, readers = dict(net.initializers), net.consumers()
    kept: dict[str, OnnxNode] = {}  # by output
    fates: dict[str, Fate] = {}
    for node in net.nodes:
        before = kept.get(node.inputs[0]) if node.op == "BatchNormalization" else None
        is_own = before is not None and len(readers[before.output]) == 1 and before.output not in net.outputs
        if before is None or not is_own or not (row(before).takes_scale or before.op == "BatchNormalization"):
            kept[node.output] = node
            continue
        scale, offset = constants[node.inputs[1]], constants[node.inputs[2]]
        del kept[before.output]
        kept[node.output] = replace(_scaled(net, before, scale, offset, constants), output=node.output)
        readers[node.output] = readers.get(node.output, [])
        fates[node.name] = Fate(before.name, "folded into its weights")
    single = {
        name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in constants.items()
    }
    return replace(net, nodes=tuple(kept.values()), initializers=single).noting(fates)


def _scaled(net: OnnxNet, layer: OnnxNode, scale: Array, offset: Array, constants: dict[str, Array]) -> OnnxNode:
    """Return a layer whose result is multiplied by `scale` and moved by `offset`, per channel."""
    if layer.op == "BatchNormalization":
        names = (f"{layer.name} scale", f"{layer.name} offset")
        first = (constants[layer.inputs[1]] * scale, constants[layer.inputs[2]] * scale + offset)
        constants.update(dict(zip(names, first, strict=True)))
        return replace(layer, inputs=(layer.inputs[0], *names, *layer.inputs[3:]))
    weight = net.constant(layer, 1, constants)
    has_bias = len(layer.inputs) > 2 and layer.inputs[2] != ""
    bias = net.constant(layer, 2, constants) if has_bias else np.zeros(len(scale))
    outputs = weight.shape[1] * layer.attrs.get("group", 1) if layer.op == "ConvTranspose" else weight.shape[0]
    if outputs != len(scale) or bias.shape != scale.shape:
        found = f"weight {weight.shape} and bias {bias.shape} for {len(scale)} channels"
        raise ModelError(found, where=net.where(layer), remedy="check the export")
    names = (f"{layer.name}.weight folded", f"{layer.name}.bias folded")
    if layer.op == "ConvTranspose":
        groups = layer.attrs.get("group", 1)
        split = weight.reshape(groups, -1, *weight.shape[1:])
        scaled = (split * scale.reshape(groups, 1, -1, 1, 1)).reshape(weight.shape)
    else:
        scaled = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    constants[names[0]] = scaled.astype(np.float32)
    constants[names[1]] = (bias * scale + offset).astype(np.float32)
    return replace(layer, inputs=(layer.inputs[0], *names))
