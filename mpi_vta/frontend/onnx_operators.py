"""The ONNX operators that a model may have: one row each, from which every list of them is derived.

What an operator becomes stands in docs/models.md. An attribute that no rule reads is refused unless it has the
standard's default, so that nothing that changes a result is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mpi_vta.errors import ModelError

# of operator set 1: where results may be written; and how operands without an axis broadcast, as they do today
_NEVER_MATTER = ("consumed_inputs", "broadcast")


@dataclass(frozen=True)
class OnnxOperator:
    """One row.

    Attributes
    ----------
    reads : tuple of str
        Attributes that the operator's rules read; they check the values.
    idle : tuple of str
        Attributes that change no result of a trained model.
    """

    reads: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()


_WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")
_PLAIN, _ONE_AXIS = OnnxOperator(), OnnxOperator(("axis",))
_REDUCTION = OnnxOperator(("axes", "keepdims", "noop_with_empty_axes"))
_AXES = OnnxOperator(("axes",))

OPERATORS: Mapping[str, OnnxOperator] = {
    "Conv": OnnxOperator((*_WINDOW, "group")),
    "ConvTranspose": OnnxOperator((*_WINDOW, "group", "output_padding", "output_shape")),
    "Gemm": OnnxOperator(("alpha", "beta", "transA", "transB")),
    "MatMul": _PLAIN,
    "BatchNormalization": OnnxOperator(("epsilon",), ("momentum", "is_test")),
    "Add": _PLAIN,
    "Sub": _PLAIN,
    "Mul": _PLAIN,
    "Div": _PLAIN,
    "Neg": _PLAIN,
    "Relu": _PLAIN,
    "LeakyRelu": OnnxOperator(("alpha",)),
    "PRelu": _PLAIN,
    "Clip": OnnxOperator(("min", "max")),
    "Min": _PLAIN,
    "Max": _PLAIN,
    "HardSwish": _PLAIN,
    "HardSigmoid": OnnxOperator(("alpha", "beta")),
    "Sigmoid": _PLAIN,
    "Swish": OnnxOperator(("alpha",)),
    "Tanh": _PLAIN,
    "Mish": _PLAIN,
    "Softplus": _PLAIN,
    "Elu": OnnxOperator(("alpha",)),
    "Softmax": _ONE_AXIS,
    "MaxPool": OnnxOperator((*_WINDOW, "ceil_mode", "storage_order")),
    "AveragePool": OnnxOperator((*_WINDOW, "ceil_mode", "count_include_pad")),
    "GlobalAveragePool": _PLAIN,
    "GlobalMaxPool": _PLAIN,
    "ReduceMean": _REDUCTION,
    "Upsample": OnnxOperator(("mode", "scales")),
    # the two that are idle belong to modes that are refused
    "Resize": OnnxOperator(
        ("mode", "coordinate_transformation_mode", "nearest_mode"), ("cubic_coeff_a", "extrapolation_value")
    ),
    "Concat": _ONE_AXIS,
    "Slice": OnnxOperator(("axes", "starts", "ends")),
    "Split": OnnxOperator(("axis", "split", "num_outputs")),
    "Pad": OnnxOperator(("mode", "pads", "value")),
    "Flatten": _ONE_AXIS,
    "Reshape": OnnxOperator(("shape", "allowzero")),
    "Squeeze": _AXES,
    "Unsqueeze": _AXES,
    "Transpose": OnnxOperator(("perm",)),
    "Pow": _PLAIN,
    "Exp": _PLAIN,
    "Log": _PLAIN,
    "Sqrt": _PLAIN,
    "Abs": _PLAIN,
    "ReduceSum": _REDUCTION,
    "ReduceMax": _REDUCTION,
    "ReduceMin": _REDUCTION,
    "ReduceL2": _REDUCTION,
    "LogSoftmax": _ONE_AXIS,
    "Erf": _PLAIN,
    "Gelu": OnnxOperator((), ("approximate",)),  # both forms are one activation
    "Selu": OnnxOperator(("alpha", "gamma")),
    "Expand": _PLAIN,
    "DepthToSpace": OnnxOperator(("blocksize", "mode")),
    "SpaceToDepth": OnnxOperator(("blocksize", "mode")),
    "Gather": _ONE_AXIS,
    "Where": _PLAIN,
    "Greater": _PLAIN,
    "Less": _PLAIN,
    "GreaterOrEqual": _PLAIN,
    "LessOrEqual": _PLAIN,
    "Identity": _PLAIN,
    "Dropout": OnnxOperator((), ("ratio", "seed", "is_test")),
    # a scale per channel is refused where it matters; saturation is int8's own
    "QuantizeLinear": OnnxOperator(("output_dtype",), ("axis", "saturate")),
    "DequantizeLinear": OnnxOperator(("output_dtype",), ("axis",)),
}


def check_attributes(proto: Any, opset: int, where: str) -> None:
    """Refuse an attribute that no rule reads, unless its value is the standard's default.

    Parameters
    ----------
    proto : onnx.NodeProto
        Of an operator in the table.
    opset : int
        Version of the operator set that the file states.
    where : str
        Name of the node, for the message.

    Raises
    ------
    ModelError
        Naming the attribute, its value and the default.
    """
    from onnx import defs, helper

    row = OPERATORS[proto.op_type]
    known = (*row.reads, *row.idle, *_NEVER_MATTER)
    has_schema = defs.has(proto.op_type, opset, "")
    schema = defs.get_schema(proto.op_type, opset, "").attributes if has_schema else {}
    for attribute in proto.attribute:
        if attribute.name in known:
            continue
        given = _plain(helper.get_attribute_value(attribute))
        entry = schema.get(attribute.name)
        default = entry.default_value if entry is not None else None
        usual = _plain(helper.get_attribute_value(default)) if default is not None and default.type else None
        if usual is None or given != usual:
            raise ModelError(
                f"attribute {attribute.name} = {given}",
                where=where,
                allowed="its absence" if usual is None else str(usual),
                remedy=_REMEDIES.get((proto.op_type, attribute.name), "export the model without it"),
            )


_TRAINED = "export the model in evaluation mode (model.eval())"
_REMEDIES = {("BatchNormalization", "training_mode"): _TRAINED}


def check_trained(proto: Any, constants: Mapping[str, Any], where: str) -> None:
    """Refuse what only training does: statistics of the batch, and values dropped at random.

    Raises
    ------
    ModelError
        If a batch normalisation gives new statistics, or a dropout says that it is training.
    """
    outputs = [name for name in proto.output if name]
    if proto.op_type == "BatchNormalization" and len(outputs) > 1:
        raise ModelError(f"{len(outputs)} outputs, as in training", where=where, allowed="1", remedy=_TRAINED)
    if proto.op_type == "Dropout" and len(proto.input) > 2 and proto.input[2]:
        training = constants.get(proto.input[2])
        if training is None or training.any():
            raise ModelError("drops values at random", where=where, allowed="training_mode false", remedy=_TRAINED)


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
