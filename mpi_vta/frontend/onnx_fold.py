"""Constant folding on the ONNX level: the shape arithmetic that exporters write around Pad, Reshape and Resize."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_operators import OPERATORS

Array = NDArray[Any]

LIGHT_ELEMENTS = 1024  # no shape, pad or scale is longer


def fold_constants(model: Any, path: str) -> tuple[list[Any], dict[str, Array], list[Any], dict[str, tuple[int, ...]]]:
    """Compute every node whose inputs are constants, and every Shape of a tensor of known extents.

    Parameters
    ----------
    model : onnx.ModelProto
    path : str
        Named in messages.

    Returns
    -------
    nodes : list of onnx.NodeProto
        Those that depend on the model's input.
    constants : dict of str to ndarray
        Initialisers and everything computed.
    folded : list of onnx.NodeProto
        Those that were computed.
    shapes : dict of str to tuple of int
        See `static_shapes`.

    Raises
    ------
    ModelError
        If a constant cannot be computed, or a shape is needed that is not known.
    """
    constants, nodes, folded = read_initializers(model, path), list(model.graph.node), list[Any]()
    while True:
        # a shape computed lets further ones be known: the extents of a Slice come from a Shape before it
        shapes = static_shapes(model, nodes, constants)
        left = _fold(model, nodes, constants, shapes, path)
        known = {id(node) for node in left}
        folded += [node for node in nodes if id(node) not in known]
        if len(left) == len(nodes) or not any(node.op_type == "Shape" for node in left):
            break
        nodes = left
    return left, constants, folded, static_shapes(model, left, constants)


def _folds(node: Any) -> bool:
    row = OPERATORS.get(node.op_type)
    return row is not None and row.folds and node.domain in ("", "ai.onnx")


def _fold(
    model: Any, nodes: list[Any], constants: dict[str, Array], shapes: dict[str, tuple[int, ...]], path: str
) -> list[Any]:
    """Add what can be computed to the constants and return the other nodes."""
    left = []
    for node in nodes:
        if node.op_type in ("Shape", "Size") and node.input[0] in shapes:
            extents = np.array(shapes[node.input[0]], np.int64)
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            part = extents[bounds.get("start", 0) : bounds.get("end", len(extents))]
            constants[node.output[0]] = part if node.op_type == "Shape" else np.asarray(np.prod(extents))
        elif _folds(node) and all(name in constants for name in node.input if name):
            constants.update(zip(node.output, _computed(model, node, constants, path), strict=False))
        else:
            left.append(node)
    return left


def read_initializers(model: Any, path: str) -> dict[str, Array]:
    """Return the initialisers by name; raise `ModelError` naming one whose bytes do not fit its shape."""
    return {entry.name: array_of(entry, path) for entry in model.graph.initializer}


def array_of(tensor: Any, path: str) -> NDArray[Any]:
    """Return a tensor of a file as an array; raise `ModelError` naming it if its bytes do not fit its shape."""
    from onnx import numpy_helper

    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as fault:
        raise ModelError(
            f"initialiser {tensor.name} does not fit its shape {tuple(tensor.dims)} or type",
            where=path,
            remedy="check the export",
        ) from fault


def _computed(model: Any, node: Any, constants: dict[str, Array], path: str) -> list[Array]:
    """Return the results of one node on constants, by ONNX's own evaluator where it has the operator."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return [_rescaled(node, constants, path)]
    results = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.output]
    feeds = {name: constants[name] for name in node.input if name}
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    single = helper.make_model(helper.make_graph([node], "constant", given, results), opset_imports=model.opset_import)
    try:
        return [np.asarray(result) for result in ReferenceEvaluator(single).run(None, feeds)]
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as fault:
        label = node.name or node.output[0]
        raise ModelError(
            f"the constant cannot be computed ({type(fault).__name__})",
            where=f"{path}: node {label} ({node.op_type})",
            remedy="check the export",
        ) from fault


def _rescaled(node: Any, constants: dict[str, Array], path: str) -> Array:
    """Return a constant quantised (rounding half to even) or dequantised, per tensor or along an axis."""
    where = f"{path}: node {node.name or node.output[0]} ({node.op_type})"
    attrs = {attribute.name: attribute.i for attribute in node.attribute}
    value, scale = constants[node.input[0]], constants[node.input[1]].astype(np.float32)
    has_zero = len(node.input) > 2 and node.input[2] != ""
    zero = constants[node.input[2]] if has_zero else np.zeros(scale.shape, np.uint8)
    if attrs.get("block_size", 0):
        raise ModelError("a scale per block", where=where, allowed="per tensor or per channel")
    axis = attrs.get("axis", 1)
    fits = scale.ndim == 1 and -value.ndim <= axis < value.ndim and value.shape[axis] == scale.size
    if scale.size != 1 and not fits:
        raise ModelError(
            f"{scale.size} scales for a tensor of shape {value.shape} along axis {axis}",
            where=where,
            allowed="one, or one per channel",
        )
    if zero.size != scale.size or zero.dtype.kind not in "iu":
        raise ModelError(f"zero points {zero.dtype} {zero.shape}", where=where, allowed="as many integers as scales")
    extents = [1] * value.ndim
    if scale.size != 1:
        extents[axis] = scale.size
    scale, offset = scale.reshape(extents), zero.astype(np.int64).reshape(extents)
    if node.op_type == "DequantizeLinear":
        return ((value.astype(np.int64) - offset) * scale.astype(np.float64)).astype(np.float32)
    limits = np.iinfo(zero.dtype)
    return np.clip(np.rint(value / scale) + offset, limits.min, limits.max).astype(zero.dtype)


def static_shapes(model: Any, nodes: list[Any], constants: dict[str, Array]) -> dict[str, tuple[int, ...]]:
    """Return the tensors whose every extent ONNX's shape inference knows: none, if the model contradicts itself.

    The passes then name the node at which something does not fit.

    Parameters
    ----------
    model : onnx.ModelProto
    nodes : list of onnx.NodeProto
        Of the model, those to look at.
    constants : dict of str to ndarray
        What they read besides the model's input.
    """
    from onnx import ModelProto, helper, numpy_helper, shape_inference

    # shapes follow from the extents of weights, not from their values: a light copy is enough
    light = ModelProto(ir_version=max(model.ir_version, 4), opset_import=model.opset_import)
    used = {name for node in nodes for name in node.input}
    for name, array in constants.items():
        if name not in used or array.dtype == object:
            continue
        if array.size <= LIGHT_ELEMENTS:
            light.graph.initializer.append(numpy_helper.from_array(array, name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            light.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
    light.graph.node.extend(nodes)
    light.graph.input.extend(entry for entry in model.graph.input if entry.name not in constants)
    light.graph.output.extend(entry for entry in model.graph.output if entry.name not in constants)
    light.graph.value_info.extend(entry for entry in model.graph.value_info if entry.name not in constants)
    try:
        graph = shape_inference.infer_shapes(light, data_prop=True).graph
    except (shape_inference.InferenceError, ValueError, RuntimeError):
        return {}
    known = {}
    for entry in (*graph.input, *graph.value_info, *graph.output):
        dims = entry.type.tensor_type.shape.dim
        if entry.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            known[entry.name] = tuple(dim.dim_value for dim in dims)
    return known
