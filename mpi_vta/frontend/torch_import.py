"""PyTorch exported programs to our float graph: through TVM's importer, then the way of ONNX models."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_import import Imported, import_normalized
from mpi_vta.frontend.onnx_net import OnnxNet, OnnxNode
from mpi_vta.frontend.onnx_passes import normalize
from mpi_vta.frontend.torch_archive import plain_archive

Array = NDArray[Any]

OPSET = 17


def import_exported(path: Path) -> Imported:
    """Import a ``.pt2`` file that ``torch.export.save`` has written.

    Raises
    ------
    ModelError
        If PyTorch is not installed, the file holds what would have to be executed
        (`mpi_vta.frontend.torch_archive`), or something that our graph lacks.
    """
    if importlib.util.find_spec("torch") is None:
        raise ModelError("needs PyTorch", where=str(path), remedy="pip install 'torch>=2.8'")
    archive = plain_archive(path)
    import torch

    try:
        program = torch.export.load(archive)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, AssertionError, IndexError) as fault:
        lines = str(fault).strip().splitlines() or [type(fault).__name__]
        raise ModelError(f"PyTorch cannot read it: {lines[0]}", where=str(path), remedy="check the export") from fault
    return import_program(program, path.stem, str(path))


def import_program(program: Any, name: str, path: str = "exported program") -> Imported:
    """Import a ``torch.export.ExportedProgram`` of one image input of shape (1, C, H, W).

    Parameters
    ----------
    program : torch.export.ExportedProgram
        Exported in evaluation mode, with fixed extents.
    name, path : str
        Name for the graph, and for messages.

    Raises
    ------
    ModelError
        If an operator is not supported, naming it.
    """
    from tvm.error import InternalError
    from tvm.relax.frontend.torch import from_exported_program

    try:
        module = from_exported_program(program, keep_params_as_input=True)
    except (InternalError, AssertionError, RuntimeError, ValueError, TypeError, KeyError, NotImplementedError) as fault:
        lines = str(fault).strip().splitlines() or [type(fault).__name__]
        raise ModelError(
            f"the program cannot be imported: {lines[-1]}", where=path, remedy="export the model to ONNX instead"
        ) from fault
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return import_normalized(normalize(_Translation(module, name, path, names).net()))


class _Translation:
    """Turns the calls of a Relax function into ONNX nodes; what is computed from constants is computed here."""

    def __init__(self, module: Any, name: str, path: str, names: Mapping[str, str]) -> None:
        self._function, self._name, self._path = module["main"], name, path
        self._tensors: dict[Any, str] = {}
        self._tuples: dict[Any, list[Any]] = {}
        self._constants: dict[str, Array] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._nodes: list[OnnxNode] = []
        self._taken: dict[str, int] = {}
        count = int(self._function.attrs["num_input"])
        images, parameters = list(self._function.params[:count]), self._function.params[count:]
        if len(images) != 1:
            raise ModelError(f"the model has {len(images)} inputs", where=path, allowed="one image input")
        self._input = self._checked_input(images[0])
        arrays = self._function.attrs.get("params", [])
        for variable, array in zip(parameters, arrays, strict=True):
            known = names.get(variable.name, variable.name)
            self._tensors[variable] = known
            self._constants[known] = np.array(array.numpy())

    def _checked_input(self, variable: Any) -> str:
        where = f"{self._path}: input {variable.name}"
        try:
            shape = shape_of(variable)
        except (TypeError, ValueError) as fault:
            raise ModelError("dynamic shape", where=where, allowed="fixed extents") from fault
        if len(shape) != 4 or shape[0] != 1 or str(variable.ty.dtype) != "float32":
            raise ModelError(f"{variable.ty.dtype} {shape}", where=where, allowed="float32 (1, C, H, W)")
        self._tensors[variable] = variable.name
        self._shapes[variable.name] = shape
        return str(variable.name)

    def net(self) -> OnnxNet:
        """Return the program as an `OnnxNet`."""
        from tvm import relax

        (block,) = self._function.body.blocks
        for binding in block.bindings:
            self._bind(binding.var, binding.value)
        result = self._function.body.body
        fields = self._tuples.get(result, [result]) if not isinstance(result, relax.Tuple) else list(result.fields)
        outputs = tuple(self._tensor(field) for field in fields)
        listed = tuple((node.name, node.op) for node in self._nodes)
        return OnnxNet(
            self._name,
            self._path,
            OPSET,
            self._input,
            self._shapes[self._input],
            outputs,
            tuple(self._nodes),
            self._constants,
            self._shapes,
            listed,
        )

    def _bind(self, variable: Any, value: Any) -> None:
        from tvm import relax
        from tvm.ir import GenericConst

        if isinstance(value, relax.Tuple):
            self._tuples[variable] = list(value.fields)
        elif isinstance(value, relax.TupleGetItem):
            self._tensors[variable] = self._tensor(self._tuples[value.tuple_value][value.index])
        elif isinstance(value, relax.Var | GenericConst):
            self._alias(variable, value)
        else:
            self._call(variable, value)

    def _alias(self, variable: Any, value: Any) -> None:
        if value in self._tuples:
            self._tuples[variable] = self._tuples[value]
        else:
            self._tensors[variable] = self._tensor(value)

    def _tensor(self, value: Any) -> str:
        """Return the name of a tensor; a constant in the program gets one."""
        from tvm.ir import GenericConst

        if isinstance(value, str):  # a part of a split
            return value
        if value in self._tensors:
            return self._tensors[value]
        if isinstance(value, GenericConst):
            name = f"constant {len(self._constants)}"
            self._constants[name] = np.array(value.value.numpy())
            return name
        raise ModelError("a value that is no tensor", where=self._path, remedy="check the export")

    def _call(self, variable: Any, call: Any) -> None:
        operator = str(call.op.name) if hasattr(call, "op") and hasattr(call.op, "name") else type(call).__name__
        if operator == "relax.zeros_like":  # the indices of a pooling, which nothing reads
            self._tensors[variable] = f"constant {len(self._constants)}"
            self._constants[self._tensors[variable]] = np.zeros(shape_of(call), np.float32)
            return
        rule = _RULES.get(operator)
        short = operator.removeprefix("relax.").removeprefix("nn.")
        if rule is None:
            raise ModelError(
                f"operator {short} is not supported", where=self._path, allowed=", ".join(_shorts()),
                remedy="or export the model to ONNX",
            )  # fmt: skip
        if operator == "relax.split":
            self._split(variable, call)
            return
        try:
            op, attrs = rule(call)
        except ModelError as fault:
            raise ModelError(fault.what, where=self._path, allowed=fault.allowed, remedy=fault.remedy) from fault
        inputs = tuple(self._tensor(argument) for argument in _arguments(call))
        if all(name in self._constants for name in inputs):
            self._constants[self._constant_name(variable, inputs)] = self._computed(op, inputs, call)
            return
        name = self._node_name(op, inputs, short)
        output = f"{name} result"
        self._nodes.append(OnnxNode(name, op, inputs, output, attrs))
        if op == "BatchNormalization":
            self._tuples[variable] = [variable]
            self._shapes[output] = self._shapes[inputs[0]]
        else:
            self._shapes[output] = shape_of(call)
        self._tensors[variable] = output

    def _split(self, variable: Any, call: Any) -> None:
        """Add a Slice for each part."""
        source, axis = self._tensor(call.args[0]), int(call.attrs.axis)
        extent, sections = shape_of(call.args[0])[axis], call.attrs.indices_or_sections
        parts = int(sections) if isinstance(sections, int) or hasattr(sections, "value") else 0
        ends = [-(-extent // parts) * (i + 1) for i in range(parts)] if parts else [*_ints(sections), extent]
        name, start, outputs = self._node_name("Slice", (source,), "split"), 0, []
        for index, end in enumerate(min(end, extent) for end in ends):
            part, output = f"{name}.{index}" if index else name, f"{name} result {index}"
            attrs = {"axes": [axis], "starts": [start], "ends": [end]}
            self._nodes.append(OnnxNode(part, "Slice", (source,), output, attrs))
            shape = list(shape_of(call.args[0]))
            shape[axis] = end - start
            self._shapes[output], start = tuple(shape), end
            outputs.append(output)
        self._tuples[variable] = outputs

    def _constant_name(self, variable: Any, inputs: tuple[str, ...]) -> str:
        """Name a reshaped or transposed parameter after it."""
        name = f"{inputs[0]} {variable.name}"
        self._tensors[variable] = name
        return name

    def _computed(self, op: str, inputs: tuple[str, ...], call: Any) -> Array:
        value = self._constants[inputs[0]]
        if op == "Reshape":
            return value.reshape(shape_of(call))
        if op == "Transpose":
            return np.ascontiguousarray(value.transpose([int(axis) for axis in call.attrs.axes]))
        raise ModelError(f"{op} of constants", where=self._path, remedy="fold constants before exporting")

    def _node_name(self, op: str, inputs: tuple[str, ...], short: str) -> str:
        """Return the module of the weight (``layer1.0.conv1``), else the operator, made unique."""
        base = short
        if op in ("Conv", "ConvTranspose", "MatMul", "BatchNormalization"):
            base = inputs[1].split(" ")[0].removesuffix(".weight") or short
        count = self._taken[base] = self._taken.get(base, 0) + 1
        return base if count == 1 else f"{base}.{count}"


Rule = Callable[[Any], tuple[str, dict[str, Any]]]


def shape_of(expr: Any) -> tuple[int, ...]:
    """Return the static shape of a Relax expression."""
    return tuple(int(extent) for extent in expr.ty.shape)


def _arguments(call: Any) -> list[Any]:
    from tvm import relax

    if call.args and isinstance(call.args[0], relax.Tuple):
        return list(call.args[0].fields)
    return [argument for argument in call.args if isinstance(argument.ty, relax.TensorType)]


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def _number(expression: Any) -> float:
    return float(expression.value if hasattr(expression, "value") else expression)


def _plain(op: str) -> Rule:
    return lambda call: (op, {})


def _conv(call: Any) -> tuple[str, dict[str, Any]]:
    attrs = call.attrs
    return "Conv", {
        "strides": _ints(attrs.strides),
        "pads": _ints(attrs.padding),
        "dilations": _ints(attrs.dilation),
        "group": int(attrs.groups),
    }


def _conv_transpose(call: Any) -> tuple[str, dict[str, Any]]:
    return "ConvTranspose", {**_conv(call)[1], "output_padding": _ints(call.attrs.output_padding)}


def _pool(op: str) -> Rule:
    def rule(call: Any) -> tuple[str, dict[str, Any]]:
        attrs = {
            "kernel_shape": _ints(call.attrs.pool_size),
            "strides": _ints(call.attrs.strides),
            "pads": _ints(call.attrs.padding),
            "dilations": _ints(call.attrs.dilation),
            "ceil_mode": int(call.attrs.ceil_mode),
        }
        if op == "AveragePool":
            attrs["count_include_pad"] = int(call.attrs.count_include_pad)
        return op, attrs

    return rule


def _adaptive_pool(call: Any) -> tuple[str, dict[str, Any]]:
    before, after = shape_of(call.args[0])[2:], shape_of(call)[2:]
    if after == (1, 1):
        return "GlobalAveragePool", {}
    if any(n % m for n, m in zip(before, after, strict=True)):
        raise ModelError(
            f"adaptive pooling of {before} to {after}", allowed="whole windows", remedy="use an input that they divide"
        )
    kernel = [n // m for n, m in zip(before, after, strict=True)]
    return "AveragePool", {"kernel_shape": kernel, "strides": kernel}


def _reduction(op: str) -> Rule:
    return lambda call: (op, {"axes": _ints(call.attrs.axis or []), "keepdims": int(call.attrs.keepdims)})


def _clip(call: Any) -> tuple[str, dict[str, Any]]:
    return "Clip", {"min": _number(call.args[1]), "max": _number(call.args[2])}


def _slice(call: Any) -> tuple[str, dict[str, Any]]:
    axes, starts, ends = (_ints(call.args[index].fields) for index in (1, 2, 3))
    steps = _ints(call.args[4].fields) if len(call.args) > 4 else [1] * len(axes)
    return "Slice", {"axes": axes, "starts": starts, "ends": ends, "steps": steps}


def _resize(call: Any) -> tuple[str, dict[str, Any]]:
    attrs = call.attrs
    method = "nearest" if str(attrs.method).startswith("nearest") else str(attrs.method)
    rounding = {"": "floor", "round": "round_prefer_floor"}.get(str(attrs.rounding_method), str(attrs.rounding_method))
    return "Resize", {
        "mode": method,
        "sizes": list(shape_of(call)),
        "coordinate_transformation_mode": str(attrs.coordinate_transformation_mode),
        "nearest_mode": rounding,
    }


def _pad(call: Any) -> tuple[str, dict[str, Any]]:
    pairs = _ints(call.attrs.pad_width)
    value = float(call.attrs.pad_value) if hasattr(call.attrs, "pad_value") else 0.0
    return "Pad", {"pads": pairs[::2] + pairs[1::2], "mode": str(call.attrs.pad_mode), "value": value}


_RULES: Mapping[str, Rule] = {
    "relax.nn.conv2d": _conv,
    "relax.nn.conv2d_transpose": _conv_transpose,
    "relax.nn.batch_norm": lambda call: ("BatchNormalization", {"epsilon": float(call.attrs.epsilon)}),
    "relax.matmul": _plain("MatMul"),
    "relax.add": _plain("Add"),
    "relax.subtract": _plain("Sub"),
    "relax.multiply": _plain("Mul"),
    "relax.divide": _plain("Div"),
    "relax.negative": _plain("Neg"),
    "relax.minimum": _plain("Min"),
    "relax.maximum": _plain("Max"),
    "relax.nn.relu": _plain("Relu"),
    "relax.nn.gelu": _plain("Gelu"),
    "relax.nn.gelu_tanh": _plain("Gelu"),
    "relax.erf": _plain("Erf"),
    "relax.exp": _plain("Exp"),
    "relax.log": _plain("Log"),
    "relax.sqrt": _plain("Sqrt"),
    "relax.abs": _plain("Abs"),
    "relax.power": _plain("Pow"),
    "relax.where": _plain("Where"),
    "relax.greater": _plain("Greater"),
    "relax.less": _plain("Less"),
    "relax.greater_equal": _plain("GreaterOrEqual"),
    "relax.less_equal": _plain("LessOrEqual"),
    "relax.broadcast_to": _plain("Expand"),
    "relax.nn.leakyrelu": lambda call: ("LeakyRelu", {"alpha": float(call.attrs.alpha)}),
    "relax.clip": _clip,
    "relax.sigmoid": _plain("Sigmoid"),
    "relax.tanh": _plain("Tanh"),
    "relax.nn.silu": _plain("Swish"),
    "relax.nn.softplus": _plain("Softplus"),
    "relax.nn.softmax": lambda call: ("Softmax", {"axis": int(call.attrs.axis)}),
    "relax.nn.max_pool2d": _pool("MaxPool"),
    "relax.nn.avg_pool2d": _pool("AveragePool"),
    "relax.nn.adaptive_avg_pool2d": _adaptive_pool,
    "relax.mean": _reduction("ReduceMean"),
    "relax.sum": _reduction("ReduceSum"),
    "relax.max": _reduction("ReduceMax"),
    "relax.min": _reduction("ReduceMin"),
    "relax.nn.log_softmax": lambda call: ("LogSoftmax", {"axis": int(call.attrs.axis)}),
    "relax.split": _plain("Slice"),
    "relax.concat": lambda call: ("Concat", {"axis": int(call.attrs.axis)}),
    "relax.strided_slice": _slice,
    "relax.reshape": _plain("Reshape"),
    "relax.flatten": _plain("Flatten"),
    "relax.squeeze": _plain("Squeeze"),
    "relax.expand_dims": _plain("Unsqueeze"),
    "relax.permute_dims": lambda call: ("Transpose", {"perm": _ints(call.attrs.axes)}),
    "relax.image.resize2d": _resize,
    "relax.nn.pad": _pad,
}


def _shorts() -> list[str]:
    return [name.removeprefix("relax.").removeprefix("nn.") for name in _RULES]
