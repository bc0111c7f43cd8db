"""What a node of a file must be before any pass sees it: known, complete, every attribute of it read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_operators import INTEGERS, OPERATORS, QOPERATOR, supported

# of operator set 1: where results may be written; and how operands without an axis broadcast, as they do today
_NEVER_MATTER = ("consumed_inputs", "broadcast")
_TRAINED = "export the model in evaluation mode (model.eval())"
_REMEDIES = {("BatchNormalization", "training_mode"): _TRAINED}


def check_node(proto: Any, opset: int, path: str, constants: Mapping[str, Any]) -> None:
    """Refuse a node of another operator, with another number of operands, or with attributes that no rule reads.

    Parameters
    ----------
    proto : onnx.NodeProto
    opset : int
        Version of the operator set that the file states.
    path : str
        Named in messages.
    constants : mapping of str to ndarray
        What is known of its operands.

    Raises
    ------
    ModelError
        Naming the node, and what is supported.
    """
    where = f"{path}: node {proto.name or proto.output[0]}"
    row = OPERATORS.get(proto.op_type)
    if row is not None and row.listed and proto.domain in ("", "ai.onnx"):
        _check_arity(proto, opset, where)
        _check_attributes(proto, opset, f"{where} ({proto.op_type})")
        _check_trained(proto, constants, f"{where} ({proto.op_type})")
        return
    operator = f"{proto.domain}.{proto.op_type}" if proto.domain else proto.op_type
    reason = "" if row is None else row.refused
    if proto.op_type.startswith("QLinear") or reason == QOPERATOR:
        raise ModelError(
            f"operator {operator} computes on integers in its own way",
            where=where,
            allowed="float models, and quantised ones in QDQ format",
            remedy="quantise with quant_format=QuantFormat.QDQ",
        )
    if reason == INTEGERS:
        raise ModelError(
            f"operator {operator} gives integers",
            where=where,
            allowed="outputs in float32",
            remedy="end the model before it and apply it to the outputs",
        )
    raise ModelError(f"operator {operator} is not supported", where=where, allowed=", ".join(supported()))


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


def _check_attributes(proto: Any, opset: int, where: str) -> None:
    """Refuse an attribute that no rule reads, unless its value is the standard's default."""
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


def _check_trained(proto: Any, constants: Mapping[str, Any], where: str) -> None:
    """Refuse what only training does: statistics of the batch, and values dropped at random."""
    outputs = [name for name in proto.output if name]
    if proto.op_type == "BatchNormalization" and len(outputs) > 1:
        raise ModelError(f"{len(outputs)} outputs, as in training", where=where, allowed="1", remedy=_TRAINED)
    if proto.op_type == "Dropout" and len(proto.input) > 2 and proto.input[2]:
        training = constants.get(proto.input[2])
        if training is None or training.any():
            raise ModelError("drops values at random", where=where, allowed="training_mode false", remedy=_TRAINED)


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
