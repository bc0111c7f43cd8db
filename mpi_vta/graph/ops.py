"""The operators of the two graph dialects, one table: what each reads and makes, where it runs, what becomes of it.

A *float* graph is what the front end delivers. An *int8* graph is what quantisation delivers and what
code generation takes; its operators have one exact integer meaning, given here, defined in
`mpi_vta.graph.definitions` and executed by `mpi_vta.graph.reference`. In the formulas all arithmetic is int32 with
wrap-around, ``>>`` is the arithmetic shift, and ``requantize(a) = clip((a + (1 << shift >> 1)) >> shift, lo, hi)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpi_vta.errors import GraphError
from mpi_vta.graph import shapes
from mpi_vta.graph.float_ops import FLOAT_OPS
from mpi_vta.graph.int8_ops import CHANNEL_SHIFT_MAX, INT8_OPS, SHIFTED_RESIDUAL_SHIFT_MAX
from mpi_vta.graph.op_spec import HOST, VTA, OpSpec

__all__ = [
    "CHANNEL_SHIFT_MAX",
    "DIALECTS",
    "FLOAT_OPS",
    "HOST",
    "INT8_OPS",
    "SHIFTED_RESIDUAL_SHIFT_MAX",
    "VTA",
    "OpSpec",
    "infer_shape",
]

DIALECTS: Mapping[str, Mapping[str, OpSpec]] = {"float32": FLOAT_OPS, "int8": INT8_OPS}


def infer_shape(
    dialect: str,
    op: str,
    inputs: tuple[shapes.Shape, ...],
    attrs: Mapping[str, Any],
    params: Mapping[str, shapes.Shape],
    where: str = "",
) -> shapes.Shape:
    """Return the shape of an operator's result.

    Parameters
    ----------
    dialect, op : str
        Operator of a dialect; its attributes are present and of the right type.
    inputs : tuple of shape
        Shapes of the value inputs, (1, C, H, W) or (1, C).
    attrs : mapping
        The node's attributes.
    params : mapping of str to shape
        Shapes of the constants by role.
    where : str
        Name of the node, for the message.

    Raises
    ------
    GraphError
        If the inputs do not fit the operator or each other.
    """
    row = DIALECTS[dialect].get(op)
    if row is None:
        raise GraphError(f"no shape rule for operator {op!r}", where=where)
    return row.shape(inputs, attrs, params, where)
