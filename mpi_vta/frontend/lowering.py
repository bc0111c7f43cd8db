"""From plain ONNX nodes to our float graph: one function an operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpi_vta.errors import ModelError
from mpi_vta.frontend.growing_graph import Array, Lowering, Rule, Shape
from mpi_vta.frontend.onnx_net import OnnxNode, axes_of
from mpi_vta.frontend.onnx_windows import automatic_pads, window_span


def elementwise(op: str, **attrs: Any) -> Rule:
    """Return the rule of an operator with one operand."""
    return lambda lowering, node: _unary(lowering, node, op, attrs)


def _unary(lowering: Lowering, node: OnnxNode, op: str, attrs: Mapping[str, Any]) -> None:
    lowering.emit(node, op, (lowering.source(node),), attrs)


def activation(kind: str) -> Rule:
    """Return the rule of one of `mpi_vta.graph.activations`."""
    return elementwise("activation", kind=kind)


def conv(lowering: Lowering, node: OnnxNode) -> None:
    """Add a convolution."""
    weight, attrs = lowering.net.constant(node, 1), node.attrs
    source = lowering.source(node)
    strides, dilations = (_pair(attrs.get(key, (1, 1))) for key in ("strides", "dilations"))
    geometry = {
        "strides": strides,
        "pads": automatic_pads(attrs, lowering.shape(source)[2:], weight.shape[2:]),
        "dilations": dilations,
        "groups": int(attrs.get("group", 1)),
    }
    lowering.emit(node, "conv2d", (source,), geometry, {"weight": weight, **_bias(lowering, node)})


def _bias(lowering: Lowering, node: OnnxNode) -> dict[str, Array]:
    has_bias = len(node.inputs) > 2 and node.inputs[2]
    return {"bias": lowering.net.constant(node, 2).reshape(-1)} if has_bias else {}


def conv_transpose(lowering: Lowering, node: OnnxNode) -> None:
    """Add a transposed convolution, whose attributes are all there."""
    keys = {"strides": "strides", "pads": "pads", "output_padding": "output_pads", "dilations": "dilations"}
    attrs = {ours: _ints(node.attrs[theirs]) for theirs, ours in keys.items()}
    params = {"weight": lowering.net.constant(node, 1), **_bias(lowering, node)}
    groups = int(node.attrs["group"])
    lowering.emit(node, "conv_transpose2d", (lowering.source(node),), {**attrs, "groups": groups}, params)


def dense(lowering: Lowering, node: OnnxNode) -> None:
    """Add a dense layer with weight (O, I)."""
    params = {"weight": lowering.net.constant(node, 1), **_bias(lowering, node)}
    lowering.emit(node, "dense", (lowering.source(node),), {}, params)


def add(lowering: Lowering, node: OnnxNode) -> None:
    """Add a sum of two computed tensors."""
    if any(name in lowering.net.initializers for name in node.inputs):
        raise ModelError(
            "addition of a constant", where=lowering.net.where(node), allowed="a bias inside Conv, or after MatMul"
        )
    names = lowering.sources(node)
    shapes = [lowering.shape(name) for name in names]
    if len(set(shapes)) != 1:
        found = " and ".join(map(str, shapes))
        raise ModelError(f"broadcast of {found}", where=lowering.net.where(node), allowed="equal shapes")
    lowering.emit(node, "add", names)


def leaky_relu(lowering: Lowering, node: OnnxNode) -> None:
    """Add a slope below 0, or none."""
    alpha = float(node.attrs.get("alpha", 0.01))
    if alpha != 0 and not 0 < alpha < 1:
        raise ModelError(f"alpha {alpha}", where=lowering.net.where(node), allowed="0 <= alpha < 1")
    _unary(lowering, node, "leaky_relu" if alpha else "relu", {"alpha": alpha} if alpha else {})


def clip(lowering: Lowering, node: OnnxNode) -> None:
    """Add bounds."""
    bounds = (node.attrs["min"], node.attrs["max"])
    if bounds == (0.0, float("inf")):
        _unary(lowering, node, "relu", {})
    else:
        _unary(lowering, node, "clip", dict(zip(("lo", "hi"), bounds, strict=True)))


def elu(lowering: Lowering, node: OnnxNode) -> None:
    """Add an ELU."""
    alpha = node.attrs.get("alpha", 1.0)
    if alpha != 1:
        raise ModelError(f"alpha {alpha}", where=lowering.net.where(node), allowed="1")
    _unary(lowering, node, "activation", {"kind": "elu"})


def sigmoid(lowering: Lowering, node: OnnxNode) -> None:
    """Add a sigmoid: the host's at the end of a model."""
    if node.name in lowering.tail:
        _unary(lowering, node, "sigmoid", {})
    else:
        _unary(lowering, node, "activation", {"kind": "sigmoid"})


def scale_shift(lowering: Lowering, node: OnnxNode) -> None:
    """Add a factor and an offset per channel."""
    scale, offset = (lowering.net.constant(node, index) for index in (1, 2))
    params = {"scale": scale, "offset": offset} if offset.any() else {"scale": scale}
    lowering.emit(node, "scale_shift", (lowering.source(node),), {}, params)


def pool(op: str) -> Rule:
    """Return the rule of a pooling."""

    def rule(lowering: Lowering, node: OnnxNode) -> None:
        source, attrs = lowering.source(node), node.attrs
        shape = lowering.shape(source)
        if len(shape) != 4:
            raise ModelError(f"pooling of {shape}", where=lowering.net.where(node), allowed="(1, C, H, W)")
        kernel, strides = _pair(attrs["kernel_shape"]), _pair(attrs.get("strides", (1, 1)))
        pads = [0] * 4
        for axis in range(2):
            given = attrs.get("pads", [0] * 4)[axis::2]
            extent = shape[2 + axis]
            begin, end, count = window_span(attrs, extent, kernel[axis], strides[axis], given)
            # windows of ceil_mode reach beyond the padding
            pads[axis] = begin
            pads[2 + axis] = max(end, (count - 1) * strides[axis] + kernel[axis] - extent - begin)
        window = {"kernel": kernel, "strides": strides, "pads": tuple(pads)}
        lowering.emit(node, op, (source,), window)

    return rule


def mean(lowering: Lowering, node: OnnxNode) -> None:
    """Add a mean over rows and columns."""
    source = lowering.source(node)
    shape = lowering.shape(source)
    axes = axes_of(lowering.net, node, len(shape)) if node.op == "ReduceMean" else [2, 3]
    if len(shape) != 4 or axes != [2, 3]:
        raise ModelError(f"mean over axes {axes}", where=lowering.net.where(node), allowed="height and width")
    if node.attrs.get("keepdims", 1):
        lowering.emit(node, "global_avg_pool2d", (source,))
        return
    pooled = lowering.emit(
        node, "global_avg_pool2d", (source,), name=f"{node.name}.pool", output=f"{node.output}.pooled"
    )
    lowering.emit(node, "flatten", (pooled,))


def resize(lowering: Lowering, node: OnnxNode) -> None:
    """Add a repetition of rows and columns."""
    source = lowering.source(node)
    lowering.emit(node, "upsample2d", (source,), {"scales": _repetitions(lowering, node, lowering.shape(source))})


def _repetitions(lowering: Lowering, node: OnnxNode, shape: Shape) -> tuple[int, int]:
    """Return how often a Resize repeats rows and columns; refuse any that does more than repeat."""
    where = lowering.net.where(node)
    sizes = node.attrs.get("sizes") or [n * s for n, s in zip(shape, node.attrs["scales"], strict=False)]
    if len(sizes) != len(shape) or len(shape) != 4:
        raise ModelError(f"resizes {shape} to {sizes}", where=where, allowed="rows and columns")
    ratios = [size / extent for size, extent in zip(sizes, shape, strict=True)]
    if ratios[:2] != [1, 1] or any(r < 1 or r != int(r) for r in ratios):
        raise ModelError(f"scales {ratios}", where=where, allowed="1, 1 and whole numbers")
    for ratio, extent in zip(ratios[2:], shape[2:], strict=True):
        if not _is_repetition(node.attrs["coordinates"], node.attrs["rounding"], int(ratio), extent):
            raise ModelError(
                f"nearest with {node.attrs['coordinates']} and {node.attrs['rounding']}",
                where=where,
                allowed="modes that repeat each pixel, such as asymmetric with floor",
            )
    return int(ratios[2]), int(ratios[3])


def _is_repetition(coordinates: str, rounding: str, scale: int, extent: int) -> bool:
    target = np.arange(extent * scale)
    if coordinates == "asymmetric":
        source = target / scale
    elif coordinates in ("half_pixel", "pytorch_half_pixel"):
        source = (target + 0.5) / scale - 0.5
    else:
        return False
    rounded = {
        "floor": np.floor(source),
        "ceil": np.ceil(source),
        "round_prefer_floor": np.ceil(source - 0.5),
        "round_prefer_ceil": np.floor(source + 0.5),
    }.get(rounding)
    return rounded is not None and bool((np.clip(rounded, 0, extent - 1) == target // scale).all())


def concat(lowering: Lowering, node: OnnxNode) -> None:
    """Add a concatenation."""
    constants = lowering.net.initializers
    rank = max(len(lowering.net.shapes.get(node.output, ())), 1)
    known = [name for name in node.inputs if name not in constants]
    names = lowering.sources(OnnxNode(node.name, node.op, tuple(known), node.output))
    rank = len(lowering.shape(names[0])) if names else rank
    axis = int(node.attrs["axis"])
    place = axis % rank
    if len(known) < len(node.inputs):
        place = -1
    elif node.name in lowering.tail and place > 0 and (place, rank) != (1, 4) and len(names) > 1:
        lowering.emit(node, "concat", names, {"axis": place})
        return
    if place != 1:
        raise ModelError(
            f"concatenation along axis {axis}, or with a constant",
            where=lowering.net.where(node),
            allowed="axis 1, computed tensors",
        )
    if len(names) == 1:
        lowering.same(node, names[0])
    elif rank == 2:
        _concat_vectors(lowering, node, names)
    else:
        lowering.emit(node, "concat", names, {"axis": 1})


def _concat_vectors(lowering: Lowering, node: OnnxNode, names: tuple[str, ...]) -> None:
    """Join vectors as pictures of one pixel, which they must have been."""
    made = {entry.output: entry for entry in lowering.nodes}
    sources = [made[name].inputs[0] if name in made and made[name].op == "flatten" else "" for name in names]
    shapes = [lowering.shape(source) if source else () for source in sources]
    if any(len(shape) != 4 or shape[2:] != (1, 1) for shape in shapes):
        raise ModelError(
            "concatenation of vectors between layers",
            where=lowering.net.where(node),
            allowed="those of (1, C, 1, 1), flattened; pictures along channels",
            remedy="concatenate before flattening",
        )
    readers = lowering.net.consumers()
    lowering.drop({n for n in names if len(readers[n]) == 1 and n not in lowering.net.outputs})
    joined = lowering.emit(
        node, "concat", tuple(sources), {"axis": 1}, name=f"{node.name}.join", output=f"{node.output} joined"
    )
    lowering.emit(node, "flatten", (joined,))


def reshape(lowering: Lowering, node: OnnxNode) -> None:
    """Add what gives the elements other extents."""
    source = lowering.source(node)
    before, after = lowering.shape(source), _ints(node.attrs["shape"])
    if after == (1, int(np.prod(before))) and len(before) in (2, 4):
        lowering.emit(node, "flatten", (source,))
    elif node.name in lowering.tail and after[0] == 1:
        lowering.emit(node, "reshape", (source,), {"shape": after})
    else:
        raise ModelError(
            f"reshape of {before} to {after}",
            where=lowering.net.where(node),
            allowed="(1, C, H, W) to (1, C*H*W), and any at the end of the model that keeps the batch axis",
        )


def transpose(lowering: Lowering, node: OnnxNode) -> None:
    """Add a transpose at the end of a model."""
    source = lowering.source(node)
    order = node.attrs.get("perm", range(len(lowering.shape(source)) - 1, -1, -1))
    if node.name not in lowering.tail:
        found = f"transpose {list(order)} between layers"
        raise ModelError(found, where=lowering.net.where(node), allowed="around the whole model")
    lowering.emit(node, "transpose", (source,), {"order": _ints(order)})


def cut(lowering: Lowering, node: OnnxNode) -> None:
    """Add a slice."""
    low, high = _ints(node.attrs["low"]), _ints(node.attrs["high"])
    source = lowering.source(node)
    if (len(low) != 4 and node.name not in lowering.tail) or (low[0], high[0]) != (0, 1):
        found = f"slice {list(low)}..{list(high)}"
        raise ModelError(found, where=lowering.net.where(node), allowed="of (1, C, H, W)")
    lowering.emit(node, "slice", (source,), {"low": low, "high": high})


def pad(lowering: Lowering, node: OnnxNode) -> None:
    """Add zeros around."""
    _unary(lowering, node, "pad2d", {"pads": _ints(node.attrs["pads"])})


def softmax(lowering: Lowering, node: OnnxNode) -> None:
    """Add a softmax over the last axis."""
    source = lowering.source(node)
    rank = len(lowering.shape(source))
    axis = int(node.attrs.get("axis", 1 if lowering.net.opset < 13 else -1))
    if axis % rank != rank - 1:
        raise ModelError(f"softmax over axis {axis}", where=lowering.net.where(node), allowed="the last axis")
    lowering.emit(node, "softmax", (source,))


def arithmetic(lowering: Lowering, node: OnnxNode) -> None:
    """Add the host's arithmetic of two operands."""
    known = lowering.net.initializers
    constants = [known[name] for name in node.inputs if name in known]
    computed = tuple(name for name in node.inputs if name not in known)
    names = lowering.sources(OnnxNode(node.name, node.op, computed, node.output))
    lowering.emit(node, "arithmetic", names, node.attrs, dict(zip(("constant",), constants, strict=False)))


def hosted(op: str) -> Rule:
    """Return the rule of an operator of the host's that takes the node's attributes."""
    return lambda lowering, node: _unary(lowering, node, op, node.attrs)


def _pair(values: Any) -> tuple[int, int]:
    first, second = (int(value) for value in values)
    return first, second


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
