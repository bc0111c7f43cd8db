"""The shape that each operator gives its result, for both dialects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mpi_vta.errors import GraphError
from mpi_vta.graph.ir import window_output_hw

Shape = tuple[int, ...]

_UNCHANGED = ("relu", "leaky_relu", "clip", "activation", "softmax", "sigmoid", "add", "sum", "piecewise", "function")


_RESIZED: Mapping[str, Callable[[int, int, Mapping[str, Any]], Shape]] = {
    "global_avg_pool2d": lambda h, w, attrs: (1, 1),
    "upsample2d": lambda h, w, attrs: (h * attrs["scales"][0], w * attrs["scales"][1]),
    "spread2d": lambda h, w, attrs: ((h - 1) * attrs["scales"][0] + 1, (w - 1) * attrs["scales"][1] + 1),
    "pad2d": lambda h, w, attrs: (h + attrs["pads"][0] + attrs["pads"][2], w + attrs["pads"][1] + attrs["pads"][3]),
}


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
    if op == "unflatten":
        _require_rank(inputs, (2,), op, where)
        return (*first, 1, 1)
    if op in _TAIL:
        return _TAIL[op](inputs, attrs, params, where)
    if op == "dense":
        _require_rank(inputs, (2,), op, where)
        return (first[0], _dense_outputs(first, params, where))
    if op == "scale_shift":
        for role, shape in params.items():
            _require(shape == first[1:2], f"{role} has shape {shape}, not ({first[1]},)", where)
        return first
    _require_rank(inputs, (4,), op, where)
    if op == "conv2d":
        return _conv_shape(inputs, attrs, params, where)
    if op == "conv_transpose2d":
        return _transposed_shape(first, attrs, params, where)
    if op in ("max_pool2d", "avg_pool2d"):
        pads, kernel = attrs["pads"], attrs["kernel"]
        fits = all(pads[i] < kernel[i % 2] for i in range(4))
        _require(fits, f"pads {pads} reach a window of padding alone (kernel {kernel})", where)
        return _window_shape(first, first[1], kernel, attrs, (1, 1), where)
    if op in _RESIZED:
        return (*first[:2], *_RESIZED[op](first[2], first[3], attrs))
    if op == "concat":
        same = all(shape[0] == first[0] and shape[2:] == first[2:] for shape in inputs)
        _require(same, f"inputs differ beyond the channel axis: {_listed(inputs)}", where)
        return (first[0], sum(shape[1] for shape in inputs), *first[2:])
    if op == "slice2d":
        box = [attrs[key] for key in ("channels", "rows", "cols")]
        inside = all(0 <= low < high <= extent for (low, high), extent in zip(box, first[1:], strict=True))
        ranges = ", ".join(f"{low}..{high}" for low, high in box)
        _require(inside, f"channels, rows, columns {ranges} leave input {first}", where)
        return (first[0], *(high - low for low, high in box))
    raise GraphError(f"no shape rule for operator {op!r}", where=where)


def _reshaped(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    first, shape = inputs[0], tuple(attrs["shape"])
    _require(shape[:1] == (1,) and _product(shape) == _product(first), f"reshape of {first} to {shape}", where)
    return shape


def _transposed(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    first, order = inputs[0], tuple(attrs["order"])
    legal = order[:1] == (0,) and sorted(order) == list(range(len(first)))
    _require(legal, f"order {order} of the axes of {first}", where)
    return tuple(first[axis] for axis in order)


def _broadcast(inputs: tuple[Shape, ...], _attrs: Mapping[str, Any], params: Mapping[str, Shape], where: str) -> Shape:
    operands = (*inputs, *params.values())
    _require(len(operands) == 2, f"{len(operands)} operands, not 2", where)
    reversed_extents = []
    for axis in range(1, max(map(len, operands)) + 1):
        extents = {shape[-axis] for shape in operands if axis <= len(shape)} - {1}
        _require(len(extents) <= 1, f"operands of shapes {_listed(operands)}", where)
        reversed_extents.append(extents.pop() if extents else 1)
    return tuple(reversed(reversed_extents))


def _reduced(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    first, axis = inputs[0], attrs["axis"]
    _require(0 < axis < len(first), f"axis {axis} of {first}", where)
    return (*first[:axis], 1, *first[axis + 1 :])


def _joined(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    first, axis = inputs[0], attrs["axis"]
    _require(0 < axis < len(first), f"axis {axis} of {first}", where)
    rest = {(len(shape), *shape[:axis], *shape[axis + 1 :]) for shape in inputs}
    _require(len(rest) == 1, f"inputs differ beyond axis {axis}: {_listed(inputs)}", where)
    return (*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :])


def _cut(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    first, low, high = inputs[0], attrs["low"], attrs["high"]
    inside = len(low) == len(high) == len(first) and (low[0], high[0]) == (0, 1)
    inside = inside and all(0 <= a < b <= n for a, b, n in zip(low, high, first, strict=True))
    _require(inside, f"{low}..{high} leaves input {first}", where)
    return tuple(b - a for a, b in zip(low, high, strict=True))


_TAIL: Mapping[str, Callable[[tuple[Shape, ...], Mapping[str, Any], Mapping[str, Shape], str], Shape]] = {
    "reshape": _reshaped,
    "transpose": _transposed,
    "arithmetic": _broadcast,
    "reduce": _reduced,
    "join": _joined,
    "cut": _cut,
}


def _conv_shape(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], params: Mapping[str, Shape], where: str) -> Shape:
    first, weight = inputs[0], params["weight"]
    groups = attrs.get("groups", 1)
    _require(len(weight) == 4, f"weight has shape {weight}, not (O, I, kh, kw)", where)
    _require(
        groups >= 1 and weight[0] % groups == 0 and weight[1] * groups == first[1],
        f"weight {weight} with groups {groups} does not fit input {first}",
        where,
    )
    _require_per_output(weight[0], params, where)
    shape = _window_shape(first, weight[0], weight[2:], attrs, attrs["dilations"], where)
    for residual in inputs[1:]:
        _require(residual == shape, f"residual has shape {residual}, the convolution {shape}", where)
    return shape


def _transposed_shape(first: Shape, attrs: Mapping[str, Any], params: Mapping[str, Shape], where: str) -> Shape:
    weight, groups = params["weight"], attrs["groups"]
    _require(len(weight) == 4, f"weight has shape {weight}, not (I, O/groups, kh, kw)", where)
    fits = weight[0] == first[1] and first[1] % groups == 0
    _require(fits, f"weight {weight} with groups {groups} does not fit input {first}", where)
    outputs = weight[1] * groups
    _require_per_output(outputs, params, where)
    sizes = []
    for axis in range(2):
        stride, more = attrs["strides"][axis], attrs["output_pads"][axis]
        _require(more < max(stride, attrs["dilations"][axis]), f"output_pads {attrs['output_pads']} too large", where)
        cut = attrs["pads"][axis] + attrs["pads"][axis + 2]
        sizes.append(
            (first[2 + axis] - 1) * stride + (weight[2 + axis] - 1) * attrs["dilations"][axis] + 1 + more - cut
        )
    _require(min(sizes) >= 1, f"pads {attrs['pads']} leave nothing of the result", where)
    return (first[0], outputs, *sizes)


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
    _require_per_output(weight[0], params, where)
    return weight[0]


def _require_per_output(outputs: int, params: Mapping[str, Shape], where: str) -> None:
    for role in ("bias", "channel_shift"):
        shape = params.get(role, (outputs,))
        _require(shape == (outputs,), f"{role} has shape {shape}, not ({outputs},)", where)


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
