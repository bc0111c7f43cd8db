"""The rules by which operators give their results a shape; which rule is whose stands in `mpi_vta.graph.ops`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mpi_vta.errors import GraphError
from mpi_vta.graph.ir import window_output_hw

Shape = tuple[int, ...]

Rule = Callable[[tuple[Shape, ...], Mapping[str, Any], Mapping[str, Shape], str], Shape]


def unchanged(inputs: tuple[Shape, ...], _attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    """Return the shape that all inputs have."""
    _require(all(shape == inputs[0] for shape in inputs), f"inputs differ in shape: {_listed(inputs)}", where)
    return inputs[0]


def flattened(inputs: tuple[Shape, ...], _attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    """Return (1, everything else)."""
    _require_rank(inputs, (2, 4), "flatten", where)
    return (inputs[0][0], _product(inputs[0][1:]))


def unflattened(
    inputs: tuple[Shape, ...], _attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str
) -> Shape:
    """Return a vector's shape as a picture of one pixel."""
    _require_rank(inputs, (2,), "unflatten", where)
    return (*inputs[0], 1, 1)


def dense(inputs: tuple[Shape, ...], _attrs: Mapping[str, Any], params: Mapping[str, Shape], where: str) -> Shape:
    """Return (1, outputs)."""
    _require_rank(inputs, (2,), "dense", where)
    return (inputs[0][0], _dense_outputs(inputs[0], params, where))


def per_channel(inputs: tuple[Shape, ...], _attrs: Mapping[str, Any], params: Mapping[str, Shape], where: str) -> Shape:
    """Return the shape of what has one parameter per channel."""
    first = inputs[0]
    for role, shape in params.items():
        _require(shape == first[1:2], f"{role} has shape {shape}, not ({first[1]},)", where)
    return first


def windowed(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    """Return the shape of a pooling."""
    _require_rank(inputs, (4,), "a pooling", where)
    pads, kernel = attrs["pads"], attrs["kernel"]
    fits = all(pads[i] < kernel[i % 2] for i in range(4))
    _require(fits, f"pads {pads} reach a window of padding alone (kernel {kernel})", where)
    return _window_shape(inputs[0], inputs[0][1], kernel, attrs, (1, 1), where)


def resized(change: Callable[[int, int, Mapping[str, Any]], Shape]) -> Rule:
    """Return the rule of what changes rows and columns alone, by a function of both and the attributes."""

    def rule(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
        _require_rank(inputs, (4,), "a picture's operator", where)
        return (*inputs[0][:2], *change(inputs[0][2], inputs[0][3], attrs))

    return rule


def stacked(inputs: tuple[Shape, ...], _attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    """Return the shape of a concatenation along the channels."""
    _require_rank(inputs, (4,), "concat", where)
    first = inputs[0]
    same = all(shape[0] == first[0] and shape[2:] == first[2:] for shape in inputs)
    _require(same, f"inputs differ beyond the channel axis: {_listed(inputs)}", where)
    return (first[0], sum(shape[1] for shape in inputs), *first[2:])


def boxed(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    """Return the extents of a box of channels, rows and columns."""
    _require_rank(inputs, (4,), "slice2d", where)
    first = inputs[0]
    box = [attrs[key] for key in ("channels", "rows", "cols")]
    inside = all(0 <= low < high <= extent for (low, high), extent in zip(box, first[1:], strict=True))
    ranges = ", ".join(f"{low}..{high}" for low, high in box)
    _require(inside, f"channels, rows, columns {ranges} leave input {first}", where)
    return (first[0], *(high - low for low, high in box))


def reshaped(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    """Return the extents asked for."""
    first, shape = inputs[0], tuple(attrs["shape"])
    _require(shape[:1] == (1,) and _product(shape) == _product(first), f"reshape of {first} to {shape}", where)
    return shape


def transposed(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    """Return the extents in another order."""
    first, order = inputs[0], tuple(attrs["order"])
    legal = order[:1] == (0,) and sorted(order) == list(range(len(first)))
    _require(legal, f"order {order} of the axes of {first}", where)
    return tuple(first[axis] for axis in order)


def broadcast(inputs: tuple[Shape, ...], _attrs: Mapping[str, Any], params: Mapping[str, Shape], where: str) -> Shape:
    """Return the extents of two operands that broadcast."""
    operands = (*inputs, *params.values())
    _require(len(operands) == 2, f"{len(operands)} operands, not 2", where)
    reversed_extents = []
    for axis in range(1, max(map(len, operands)) + 1):
        extents = {shape[-axis] for shape in operands if axis <= len(shape)} - {1}
        _require(len(extents) <= 1, f"operands of shapes {_listed(operands)}", where)
        reversed_extents.append(extents.pop() if extents else 1)
    return tuple(reversed(reversed_extents))


def reduced(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    """Return the extents with one of them 1."""
    first, axis = inputs[0], attrs["axis"]
    _require(0 < axis < len(first), f"axis {axis} of {first}", where)
    return (*first[:axis], 1, *first[axis + 1 :])


def joined(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    """Return the shape of a concatenation along any axis."""
    first, axis = inputs[0], attrs["axis"]
    _require(0 < axis < len(first), f"axis {axis} of {first}", where)
    rest = {(len(shape), *shape[:axis], *shape[axis + 1 :]) for shape in inputs}
    _require(len(rest) == 1, f"inputs differ beyond axis {axis}: {_listed(inputs)}", where)
    return (*first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :])


def cut(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], _params: Mapping[str, Shape], where: str) -> Shape:
    """Return the extents of a box of any rank."""
    first, low, high = inputs[0], attrs["low"], attrs["high"]
    inside = len(low) == len(high) == len(first) and (low[0], high[0]) == (0, 1)
    inside = inside and all(0 <= a < b <= n for a, b, n in zip(low, high, first, strict=True))
    _require(inside, f"{low}..{high} leaves input {first}", where)
    return tuple(b - a for a, b in zip(low, high, strict=True))


def convolved(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], params: Mapping[str, Shape], where: str) -> Shape:
    """Return the shape of a convolution."""
    _require_rank(inputs, (4,), "conv2d", where)
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


def deconvolved(inputs: tuple[Shape, ...], attrs: Mapping[str, Any], params: Mapping[str, Shape], where: str) -> Shape:
    """Return the shape of a transposed convolution."""
    _require_rank(inputs, (4,), "conv_transpose2d", where)
    first = inputs[0]
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
