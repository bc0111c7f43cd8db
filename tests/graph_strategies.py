"""Hypothesis strategies for small graphs of both dialects; every graph drawn passes `verify`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from mpi_vta.graph.activations import ACTIVATIONS
from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.ops import SHIFTED_RESIDUAL_SHIFT_MAX, infer_shape
from mpi_vta.graph.verify import verify

INT8_KINDS = (
    "conv2d",
    "residual",
    "max_pool2d",
    "avg_pool2d",
    "sum",
    "rescale",
    "upsample2d",
    "concat",
    "dense",
    "slice2d",
    "groups",
    "depthwise",
    "shifted",
    "shifted_residual",
    "piecewise",
    "spread2d",
    "transposed",
    "pad2d",
    "box",
)
FLOAT_KINDS = ("conv2d", "residual", "max_pool2d", "avg_pool2d", "global", "upsample2d", "concat", "activation")
FLOAT_NEW_KINDS = ("groups", "transposed", "scale_shift", "smooth", "pad2d", "slice")
LEAKY_RATIOS = (None, None, (3, 5), (1, 2), (1, 1), (13, 7), (255, 8), (51, 9))


@dataclass
class GraphBuilder:
    """Grows a graph node by node, keeping shapes right; unread values become outputs."""

    dialect: str
    rng: np.random.Generator
    name: str = "drawn"
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def input(self, shape: tuple[int, ...], scale_log2: int | None = None) -> str:
        name = f"input{len(self.values)}"
        self.values[name] = Value(name, shape, self.dialect, scale_log2)
        return name

    def add(
        self,
        op: str,
        inputs: tuple[str, ...],
        attrs: dict[str, Any] | None = None,
        params: dict[str, np.ndarray] | None = None,
        scale_log2: int | None = None,
    ) -> str:
        name, attrs, params = f"{op}_{len(self.nodes)}", attrs or {}, params or {}
        roles = {role: f"{name}.{role}" for role in params}
        shapes = tuple(self.values[value].shape for value in inputs)
        shape = infer_shape(
            self.dialect, op, shapes, attrs, {role: array.shape for role, array in params.items()}, name
        )
        self.constants.update({roles[role]: array for role, array in params.items()})
        self.nodes.append(Node(name, op, inputs, f"{name}:0", attrs, roles))
        self.values[f"{name}:0"] = Value(f"{name}:0", shape, self.dialect, scale_log2)
        return f"{name}:0"

    def build(self) -> Graph:
        made = {node.output for node in self.nodes}
        read = {name for node in self.nodes for name in node.inputs}
        inputs = tuple(name for name in self.values if name not in made)
        outputs = tuple(name for name in self.values if name in made and name not in read)
        nodes, values, constants = tuple(self.nodes), dict(self.values), dict(self.constants)
        graph = Graph(self.name, self.dialect, inputs, outputs, nodes, values, constants)
        verify(graph)
        return graph

    def int8_weights(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.rng.integers(-128, 128, shape, dtype=np.int8)


def random_inputs(graph: Graph, seed: int = 0, count: int = 1) -> dict[str, np.ndarray]:
    """`count` images for every graph input: all of int8, or normal floats."""
    rng = np.random.default_rng(seed)
    shapes = {name: (count, *graph.values[name].shape[1:]) for name in graph.inputs}
    if graph.dialect == "int8":
        return {name: rng.integers(-128, 128, shape, dtype=np.int8) for name, shape in shapes.items()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@st.composite
def int8_graphs(
    draw: st.DrawFn,
    max_nodes: int = 5,
    max_channels: int = 40,
    max_size: int = 14,
    kinds: tuple[str, ...] = INT8_KINDS,
) -> Graph:
    """Draw an int8 graph of 1..max_nodes nodes of the given kinds, one input, one or more outputs.

    ``residual`` is a conv2d with a second input (it falls back to a plain one where no value fits),
    ``dense`` a conv2d whose kernel covers the input, ``rescale`` a one-input sum.
    """
    builder = GraphBuilder("int8", np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    size = st.integers(1, max_size)
    shape = (1, draw(st.integers(1, max_channels)), draw(size), draw(size))
    builder.input(shape, draw(st.integers(-7, 0)))
    for _ in range(draw(st.integers(1, max_nodes))):
        _add_int8(draw, builder, draw(st.sampled_from(kinds)), max_channels, max_size)
    return builder.build()


def _add_int8(draw: st.DrawFn, builder: GraphBuilder, kind: str, max_channels: int, max_size: int) -> None:
    names = list(builder.values)
    source = names[-1] if draw(st.booleans()) else draw(st.sampled_from(names))
    value = builder.values[source]
    height, width = value.shape[2:]
    if kind in ("conv2d", "residual", "dense", "groups", "depthwise", "shifted", "shifted_residual"):
        _add_int8_conv(draw, builder, source, kind, max_channels)
    elif kind in ("piecewise", "spread2d", "transposed", "pad2d", "box"):
        _add_new_int8(draw, builder, kind, source, max_channels, max_size)
    elif kind == "max_pool2d":
        builder.add(kind, (source,), draw(_windows(height, width)), scale_log2=value.scale_log2)
    elif kind == "avg_pool2d":
        attrs = draw(st.one_of(_windows(height, width), _global_windows(height, width)))
        attrs |= {"multiplier": draw(st.integers(1, 127)), **draw(_requantize(5, 12))}
        builder.add(kind, (source,), attrs, scale_log2=draw(st.integers(-7, 0)))
    elif kind == "sum":
        mates = [name for name in names if _addable(builder.values[name], value)]
        _add_sum(draw, builder, (source, draw(st.sampled_from(mates))))
    elif kind == "rescale":
        _add_sum(draw, builder, (source,))
    elif kind == "upsample2d":
        if height * 2 <= max_size and width * 2 <= max_size:
            scales = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
            builder.add(kind, (source,), {"scales": scales}, scale_log2=value.scale_log2)
        else:
            _add_int8_conv(draw, builder, source, "conv2d", max_channels)
    elif kind == "concat":
        mates = [n for n in names if _concatenable(builder.values[n], value)]
        others = draw(st.lists(st.sampled_from(mates), min_size=1, max_size=2))
        builder.add(kind, (source, *others), scale_log2=value.scale_log2)
    elif kind == "slice2d":
        _add_slice(draw, builder, source)


def _add_new_int8(
    draw: st.DrawFn, builder: GraphBuilder, kind: str, source: str, max_channels: int, max_size: int
) -> None:
    value = builder.values[source]
    if kind == "piecewise":
        builder.add(kind, (source,), draw(_pieces()), scale_log2=draw(st.integers(-7, 0)))
        return
    if kind == "pad2d":
        pads = tuple(draw(st.integers(0, 3)) for _ in range(4))
        builder.add(kind, (source,), {"pads": pads}, scale_log2=value.scale_log2)
        return
    if kind == "box":
        builder.add("slice2d", (source,), draw(_boxes(value.shape)), scale_log2=value.scale_log2)
        return
    scales = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    if max(value.shape[2] * scales[0], value.shape[3] * scales[1]) > 2 * max_size:
        scales = (1, 1)
    wide = builder.add("spread2d", (source,), {"scales": scales}, scale_log2=value.scale_log2)
    if kind == "transposed":
        _add_int8_conv(draw, builder, wide, draw(st.sampled_from(["transposed", "groups"])), max_channels)


def _add_slice(draw: st.DrawFn, builder: GraphBuilder, source: str) -> None:
    """Slice rows, and channels from a multiple of 32, the largest block of the shipped configurations."""
    value = builder.values[source]
    _, channels, height, width = value.shape
    low = draw(st.sampled_from(range(0, channels, 32)))
    row = draw(st.integers(0, height - 1))
    attrs = {
        "channels": (low, draw(st.integers(low + 1, channels))),
        "rows": (row, draw(st.integers(row + 1, height))),
        "cols": (0, width),
    }
    builder.add("slice2d", (source,), attrs, scale_log2=value.scale_log2)


def _addable(one: Value, other: Value) -> bool:
    return one.shape == other.shape and abs((one.scale_log2 or 0) - (other.scale_log2 or 0)) <= 15


def _concatenable(one: Value, other: Value) -> bool:
    return one.shape[2:] == other.shape[2:] and one.scale_log2 == other.scale_log2


def _add_int8_conv(draw: st.DrawFn, builder: GraphBuilder, source: str, kind: str, max_channels: int) -> None:
    shape = builder.values[source].shape
    _, channels, height, width = shape
    outputs = draw(st.integers(1, max_channels))
    if kind == "dense":
        kernel, attrs = (height, width), {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    elif kind in ("residual", "shifted_residual"):
        reach = draw(st.integers(0, 1))
        kernel, attrs = (2 * reach + 1,) * 2, {"strides": (1, 1), "pads": (reach,) * 4, "dilations": (1, 1)}
        outputs = channels
    else:
        kernel, attrs = draw(_conv_windows(height, width))
    groups = 1
    if kind in ("groups", "depthwise"):
        groups = channels if kind == "depthwise" else draw(st.sampled_from(_divisors(channels)))
        outputs = groups * draw(st.integers(1, max(1, min(3, max_channels // groups))))
    if kind == "transposed":
        attrs["strides"] = (1, 1)
    weight = builder.int8_weights((outputs, channels // groups, *kernel))
    bound = 2**31 - 1 if draw(st.integers(0, 9)) == 9 else 1 << 14
    params = {"weight": weight, "bias": builder.rng.integers(-bound, bound, outputs, dtype=np.int32)}
    if "shifted" in kind or (groups > 1 and draw(st.integers(0, 3)) == 0):
        params["channel_shift"] = builder.rng.integers(0, draw(st.integers(1, 16)), outputs, dtype=np.int8)
    inputs = (source,)
    if "residual" in kind:
        inputs += (draw(st.sampled_from([n for n, v in builder.values.items() if v.shape == shape])),)
    most = {"residual": 15, "shifted_residual": SHIFTED_RESIDUAL_SHIFT_MAX}.get(kind, 0)
    attrs |= {"groups": groups, "residual_shift": draw(st.integers(0, most))}
    attrs |= {"leaky": draw(st.sampled_from(LEAKY_RATIOS)), **draw(_requantize(6, 14))}
    builder.add("conv2d", inputs, attrs, params, scale_log2=draw(st.integers(-7, 0)))


@st.composite
def _boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> dict[str, Any]:
    """Any box of channels, rows and columns."""
    attrs = {}
    for key, extent in zip(("channels", "rows", "cols"), shape[1:], strict=True):
        low = draw(st.integers(0, extent - 1))
        attrs[key] = (low, draw(st.integers(low + 1, extent)))
    return attrs


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


@st.composite
def _pieces(draw: st.DrawFn) -> dict[str, Any]:
    """Attributes of a piecewise function of 1..4 terms, some of them straight."""
    count = draw(st.integers(1, 4))
    sides = tuple(draw(st.integers(-1, 1)) for _ in range(count))
    multipliers = tuple(draw(st.integers(-128, 127)) for _ in range(count))
    reach = st.one_of(st.integers(-4000, 4000), st.integers(-(1 << 15), (1 << 15) - 1))
    thresholds = tuple(draw(reach) for _ in range(count))
    offset = draw(st.sampled_from([0, 0, 37, -5000, 100_000, -(1 << 28)]))
    return {
        "multipliers": multipliers,
        "sides": sides,
        "thresholds": thresholds,
        "offset": offset,
        **draw(_requantize(0, 12)),
    }


def _add_sum(draw: st.DrawFn, builder: GraphBuilder, inputs: tuple[str, ...]) -> None:
    scales = [builder.values[name].scale_log2 or 0 for name in inputs]
    spread = max(scales) - min(scales)
    base = min(scales) - draw(st.integers(0, 15 - spread))
    attrs = draw(_requantize(0, 18))
    attrs |= {"input_shifts": tuple(s - base for s in scales), "leaky": draw(st.sampled_from(LEAKY_RATIOS))}
    builder.add("sum", inputs, attrs, scale_log2=base + attrs["shift"])


@st.composite
def _requantize(draw: st.DrawFn, low: int, high: int) -> dict[str, int]:
    bounds = draw(st.sampled_from([(-128, 127), (0, 127), (0, 96), (-5, 3), (17, 17)]))
    return {"shift": draw(st.integers(low, high)), "lo": bounds[0], "hi": bounds[1]}


@st.composite
def _windows(draw: st.DrawFn, height: int, width: int) -> dict[str, Any]:
    """A pooling window that fits: kernel 1..3, strides 1..3, pads below the kernel."""
    kernel = (draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width))))
    strides = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    pads = tuple(draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4))
    return {"kernel": kernel, "strides": strides, "pads": pads}


def _global_windows(height: int, width: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda: {"kernel": (height, width), "strides": (1, 1), "pads": (0, 0, 0, 0)})


@st.composite
def _conv_windows(draw: st.DrawFn, height: int, width: int) -> tuple[tuple[int, int], dict[str, Any]]:
    """A convolution window that fits: kernel 1..5, strides 1..3, dilations 1..2, pads 0..2 (uneven too)."""
    kernels, strides, dilations, pads = [], [], [], [0, 0, 0, 0]
    for axis, extent in enumerate((height, width)):
        pads[axis], pads[axis + 2] = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        padded = extent + pads[axis] + pads[axis + 2]
        kernels.append(draw(st.integers(1, min(5, padded))))
        dilations.append(draw(st.integers(1, 2)) if 2 * (kernels[-1] - 1) + 1 <= padded else 1)
        strides.append(draw(st.integers(1, 3)))
    return tuple(kernels), {"strides": tuple(strides), "pads": tuple(pads), "dilations": tuple(dilations)}


@st.composite
def float_graphs(draw: st.DrawFn, max_nodes: int = 6, kinds: tuple[str, ...] = FLOAT_KINDS) -> Graph:
    """Draw a float graph of He-scaled layers, as the front end delivers them: one input, a dense head or none."""
    builder = GraphBuilder("float32", np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    builder.input((1, draw(st.integers(1, 8)), draw(st.integers(4, 12)), draw(st.integers(4, 12))))
    _add_float_conv(draw, builder, next(iter(builder.values)), same_shape=False)
    for _ in range(draw(st.integers(0, max_nodes - 1))):
        _add_float(draw, builder, draw(st.sampled_from(kinds)))
    if draw(st.booleans()):
        flat = builder.add("flatten", (builder.nodes[-1].output,))
        features = builder.values[flat].shape[1]
        weight = builder.rng.normal(0, np.sqrt(1 / features), (draw(st.integers(1, 12)), features))
        builder.add("dense", (flat,), params={"weight": weight.astype(np.float32)})
    return builder.build()


def _add_float(draw: st.DrawFn, builder: GraphBuilder, kind: str) -> None:
    names = [node.output for node in builder.nodes]
    source = names[-1] if draw(st.booleans()) else draw(st.sampled_from(names))
    shape = builder.values[source].shape
    mates = [name for name in names if builder.values[name].shape == shape]
    if kind in ("max_pool2d", "avg_pool2d"):
        builder.add(kind, (source,), draw(_windows(*shape[2:])))
    elif kind == "global":
        builder.add("global_avg_pool2d", (source,))
    elif kind == "upsample2d" and max(shape[2:]) <= 12:
        builder.add(kind, (source,), {"scales": (2, 2)})
    elif kind == "concat":
        fitting = [name for name in names if builder.values[name].shape[2:] == shape[2:]]
        builder.add(kind, (source, draw(st.sampled_from(fitting))), {"axis": 1})
    elif kind == "residual":
        fresh = _add_float_conv(draw, builder, source, same_shape=True)
        builder.add("add", (fresh, draw(st.sampled_from(mates))))
    elif kind == "activation":
        _add_activation(draw, builder, source)
    elif kind in FLOAT_NEW_KINDS:
        _add_new_float(draw, builder, kind, source)
    else:
        _add_activation(draw, builder, _add_float_conv(draw, builder, source, same_shape=False))


def _add_new_float(draw: st.DrawFn, builder: GraphBuilder, kind: str, source: str) -> None:
    _, channels, height, width = builder.values[source].shape
    if kind == "scale_shift":
        params = {"scale": builder.rng.normal(1, 0.3, channels).astype(np.float32)}
        if draw(st.booleans()):
            params["offset"] = builder.rng.normal(0, 0.2, channels).astype(np.float32)
        builder.add(kind, (source,), params=params)
    elif kind == "smooth":
        builder.add("activation", (source,), {"kind": draw(st.sampled_from(sorted(ACTIVATIONS)))})
    elif kind == "pad2d":
        builder.add(kind, (source,), {"pads": tuple(draw(st.integers(0, 2)) for _ in range(4))})
    elif kind == "slice":
        low, high = zip(*draw(_boxes((1, channels, height, width))).values(), strict=True)
        builder.add(kind, (source,), {"low": (0, *low), "high": (1, *high)})
    elif kind == "groups":
        groups = draw(st.sampled_from(_divisors(channels)))
        kernel, attrs = draw(_conv_windows(height, width))
        shape = (groups * draw(st.integers(1, 2)), channels // groups, *kernel)
        weight = builder.rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        builder.add("conv2d", (source,), {**attrs, "groups": groups}, {"weight": weight})
    elif max(height, width) <= 16:
        _add_float_transposed(draw, builder, source)


def _add_float_transposed(draw: st.DrawFn, builder: GraphBuilder, source: str) -> None:
    channels = builder.values[source].shape[1]
    groups = draw(st.sampled_from(_divisors(channels)))
    stride, kernel = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    cut = draw(st.integers(0, (kernel - 1) // 2))
    attrs = {"strides": (stride,) * 2, "pads": (cut,) * 4, "output_pads": (draw(st.integers(0, stride - 1)),) * 2}
    shape = (channels, draw(st.integers(1, 3)), kernel, kernel)
    weight = builder.rng.normal(0, np.sqrt(1 / (channels * kernel)), shape).astype(np.float32)
    params = {"weight": weight, "bias": builder.rng.normal(0, 0.1, shape[1] * groups).astype(np.float32)}
    builder.add("conv_transpose2d", (source,), {**attrs, "dilations": (1, 1), "groups": groups}, params)


def _add_activation(draw: st.DrawFn, builder: GraphBuilder, source: str) -> str:
    op = draw(st.sampled_from(["relu", "leaky_relu", "clip"]))
    attrs = {"relu": {}, "leaky_relu": {"alpha": 0.1}, "clip": {"lo": 0.0, "hi": 6.0}}[op]
    return builder.add(op, (source,), attrs)


def _add_float_conv(draw: st.DrawFn, builder: GraphBuilder, source: str, same_shape: bool) -> str:
    shape = builder.values[source].shape
    if same_shape:
        kernel, attrs = (3, 3), {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    else:
        kernel, attrs = draw(_conv_windows(*shape[2:]))
    outputs = shape[1] if same_shape else draw(st.integers(1, 12))
    fan_in = shape[1] * kernel[0] * kernel[1]
    weight = builder.rng.normal(0, np.sqrt(2 / fan_in), (outputs, shape[1], *kernel)).astype(np.float32)
    params = {"weight": weight}
    if draw(st.booleans()):
        params["bias"] = builder.rng.normal(0, 0.2, outputs).astype(np.float32)
    return builder.add("conv2d", (source,), {**attrs, "groups": 1}, params)
