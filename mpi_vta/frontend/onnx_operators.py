"""The ONNX operators that a model may have: one row each, from which everything that asks for a name is derived.

What an operator becomes stands in docs/models.md. An attribute that no rule reads is refused unless it has the
standard's default, so that nothing that changes a result is passed over in silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.frontend import lowering as to
from mpi_vta.frontend.growing_graph import Rule
from mpi_vta.frontend.onnx_net import OnnxNode
from mpi_vta.graph.activations import ACTIVATIONS, sigmoid
from mpi_vta.graph.tail import ARITHMETIC, FUNCTIONS

Array = NDArray[Any]

VTA, HOST = "VTA", "host"
INTEGERS, QOPERATOR = "gives integers", "brings its own integer arithmetic"


@dataclass(frozen=True)
class OnnxOperator:
    """One row.

    Attributes
    ----------
    lowered : callable or None
        Adds the nodes of our graph for one plain node; None where passes leave none of the operator.
    reads : tuple of str
        Attributes that the operator's rules read; they check the values.
    idle : tuple of str
        Attributes that change no result of a trained model.
    place : str
        ``VTA`` for what no host does; ``host`` for what the host does where no layer for VTA follows; empty for
        what goes with its operands, or becomes something else.
    computes : callable or None
        Of elementwise operators: the function of NumPy arrays.
    elementwise : bool
        Each element of the result is made of those of the operands in its place.
    keeps_grid : bool
        Results lie on the grid of the first operand's values.
    accumulates : bool
        VTA computes the result in its accumulator, and it may be negative.
    fuses : bool
        Quantisation fuses it into the layer before.
    takes_scale : bool
        A factor and an offset per channel behind it go into its weights.
    scales : bool
        With a constant: a factor or an offset per channel.
    reshapes : bool
        Only gives the elements other extents.
    arithmetic, function, reduction : str
        The host's rule for two operands, for one, along an axis (`mpi_vta.graph.tail`); empty for none.
    pools : bool
        Over rows and columns a pooling of VTA's.
    part : str
        How it is allowed between layers, where it is only a part of what VTA can do.
    folds : bool
        Computed at import where its operands are constants.
    listed : bool
        Whether a file may have it on what is computed from the input.
    refused : str
        Of known operators that are refused: the reason.
    """

    lowered: Rule | None = None
    reads: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    place: str = ""
    computes: Callable[..., Array] | None = None
    elementwise: bool = False
    keeps_grid: bool = False
    accumulates: bool = False
    fuses: bool = False
    takes_scale: bool = False
    scales: bool = False
    reshapes: bool = False
    arithmetic: str = ""
    function: str = ""
    reduction: str = ""
    pools: bool = False
    part: str = ""
    folds: bool = False
    listed: bool = True
    refused: str = ""


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _row(lowered: Rule | None, *reads: str, **more: Any) -> OnnxOperator:
    return OnnxOperator(lowered, reads, **more)


def _activation(kind: str, *reads: str, **more: Any) -> OnnxOperator:
    """Return the row of an operator that is one of `mpi_vta.graph.activations`."""
    return OnnxOperator(to.activation(kind), reads, **{"elementwise": True, "computes": ACTIVATIONS[kind], **more})


def _two(rule: str, lowered: Rule | None = None, **more: Any) -> OnnxOperator:
    """Return the row of arithmetic of two operands."""
    computes = ARITHMETIC[rule]
    return OnnxOperator(lowered, arithmetic=rule, computes=computes, elementwise=True, folds=True, **more)


def _function(rule: str, **more: Any) -> OnnxOperator:
    """Return the row of a function that is only a part of what VTA can do, but the host's own."""
    return OnnxOperator(function=rule, computes=FUNCTIONS[rule], elementwise=True, **more)


def _compares(compute: Callable[..., Array]) -> OnnxOperator:
    return OnnxOperator(computes=compute, elementwise=True, folds=True, part="as part of an activation")


def _reduces(rule: str, lowered: Rule | None = None, **more: Any) -> OnnxOperator:
    return OnnxOperator(lowered, ("axes", "keepdims", "noop_with_empty_axes"), reduction=rule, **more)


def _constants_only() -> OnnxOperator:
    return OnnxOperator(folds=True, listed=False)


def _refused(reason: str) -> OnnxOperator:
    return OnnxOperator(listed=False, refused=reason)


def _own(lowered: Rule, **more: Any) -> OnnxOperator:
    """Return the row of an operator that only our passes make."""
    return OnnxOperator(lowered, listed=False, **more)


_WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")
_MATRIX: dict[str, Any] = {"place": VTA, "accumulates": True}

OPERATORS: dict[str, OnnxOperator] = {
    "Conv": _row(to.conv, *_WINDOW, "group", **_MATRIX, takes_scale=True),
    "ConvTranspose": _row(
        to.conv_transpose, *_WINDOW, "group", "output_padding", "output_shape", **_MATRIX, takes_scale=True
    ),
    "Gemm": _row(to.dense, "alpha", "beta", "transA", "transB", **_MATRIX, takes_scale=True),
    "MatMul": _row(None, **_MATRIX),
    "BatchNormalization": _row(to.scale_shift, "epsilon", idle=("momentum", "is_test"), accumulates=True),
    "Add": _two("add", to.add, accumulates=True, fuses=True, scales=True),
    "Sub": _two("subtract", accumulates=True, scales=True),
    "Mul": _two("multiply", accumulates=True, scales=True),
    "Div": _two("divide", accumulates=True, scales=True),
    "Neg": _row(None, computes=np.negative, elementwise=True, scales=True, folds=True),
    "Relu": _row(to.elementwise("relu"), computes=lambda x: np.maximum(x, 0), elementwise=True, keeps_grid=True),
    "LeakyRelu": _row(to.leaky_relu, "alpha", elementwise=True, fuses=True),
    "PRelu": _row(None, elementwise=True, fuses=True),
    "Clip": _row(to.clip, "min", "max", elementwise=True, keeps_grid=True, fuses=True),
    "Min": _two("minimum", part="with one number, or of two tensors of one shape"),
    "Max": _two("maximum", part="with one number, or of two tensors of one shape"),
    "HardSwish": _activation("hard_swish", computes=None, fuses=True),
    "HardSigmoid": _activation("hard_sigmoid", "alpha", "beta", computes=None, fuses=True),
    "Sigmoid": _row(to.sigmoid, place=HOST, computes=sigmoid, elementwise=True, fuses=True),
    "Swish": _row(None, "alpha", elementwise=True),
    "Tanh": _activation("tanh", fuses=True),
    "Mish": _activation("mish", computes=None),
    "Softplus": _activation("softplus"),
    "Elu": _row(to.elu, "alpha", elementwise=True),
    "Softmax": _row(to.softmax, "axis", place=HOST),
    "MaxPool": _row(to.pool("max_pool2d"), *_WINDOW, "ceil_mode", "storage_order", place=VTA, keeps_grid=True),
    "AveragePool": _row(to.pool("avg_pool2d"), *_WINDOW, "ceil_mode", "count_include_pad", place=VTA),
    "GlobalAveragePool": _row(to.mean, place=VTA),
    "GlobalMaxPool": _row(None, place=VTA, keeps_grid=True),
    "ReduceMean": _reduces("mean", to.mean, pools=True),
    "Upsample": _row(None, "mode", "scales", place=VTA, keeps_grid=True),
    # the two that are idle belong to modes that are refused
    "Resize": _row(
        to.resize,
        "mode",
        "coordinate_transformation_mode",
        "nearest_mode",
        "axes",
        idle=("cubic_coeff_a", "extrapolation_value"),
        place=VTA,
        keeps_grid=True,
    ),
    "Concat": _row(to.concat, "axis", folds=True),
    "Slice": _row(to.cut, "axes", "starts", "ends", keeps_grid=True, folds=True),
    "Split": _row(None, "axis", "split", "num_outputs", folds=True),
    "Pad": _row(to.pad, "mode", "pads", "value", place=VTA),
    "Flatten": _row(None, "axis", reshapes=True, keeps_grid=True, folds=True),
    "Reshape": _row(to.reshape, "shape", "allowzero", place=HOST, reshapes=True, keeps_grid=True, folds=True),
    "Squeeze": _row(None, "axes", place=HOST, reshapes=True, folds=True),
    "Unsqueeze": _row(None, "axes", place=HOST, reshapes=True, folds=True),
    "Transpose": _row(to.transpose, "perm", place=HOST, folds=True),
    "Pow": _two("power", part="as part of GELU"),
    "Exp": _function("exp", part="as part of an activation"),
    "Log": _function("log", part="as part of softplus"),
    "Sqrt": _function("sqrt", part="of constants", folds=True),
    "Abs": _activation("abs", folds=True),
    "ReduceSum": _reduces("sum", pools=True),
    "ReduceMax": _reduces("max", pools=True),
    "ReduceMin": _reduces("min", part="behind the last layer"),
    "ReduceL2": _row(None, "axes", "keepdims", "noop_with_empty_axes", part="behind the last layer"),
    "LogSoftmax": _row(None, "axis", place=HOST, part="behind the last layer"),
    "Erf": _row(None, computes=_erf, elementwise=True, part="as part of GELU"),
    "Gelu": _activation(  # both forms are one activation
        "gelu", idle=("approximate",), computes=lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))
    ),
    "Selu": _activation("selu", "alpha", "gamma", computes=None),
    "Expand": _row(None, folds=True),
    "Tile": _row(None, folds=True),
    "Cast": _row(None, "to", idle=("saturate", "round_mode"), folds=True),
    "Sum": _row(None, folds=True),
    "DepthToSpace": _row(None, "blocksize", "mode"),
    "SpaceToDepth": _row(None, "blocksize", "mode"),
    "Gather": _row(None, "axis", folds=True),
    "Where": _row(None, computes=np.where, elementwise=True, folds=True, part="as part of an activation"),
    "Greater": _compares(np.greater),
    "Less": _compares(np.less),
    "GreaterOrEqual": _compares(np.greater_equal),
    "LessOrEqual": _compares(np.less_equal),
    "Identity": _row(None, folds=True),
    "Dropout": _row(None, idle=("ratio", "seed", "is_test")),
    # a scale per channel is refused where it matters; saturation is int8's own
    "QuantizeLinear": _row(None, "output_dtype", idle=("axis", "saturate"), folds=True),
    "DequantizeLinear": _row(None, "output_dtype", idle=("axis",), folds=True),
    # ---- shape arithmetic, and weights from integers
    **{
        op: _constants_only()
        for op in (
            *("Mod", "Floor", "Ceil", "Equal", "And", "Or", "Not", "ReduceProd", "Constant", "ConstantOfShape"),
            *("Range", "ScatterND", "Shape", "Size"),
        )
    },
    # ---- made by our own passes
    "Silu": _own(to.activation("silu")),
    "QuickGelu": _own(to.activation("quick_gelu")),
    "Unflatten": _own(to.elementwise("unflatten")),
    "HostArithmetic": _own(to.arithmetic, place=HOST),
    "HostFunction": _own(to.hosted("function"), place=HOST),
    "HostReduce": _own(to.hosted("reduce"), place=HOST),
    # ---- known, and refused
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK", "NonMaxSuppression"), _refused(INTEGERS)),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"), _refused(QOPERATOR)),
}


def row(node: OnnxNode) -> OnnxOperator:
    """Return the row of a node's operator."""
    return OPERATORS[node.op]


def supported() -> tuple[str, ...]:
    """Return the operators that a file may have on what is computed from its input."""
    return tuple(op for op, entry in OPERATORS.items() if entry.listed)
