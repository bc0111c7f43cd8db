"""The plain nodes that TVM's importer does not know, or would hide in loops, as Relax."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpi_vta.frontend.onnx_net import OnnxNode


def _clip(node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    return relax.op.clip(inputs[0], node.attrs["min"], node.attrs["max"])


def _scale_shift(_node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    rank = len(inputs[0].ty.shape)
    scale, offset = (
        relax.const(np.array(entry.value.numpy()).reshape(1, -1, *(1,) * (rank - 2)), "float32")
        for entry in inputs[1:3]
    )
    return relax.op.add(relax.op.multiply(inputs[0], scale), offset)


def _hard_sigmoid(_node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    sixth, half = relax.const(1 / 6, "float32"), relax.const(0.5, "float32")
    return relax.op.clip(relax.op.add(relax.op.multiply(inputs[0], sixth), half), 0, 1)


def _hard_swish(node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    return relax.op.multiply(inputs[0], _hard_sigmoid(node, inputs))


def _silu(_node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    return relax.op.nn.silu(inputs[0])


def _mish(_node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    return relax.op.multiply(inputs[0], relax.op.tanh(relax.op.nn.softplus(inputs[0])))


def _elu(_node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    x, zero, one = inputs[0], relax.const(0.0, "float32"), relax.const(1.0, "float32")
    below = relax.op.subtract(relax.op.exp(relax.op.minimum(x, zero)), one)
    return relax.op.add(relax.op.nn.relu(x), below)


def _unchanged(_node: OnnxNode, inputs: Any) -> Any:
    """Stand for an elementwise function: only the shape counts here."""
    from tvm import relax

    return relax.op.abs(inputs[0])


def _conv_transpose(node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    result = relax.op.nn.conv2d_transpose(
        inputs[0], inputs[1], strides=node.attrs["strides"], padding=node.attrs["pads"],
        output_padding=node.attrs["output_padding"], dilation=node.attrs["dilations"], groups=node.attrs["group"],
    )  # fmt: skip
    if len(inputs) < 3 or inputs[2] is None:
        return result
    return relax.op.add(result, relax.const(np.array(inputs[2].value.numpy()).reshape(1, -1, 1, 1), "float32"))


def _slice(node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    low, high = node.attrs["low"], node.attrs["high"]
    return relax.op.strided_slice(inputs[0], list(range(len(low))), low, high)


def _pad(node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    top, left, bottom, right = node.attrs["pads"]
    return relax.op.nn.pad(inputs[0], [0, 0, 0, 0, top, bottom, left, right], "constant", 0.0)


def _unflatten(_node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    return relax.op.reshape(inputs[0], (*inputs[0].ty.shape, 1, 1))


def _reshape(node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    return relax.op.reshape(inputs[0], node.attrs["shape"])


def _host_arithmetic(node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    return getattr(relax.op, node.attrs["rule"])(*(inputs[::-1] if node.attrs["constant_first"] else inputs))


def _host_function(node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    return getattr(relax.op, node.attrs["rule"])(inputs[0])


def _host_reduce(node: OnnxNode, inputs: Any) -> Any:
    from tvm import relax

    return getattr(relax.op, node.attrs["rule"])(inputs[0], node.attrs["axis"], keepdims=True)


OWN_CONVERTERS: Mapping[str, Callable[[OnnxNode, Any], Any]] = {
    "Clip": _clip,
    "BatchNormalization": _scale_shift,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Silu": _silu,
    "Mish": _mish,
    "Elu": _elu,
    **dict.fromkeys(("Gelu", "QuickGelu", "Selu", "Softplus", "Abs"), _unchanged),
    "ConvTranspose": _conv_transpose,
    "Slice": _slice,
    "Pad": _pad,
    "Reshape": _reshape,
    "Unflatten": _unflatten,
    "HostArithmetic": _host_arithmetic,
    "HostFunction": _host_function,
    "HostReduce": _host_reduce,
}
