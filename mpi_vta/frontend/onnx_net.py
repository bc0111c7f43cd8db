"""An ONNX model as plain Python: nodes, initialisers, one static input; read, checked, written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mpi_vta.disk import read_bytes
from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_fold import fold_constants
from mpi_vta.frontend.onnx_operators import OPERATORS, check_attributes, check_trained

Array = NDArray[Any]

# listed to the user when a model has another operator
SUPPORTED = tuple(OPERATORS)
MOST_OPSET = 1000  # far beyond any that exists
DEQUANTIZED = "_DequantizeLinear_Output"  # what onnxruntime appends to the name of a weight
# over rows and columns they are poolings of VTA's
POOLED = ("ReduceMean", "ReduceMax", "ReduceSum")
_INTEGER_RESULTS = ("ArgMax", "ArgMin", "TopK", "NonMaxSuppression")
# quantised operators that bring their own arithmetic, where QDQ states only scales
_QOPERATORS = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")


@dataclass(frozen=True)
class Fate:
    """What became of a node of the file that is no node of the float graph.

    Attributes
    ----------
    into : str
        Node that does its work; empty when nothing is left of it.
    why : str
        What was done, as shown to the user.
    """

    into: str
    why: str


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
    shapes : dict of str to tuple of int
        The file's tensors whose extents are known.
    listed : tuple of (str, str)
        Name and operator of every node of the file.
    fates : dict of str to Fate
        By name, those of `listed` that a pass has removed.
    ranges : dict of str to (float, float)
        Least and largest value of the tensors whose range the file states.
    """

    name: str
    path: str
    opset: int
    input_name: str
    input_shape: tuple[int, ...]
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    initializers: dict[str, Array]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    listed: tuple[tuple[str, str], ...] = ()
    fates: dict[str, Fate] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

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

    def noting(self, fates: dict[str, Fate]) -> OnnxNet:
        """Return the net with more removed nodes on record."""
        return replace(self, fates={**self.fates, **fates})

    def producers(self) -> dict[str, OnnxNode]:
        """Return the node that makes each tensor."""
        return {node.output: node for node in self.nodes}

    def constant(self, node: OnnxNode, index: int, constants: dict[str, Array] | None = None) -> Array:
        """Return a constant operand of a node, from the initialisers or those given."""
        name = node.inputs[index] if len(node.inputs) > index else ""
        known = self.initializers if constants is None else constants
        if name not in known:
            raise ModelError(
                f"input {index} ({name or 'absent'}) is not a constant",
                where=self.where(node),
                remedy="export the model with constant folding",
            )
        return known[name]

    def scalar(self, node: OnnxNode, index: int) -> float:
        """Return a constant operand that is one number."""
        value = self.constant(node, index)
        if value.size != 1:
            raise ModelError(f"input {index} has shape {value.shape}", where=self.where(node), allowed="one number")
        return float(value.reshape(-1)[0])


def live_nodes(nodes: Sequence[OnnxNode], outputs: tuple[str, ...]) -> tuple[OnnxNode, ...]:
    """Return the nodes that the outputs depend on, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if node.output in wanted:
            kept.append(node)
            wanted.update(node.inputs)
    return tuple(reversed(kept))


def axes_of(net: OnnxNet, node: OnnxNode, rank: int) -> list[int]:
    """Return the axes of a reduction, in order."""
    listed = node.attrs.get("axes")
    if listed is None and len(node.inputs) > 1 and node.inputs[1]:
        listed = net.constant(node, 1).reshape(-1).tolist()
    if not listed and node.attrs.get("noop_with_empty_axes", 0):
        raise ModelError("no axes and noop_with_empty_axes", where=net.where(node), allowed="axes to reduce")
    return sorted(int(axis) % rank for axis in (listed if listed else range(rank))) if rank else []


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
    remaining, constants, folded, shapes = fold_constants(model, path)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    if not 1 <= opset <= MOST_OPSET:
        raise ModelError(f"operator set {opset}", where=path, allowed=f"1 to {MOST_OPSET}")
    nodes: list[OnnxNode] = []
    taken: set[str] = set()
    for proto in remaining:
        _check_operator(proto, opset, path, constants)
        nodes += _split(proto, constants, taken, path) if proto.op_type == "Split" else [_read_node(proto, taken)]
    input_name, input_shape = _read_input(graph, constants, path)
    outputs = tuple(output.name for output in graph.output)
    fates = {proto.name or proto.output[0]: Fate("", "a constant, computed at import") for proto in folded}
    listed = tuple((proto.name or proto.output[0], proto.op_type) for proto in folded)
    listed += tuple((node.name, node.op) for node in nodes)
    return OnnxNet(name, path, opset, input_name, input_shape, outputs, tuple(nodes), constants, shapes, listed, fates)


def _check_operator(proto: Any, opset: int, path: str, constants: dict[str, Array]) -> None:
    where = f"{path}: node {proto.name or proto.output[0]}"
    if proto.op_type in OPERATORS and proto.domain in ("", "ai.onnx"):
        _check_arity(proto, opset, where)
        check_attributes(proto, opset, f"{where} ({proto.op_type})")
        check_trained(proto, constants, f"{where} ({proto.op_type})")
        return
    operator = f"{proto.domain}.{proto.op_type}" if proto.domain else proto.op_type
    if proto.op_type.startswith("QLinear") or proto.op_type in _QOPERATORS:
        raise ModelError(
            f"operator {operator} computes on integers in its own way",
            where=where,
            allowed="float models, and quantised ones in QDQ format",
            remedy="quantise with quant_format=QuantFormat.QDQ",
        )
    if proto.op_type in _INTEGER_RESULTS:
        raise ModelError(
            f"operator {operator} gives integers",
            where=where,
            allowed="outputs in float32",
            remedy="end the model before it and apply it to the outputs",
        )
    raise ModelError(f"operator {operator} is not supported", where=where, allowed=", ".join(SUPPORTED))


def _check_arity(proto: Any, opset: int, where: str) -> None:
    """Check the number of operands where ONNX has a schema of the operator for the file's opset."""
    from onnx import defs

    if not defs.has(proto.op_type, opset, ""):
        return
    schema = defs.get_schema(proto.op_type, opset, "")
    if not schema.min_input <= len(proto.input) <= schema.max_input:
        raise ModelError(
            f"{len(proto.input)} inputs",
            where=f"{where} ({proto.op_type})",
            allowed=f"{schema.min_input}..{schema.max_input}",
            remedy="check the export",
        )


def _split(proto: Any, constants: dict[str, Array], taken: set[str], path: str) -> list[OnnxNode]:
    """Return a Slice for each result of a Split; its extents are checked where the slices are."""
    node = _read_node(proto, taken)
    if node.attrs.get("num_outputs", len(proto.output)) != len(proto.output):
        found = f"num_outputs {node.attrs['num_outputs']} and {len(proto.output)} outputs"
        raise ModelError(found, where=f"{path}: node {node.name} (Split)", remedy="check the export")
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
