"""The shape that each operator gives its result, for both dialects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpi_vta.errors import GraphError
from mpi_vta.graph.ir import window_output_hw

Shape = tuple[int, ...]

_UNCHANGED = ("relu", "leaky_relu", "clip", "softmax", "sigmoid", "add", "sum")


def infer_shape(
    op: str, inputs: tuple[Shape, ...], attrs: Mapping[str, Any], params: Mapping[str, Shape], where: str = ""
) -> Shape:
    """Return the shape of an operator's result.

    Parameters
    ----------
    op : str
        Operator of either dialect; its attributes are present and of the right type.
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
    first = inputs[0]
    if op in _UNCHANGED:
        _require(all(shape == first for shape in inputs), f"inputs differ in shape: {_listed(inputs)}", where)
        return first
    if op == "flatten":
        _require_rank(inputs, (2, 4), op, where)
        return (first[0], _product(first[1:]))
    if op == "dense":
        _require_rank(inputs, (2,), op, where)
        return (first[0], _dense_outputs(first, params, where))
    _require_rank(inputs, (4,), op, where)
    if op == "conv2d":
        return _conv_shape(inputs, attrs, params, where)
    if op in ("max_pool2d", "avg_pool2d"):
        pads, kernel = attrs["pads"], attrs["kernel"]
        fits = all(pads[i] < kernel[i % 2] for i in range(4))
        _require(fits, f"pads {pads} reach a window of padding alone (kernel {kernel})", where)
        return _window_shape(first, first[1], kernel, attrs, (1, 1), where)
    if op == "global_avg_pool2d":
        return (*first[:2], 1, 1)
    if op == "upsample2d":
        scale_y, scale_x = attrs["scales"]
        return (*first[:2], first[2] * scale_y, first[3] * scale_x)
    if op == "concat":
        same = all(shape[0] == first[0] and shape[2:] == first[2:] for shape in inputs)
        _require(same, f"inputs differ beyond the channel axis: {_listed(inputs)}", where)
        return (first[0], sum(shape[1] for shape in inputs), *first[2:])
    if op == "slice2d":
        (first_channel, channels), (first_row, rows) = attrs["channels"], attrs["rows"]
        inside = 0 <= first_channel < channels <= first[1] and 0 <= first_row < rows <= first[2]
        _require(inside, f"channels {first_channel}..{channels}, rows {first_row}..{rows} leave input {first}", where)
        return (first[0], channels - first_channel, rows - first_row, first[3])
    raise GraphError(f"no shape rule for operator {op!r}", where=where)


def _conv_shape(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], params: Mapping[str, Shape], where: str) -> Shape:
    first, weight = inputs[0], params["weight"]
    groups = attrs.get("groups", 1)
    _require(len(weight) == 4, f"weight has shape {weight}, not (O, I, kh, kw)", where)
    _require(
        groups >= 1 and weight[0] % groups == 0 and weight[1] * groups == first[1],
        f"weight {weight} with groups {groups} does not fit input {first}",
        where,
    )
    _require_bias(weight[0], params, where)
    shape = _window_shape(first, weight[0], weight[2:], attrs, attrs["dilations"], where)
    for residual in inputs[1:]:
        _require(residual == shape, f"residual has shape {residual}, the convolution {shape}", where)
    return shape


def _window_shape(
    shape: Shape, channels: int, kernel: Shape, attrs: Mapping[str, Any], dilations: Shape, where: str
) -> Shape:
    height, width = window_output_hw(
        shape[2], shape[3], (kernel[0], kernel[1]), attrs["strides"], attrs["pads"], (dilations[0], dilations[1])
    )
    _require(height >= 1 and width >= 1, f"window {kernel} is larger than the padded input {shape}", where)
    return (shape[0], channels, height, width)


def _dense_outputs(first: Shape, params: Mapping[str, Shape], where: str) -> int:
    weight = params["weight"]
    _require(
        len(weight) == 2 and weight[1] == first[1],
        f"weight {weight} does not fit input {first}, it needs (O, I)",
        where,
    )
    _require_bias(weight[0], params, where)
    return weight[0]


def _require_bias(outputs: int, params: Mapping[str, Shape], where: str) -> None:
    bias = params.get("bias", (outputs,))
    _require(bias == (outputs,), f"bias has shape {bias}, not ({outputs},)", where)


def _require_rank(inputs: tuple[Shape, ...], ranks: tuple[int, ...], op: str, where: str) -> None:
    allowed = " or ".join(f"{rank}-D" for rank in ranks)
    _require(all(len(shape) in ranks for shape in inputs), f"{op} needs {allowed} inputs, got {_listed(inputs)}", where)


def _require(condition: bool, what: str, where: str) -> None:
    if not condition:
        raise GraphError(what, where=where)


def _listed(shapes: tuple[Shape, ...]) -> str:
    return ", ".join(str(shape) for shape in shapes)


def _product(shape: Shape) -> int:
    result = 1
    for extent in shape:
        result *= extent
    return result
