"""Quantised ONNX in QOperator format, written out as QDQ: each operator on integers as one on floats between pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpi_vta.errors import ModelError


@dataclass(frozen=True)
class _QOperator:
    """Where the operands of an operator on integers stand.

    Attributes
    ----------
    op : str
        The operator on floats.
    operands : tuple of int
        Places of the tensors, each with scale and zero point behind it.
    result : int
        Place of the result's scale, with its zero point behind it.
    weight, bias : int
        Places of constants; -1 for none.
    drops : tuple of str
        Attributes that say nothing here.
    """

    op: str
    operands: tuple[int, ...]
    result: int
    weight: int = -1
    bias: int = -1
    drops: tuple[str, ...] = ()


_OPERATORS: Mapping[str, _QOperator] = {
    "QLinearConv": _QOperator("Conv", (0,), 6, weight=3, bias=8),
    "QLinearMatMul": _QOperator("MatMul", (0,), 6, weight=3),
    "QGemm": _QOperator("Gemm", (0,), 7, weight=3, bias=6),
    "QLinearAdd": _QOperator("Add", (0, 3), 6),
    "QLinearMul": _QOperator("Mul", (0, 3), 6),
    "QLinearSigmoid": _QOperator("Sigmoid", (0,), 3),
    "QLinearLeakyRelu": _QOperator("LeakyRelu", (0,), 3),
    "QLinearSoftmax": _QOperator("Softmax", (0,), 3, drops=("opset",)),
    "QLinearAveragePool": _QOperator("AveragePool", (0,), 3),
    "QLinearGlobalAveragePool": _QOperator("GlobalAveragePool", (0,), 3),
    "QLinearConcat": _QOperator("Concat", (), 0),
}


def as_qdq(model: Any, path: str) -> Any:
    """Return a model without operators on integers; the same model if it has none.

    Parameters
    ----------
    model : onnx.ModelProto
        Left as it is.
    path : str
        Named in messages.

    Raises
    ------
    ModelError
        For channels behind rows and columns, too few operands, or padding with another value than 0.
    """
    from onnx import ModelProto

    if not any(node.op_type in _OPERATORS for node in model.graph.node):
        return model
    writing = _Writing(path)
    for node in model.graph.node:
        writing.add(node)
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    del copy.graph.value_info[:]
    copy.graph.node.extend(writing.nodes)
    return copy


class _Writing:
    """The nodes as they are written; `_real[t]` is the tensor of floats that the integers of `t` mean."""

    def __init__(self, path: str) -> None:
        self.nodes: list[Any] = []
        self._path = path
        self._real: dict[str, str] = {}
        self._zero: dict[str, str] = {}

    def add(self, node: Any) -> None:
        """Write one node of the file."""
        if node.op_type in _OPERATORS:
            self._operator(node, _OPERATORS[node.op_type])
        elif node.op_type == "QuantizeLinear":
            self._append(node)
            self._pair(node.output[0], list(node.input[1:]), node.name or node.output[0])
        elif node.op_type == "DequantizeLinear" and node.input[0] in self._real:
            self._make("Identity", [self._real[node.input[0]]], node.output[0], node.name or node.output[0])
        elif any(name in self._real for name in node.input):
            self._through(node)
        else:
            self._append(node)

    def _append(self, node: Any) -> None:
        self.nodes.append(node)

    def _make(self, op: str, inputs: list[str], output: str, name: str, **attrs: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attrs))

    def _pair(self, integers: str, grid: list[str], name: str) -> None:
        real = f"{integers} real"
        self._make("DequantizeLinear", [integers, *grid], real, f"{name}.dequantize")
        self._real[integers] = real
        self._zero[integers] = grid[1] if len(grid) > 1 else ""

    def _through(self, node: Any) -> None:
        """Write what moves integers about, on floats."""
        inputs = list(node.input)
        if node.op_type == "Pad" and len(inputs) > 2 and inputs[2]:
            if inputs[2] != self._zero.get(inputs[0]):
                where = f"{self._path}: node {node.name or node.output[0]} (Pad)"
                raise ModelError("padding of integers", where=where, allowed="with their zero point")
            inputs[2] = ""
        copy = type(node)()
        copy.CopyFrom(node)
        del copy.input[:]
        copy.input.extend(self._real.get(name, name) for name in inputs)
        copy.output[0] = f"{node.output[0]} real"
        self._real[node.output[0]] = copy.output[0]
        self._zero[node.output[0]] = self._zero.get(node.input[0], "")
        self.nodes.append(copy)

    def _operator(self, node: Any, row: _QOperator) -> None:
        from onnx import helper

        name, given = node.name or node.output[0], list(node.input)
        where = f"{self._path}: node {name} ({node.op_type})"
        attrs = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if attrs.pop("channels_last", 0):
            raise ModelError("channels_last 1", where=where, allowed="0")
        places = row.operands or range(2, len(given), 3)
        if len(given) < max(row.result + 2, *(place + 3 for place in places)):
            raise ModelError(f"{len(given)} inputs", where=where, remedy="check the export")
        inputs = [self._real_of(given, place, name) for place in places]
        if row.weight >= 0:
            # a scale per output: the first axis of a convolution, the columns of a matrix unless it is transposed
            axis = 0 if row.op == "Conv" or attrs.get("transB", 0) else 1
            inputs.append(f"{name} weight real")
            quantized = given[row.weight : row.weight + 3]
            self._make("DequantizeLinear", quantized, inputs[-1], f"{name}.weight", axis=axis)
        if row.bias >= 0 and len(given) > row.bias and given[row.bias]:
            scale, bias = f"{name} bias scale", f"{name} bias real"
            self._make("Mul", [given[1], given[row.weight + 1]], scale, f"{name}.scale")
            self._make("DequantizeLinear", [given[row.bias], scale], bias, f"{name}.bias", axis=0)
            inputs.append(bias)
        plain = {key: value for key, value in attrs.items() if key not in row.drops}
        result, grid = f"{node.output[0]} float", given[row.result : row.result + 2]
        self._make(row.op, inputs, result, name, **plain)
        self._make("QuantizeLinear", [result, *grid], node.output[0], f"{name}.quantize")
        self._pair(node.output[0], grid, name)

    def _real_of(self, given: list[str], place: int, name: str) -> str:
        """Return the floats of an operand; a constant gets a node of its own."""
        if given[place] not in self._real:
            real = f"{given[place]} real for {name}"
            self._make("DequantizeLinear", given[place : place + 3], real, f"{name}.operand{place}")
            return real
        return self._real[given[place]]
