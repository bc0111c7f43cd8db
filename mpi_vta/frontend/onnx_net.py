"""An ONNX model as plain Python: nodes, initialisers, one static input; read, checked, written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_fold import fold_constants

Array = NDArray[Any]

# what each supported operator becomes; listed to the user when a model has another one
SUPPORTED = (
    "Conv",
    "Gemm",
    "MatMul",
    "Add",
    "Relu",
    "LeakyRelu",
    "Clip",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "ReduceMean",
    "Upsample",
    "Resize",
    "Concat",
    "Flatten",
    "Reshape",
    "BatchNormalization",
    "Softmax",
    "Sigmoid",
    "Identity",
    "Dropout",
    "Pad",
)


@dataclass(frozen=True)
class OnnxNode:
    """One operator; attributes are Python numbers, lists, strings or arrays."""

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    attrs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OnnxNet:
    """A model with one static input.

    Attributes
    ----------
    name, path : str
        Name for the graph and for messages.
    opset : int
        Version of the default operator set.
    input_name, input_shape : str, tuple of int
        The image input, (1, C, H, W).
    outputs : tuple of str
        Output tensors.
    nodes : tuple of OnnxNode
        In topological order, as ONNX demands.
    initializers : dict of str to ndarray
        Weights and other constants.
    """

    name: str
    path: str
    opset: int
    input_name: str
    input_shape: tuple[int, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    initializers: dict[str, Array]

    def consumers(self) -> dict[str, list[OnnxNode]]:
        """Return the nodes that read each tensor."""
        readers: dict[str, list[OnnxNode]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return readers

    def where(self, node: OnnxNode) -> str:
        """Return how a message names a node."""
        return f"{self.path}: node {node.name} ({node.op})"

    def rewired(self, nodes: list[OnnxNode], alias: dict[str, str], initializers: dict[str, Array]) -> OnnxNet:
        """Return the net with other nodes, reading `alias[name]` wherever `name` was read."""

        def resolve(name: str) -> str:
            while name in alias:
                name = alias[name]
            return name

        renamed = [replace(node, inputs=tuple(resolve(name) for name in node.inputs)) for node in nodes]
        outputs = tuple(resolve(name) for name in self.outputs)
        return replace(self, nodes=tuple(renamed), outputs=outputs, initializers=initializers)


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
        data = path.read_bytes()
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
    remaining, constants = fold_constants(model, path)
    nodes: list[OnnxNode] = []
    taken: set[str] = set()
    for proto in remaining:
        if proto.op_type not in SUPPORTED or proto.domain not in ("", "ai.onnx"):
            label = proto.name or proto.output[0]
            operator = f"{proto.domain}.{proto.op_type}" if proto.domain else proto.op_type
            raise ModelError(
                f"operator {operator} is not supported", where=f"{path}: node {label}", allowed=", ".join(SUPPORTED)
            )
        nodes.append(_read_node(proto, taken))
    input_name, input_shape = _read_input(graph, constants, path)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    outputs = tuple(output.name for output in graph.output)
    return OnnxNet(name, path, opset, input_name, input_shape, outputs, tuple(nodes), constants)


def write_model(net: OnnxNet, outputs: tuple[str, ...]) -> Any:
    """Return the net as an ``onnx.ModelProto`` whose outputs are `outputs`, of unstated shape."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node(n.op, list(n.inputs), [n.output], name=n.name, **n.attrs) for n in net.nodes]
    used = {name for node in net.nodes for name in node.inputs}
    tensors = [numpy_helper.from_array(array, name) for name, array in net.initializers.items() if name in used]
    graph_input = helper.make_tensor_value_info(net.input_name, TensorProto.FLOAT, net.input_shape)
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, net.name, [graph_input], results, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", net.opset)])


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
    if len(proto.input) > 1 and proto.op_type in ("Conv", "Gemm") and proto.input[1].endswith(".weight"):
        return str(proto.input[1].removesuffix(".weight"))
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
