"""ONNX files read: constants computed, nodes checked, one static input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mpi_vta.disk import read_bytes
from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_checks import check_node
from mpi_vta.frontend.onnx_fold import fold_constants
from mpi_vta.frontend.onnx_net import Fate, OnnxNet, OnnxNode

Array = NDArray[Any]

MOST_OPSET = 1000  # far beyond any that exists
DEQUANTIZED = "_DequantizeLinear_Output"  # what onnxruntime appends to the name of a weight


def read_model(path: Path) -> Any:
    """Return the ``onnx.ModelProto`` in a file.

    Raises
    ------
    ModelError
        If the file, or one with its weights, is missing or unreadable, or is not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        data = read_bytes(path)
    except OSError as fault:
        raise ModelError(f"cannot read the model ({fault.strerror})", where=str(path)) from fault
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as fault:
        raise ModelError("not an ONNX model", where=str(path), allowed="a file written by an ONNX exporter") from fault
    if not model.graph.node:
        raise ModelError("not an ONNX model, or one without nodes", where=str(path))
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as fault:
        raise ModelError(
            "its weights lie in another file, which cannot be read",
            where=str(path),
            remedy="put that file beside the model, or save the model with its weights inside",
        ) from fault
    return model


def read_net(model: Any, name: str, path: str) -> OnnxNet:
    """Check what can be checked before any pass and return the model as an `OnnxNet`.

    Parameters
    ----------
    model : onnx.ModelProto
    name : str
        Name for the graph.
    path : str
        Named in messages.

    Raises
    ------
    ModelError
        For an unsupported operator, a dynamic shape, several inputs or a batch other than 1.
    """
    graph = model.graph
    for proto in graph.node:
        # protobuf gives a text that is not UTF-8 as bytes
        if any(
            isinstance(text, bytes) for text in (proto.name, proto.op_type, proto.domain, *proto.input, *proto.output)
        ):
            raise ModelError("a node's names are not UTF-8", where=path, allowed="a file written by an ONNX exporter")
        if not proto.output:
            where = f"{path}: node {proto.name or proto.op_type}"
            raise ModelError("it has no output", where=where, allowed="a file written by an ONNX exporter")
        # ONNX's shape inference divides by it
        stated = [entry.i for entry in proto.attribute if entry.name == "num_outputs"]
        if stated and stated != [len(proto.output)]:
            found = f"num_outputs {stated[0]} and {len(proto.output)} outputs"
            raise ModelError(found, where=f"{path}: node {_node_name(proto)} (Split)", remedy="check the export")
    remaining, constants, folded, shapes = fold_constants(model, path)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    if not 1 <= opset <= MOST_OPSET:
        raise ModelError(f"operator set {opset}", where=path, allowed=f"1 to {MOST_OPSET}")
    nodes: list[OnnxNode] = []
    taken: set[str] = set()
    for proto in remaining:
        check_node(proto, opset, path, constants)
        nodes += _split(proto, constants, taken) if proto.op_type == "Split" else [_read_node(proto, taken)]
    input_name, input_shape = _read_input(graph, constants, path)
    outputs = tuple(output.name for output in graph.output)
    fates = {proto.name or proto.output[0]: Fate("", "a constant, computed at import") for proto in folded}
    listed = tuple((proto.name or proto.output[0], proto.op_type) for proto in folded)
    listed += tuple((node.name, node.op) for node in nodes)
    return OnnxNet(name, path, opset, input_name, input_shape, outputs, tuple(nodes), constants, shapes, listed, fates)


def _split(proto: Any, constants: dict[str, Array], taken: set[str]) -> list[OnnxNode]:
    """Return a Slice for each result of a Split; its extents are checked where the slices are."""
    node = _read_node(proto, taken)
    sizes = node.attrs.get("split")
    if sizes is None and len(node.inputs) > 1 and node.inputs[1] in constants:
        sizes = constants[node.inputs[1]].reshape(-1).tolist()
    count, axis = len(proto.output), node.attrs.get("axis", 0)
    parts = []
    for index, output in enumerate(proto.output):
        name = node.name if index == 0 else f"{node.name}.{index}"
        taken.add(name)
        attrs: dict[str, Any] = {"axes": [axis], "part": [index, count]}
        if sizes is not None:
            attrs |= {"starts": [int(sum(sizes[:index]))], "ends": [int(sum(sizes[: index + 1]))]}
        parts.append(OnnxNode(name, "Slice", node.inputs[:1], output, attrs))
    return parts


def _read_node(proto: Any, taken: set[str]) -> OnnxNode:
    from onnx import helper

    attrs = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        attrs[attribute.name] = value.decode() if isinstance(value, bytes) else value
    name = _node_name(proto)
    unique, count = name, 1
    while unique in taken:
        count += 1
        unique = f"{name}.{count}"
    taken.add(unique)
    # only Dropout and MaxPool have optional further outputs; nothing here reads them
    return OnnxNode(unique, proto.op_type, tuple(proto.input), proto.output[0], attrs)


def _node_name(proto: Any) -> str:
    """Prefer the module path in the weight's name (``layer3.0.conv1.weight``) to an exporter's label."""
    weight = proto.input[1].removesuffix(DEQUANTIZED) if len(proto.input) > 1 else ""
    if proto.op_type in ("Conv", "ConvTranspose", "Gemm") and weight.endswith(".weight"):
        return str(weight.removesuffix(".weight"))
    return str(proto.name or proto.output[0])


def _read_input(graph: Any, initializers: dict[str, Array], path: str) -> tuple[str, tuple[int, ...]]:
    inputs = [entry for entry in graph.input if entry.name not in initializers]
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs) or "none"
        raise ModelError(f"the model has {len(inputs)} inputs ({names})", where=path, allowed="one image input")
    entry = inputs[0]
    where = f"{path}: input {entry.name}"
    tensor = entry.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else (d.dim_param or "?") for d in tensor.shape.dim]
    if any(isinstance(dim, str) or dim < 1 for dim in dims):
        raise ModelError(
            f"dynamic shape ({', '.join(map(str, dims))})",
            where=where,
            allowed="fixed extents",
            remedy="export the model with a fixed input shape and batch 1",
        )
    if len(dims) != 4:
        raise ModelError(f"shape {tuple(dims)}", where=where, allowed="(1, C, H, W)")
    if dims[0] != 1:
        raise ModelError(f"batch {dims[0]}", where=where, allowed="1", remedy="export the model with batch 1")
    if tensor.elem_type != 1:
        raise ModelError("element type is not float32", where=where, allowed="float32")
    return entry.name, tuple(int(dim) for dim in dims)
