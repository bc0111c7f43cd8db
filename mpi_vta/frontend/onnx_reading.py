"""ONNX files read: constants computed, nodes checked, one static input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mpi_vta.disk import read_bytes
from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_checks import check_node
from mpi_vta.frontend.onnx_fold import fold_constants
from mpi_vta.frontend.onnx_inputs import check_batch, settle_input, with_batch_1
from mpi_vta.frontend.onnx_net import Fate, OnnxNet, OnnxNode
from mpi_vta.frontend.onnx_operators import OPERATORS
from mpi_vta.frontend.onnx_qoperators import as_qdq

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
        raise ModelError(
            f"cannot read the model ({fault.strerror})", where=str(path), allowed="a file that can be read"
        ) from fault
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


def read_net(model: Any, name: str, path: str, input_shape: tuple[int, ...] | None = None) -> OnnxNet:
    """Check what can be checked before any pass and return the model as an `OnnxNet`.

    Parameters
    ----------
    model : onnx.ModelProto
    name : str
        Name for the graph.
    path : str
        Named in messages.
    input_shape : tuple of int or None
        Extents of the input where the file leaves them open; see `mpi_vta.frontend.onnx_inputs`.

    Raises
    ------
    ModelError
        For an unsupported operator, a dynamic shape, several inputs or a batch on which extents depend.
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
    model = as_qdq(model, path)
    settled = settle_input(model, path, input_shape)
    remaining, constants, folded, shapes = fold_constants(settled.model, path)
    if settled.batch != 1:
        names = [node.output[0] for node in remaining if node.output[0] not in constants]
        before = fold_constants(model, path)[3]
        with_batch_1(settled.model, constants, settled.batch)
        remaining, constants, folded, shapes = fold_constants(settled.model, path)
        check_batch(before, shapes, names, settled.batch, path)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    if not 1 <= opset <= MOST_OPSET:
        raise ModelError(f"operator set {opset}", where=path, allowed=f"1 to {MOST_OPSET}")
    nodes: list[OnnxNode] = []
    taken: set[str] = set()
    for proto in remaining:
        check_node(proto, opset, path, constants)
        if proto.op_type == "Split":
            nodes += _split(proto, constants, taken)
        elif proto.op_type == "Sum" and len(proto.input) > 1:
            nodes += _sum(proto, shapes, taken)
        else:
            nodes.append(_read_node(proto, taken))
    outputs = tuple(output.name for output in graph.output)
    fates = {proto.name or proto.output[0]: Fate("", "a constant, computed at import") for proto in folded}
    listed = tuple((proto.name or proto.output[0], proto.op_type) for proto in folded)
    listed += tuple((node.name, node.op) for node in nodes)
    return OnnxNet(
        name,
        path,
        opset,
        settled.input_name,
        settled.input_shape,
        outputs,
        tuple(nodes),
        constants,
        shapes,
        listed,
        fates,
        notes=settled.notes,
        levels=settled.levels,
    )


def _sum(proto: Any, shapes: dict[str, tuple[int, ...]], taken: set[str]) -> list[OnnxNode]:
    """Return an Add for each operand of a Sum but the first."""
    node, added = _read_node(proto, taken), []
    total = node.inputs[0]
    for index, operand in enumerate(node.inputs[1:], start=1):
        is_last = index == len(node.inputs) - 1
        output = node.output if is_last else f"{node.output} of {index + 1}"
        shapes.setdefault(output, shapes.get(node.output, ()))
        added.append(OnnxNode(node.name if is_last else f"{node.name}.{index}", "Add", (total, operand), output))
        total = output
    return added


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
    known = OPERATORS.get(proto.op_type)
    if known is not None and known.takes_scale and weight.endswith(".weight"):
        return str(weight.removesuffix(".weight"))
    return str(proto.name or proto.output[0])
