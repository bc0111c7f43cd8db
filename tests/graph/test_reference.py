"""The reference against a second opinion written with plain Python integers, one element at a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from graph_strategies import (
    FLOAT_KINDS,
    FLOAT_NEW_KINDS,
    GraphBuilder,
    float_graphs,
    int8_graphs,
    random_inputs,
)
from hypothesis import given, settings

from mpi_vta.errors import GraphError
from mpi_vta.graph.activations import ACTIVATIONS
from mpi_vta.graph.definitions import wrap_int32
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.graph.reference import execute, execute_all


def wrapped(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def activated(total: int, attrs) -> int:
    if attrs["leaky"] is not None:
        m, k = attrs["leaky"]
        total = max(total, wrapped(total * m) >> k)
    return total


def clipped(total: int, attrs) -> int:
    shift = attrs["shift"]
    return min(max(wrapped(total + (1 << shift >> 1)) >> shift, attrs["lo"]), attrs["hi"])


def window(image, channel: int, y: int, x: int, kernel, attrs):
    """Values of one window in one channel; None where it hangs over the edge."""
    (top, left, _, _), (step_y, step_x) = attrs["pads"], attrs["strides"]
    far_y, far_x = attrs.get("dilations", (1, 1))
    for dy, dx in itertools.product(range(kernel[0]), range(kernel[1])):
        row, column = y * step_y + dy * far_y - top, x * step_x + dx * far_x - left
        inside = 0 <= row < image.shape[1] and 0 <= column < image.shape[2]
        yield int(image[channel, row, column]) if inside else None


def pieces(x: int, attrs) -> int:
    total = 0
    for m, side, threshold in zip(attrs["multipliers"], attrs["sides"], attrs["thresholds"], strict=True):
        total += {0: m * x, 1: max(m * x, threshold), -1: min(m * x, threshold)}[side]
    return total


def element(graph: Graph, node: Node, inputs, channel: int, y: int, x: int) -> int:
    attrs, first = node.attrs, inputs[0]
    if node.op == "conv2d":
        weight, bias = graph.constants[node.params["weight"]], graph.constants[node.params["bias"]]
        total = int(bias[channel])
        group = channel // (weight.shape[0] // attrs["groups"])
        for source in range(weight.shape[1]):
            pixels = window(first, group * weight.shape[1] + source, y, x, weight.shape[2:], attrs)
            for pixel, factor in zip(pixels, weight[channel, source].reshape(-1), strict=True):
                total += (pixel or 0) * int(factor)
        if "channel_shift" in node.params:
            total = wrapped(total) >> int(graph.constants[node.params["channel_shift"]][channel])
        if len(inputs) == 2:
            total += int(inputs[1][channel, y, x]) << attrs["residual_shift"]
        return clipped(activated(wrapped(total), attrs), attrs)
    if node.op == "max_pool2d":
        return max(v for v in window(first, channel, y, x, attrs["kernel"], attrs) if v is not None)
    if node.op == "avg_pool2d":
        total = sum(v or 0 for v in window(first, channel, y, x, attrs["kernel"], attrs))
        return clipped(wrapped(total * attrs["multiplier"]), attrs)
    if node.op == "sum":
        pairs = zip(inputs, attrs["input_shifts"], strict=True)
        total = wrapped(sum(int(image[channel, y, x]) << shift for image, shift in pairs))
        return clipped(activated(total, attrs), attrs)
    if node.op == "upsample2d":
        return int(first[channel, y // attrs["scales"][0], x // attrs["scales"][1]])
    if node.op == "slice2d":
        return int(first[channel + attrs["channels"][0], y + attrs["rows"][0], x + attrs["cols"][0]])
    if node.op == "piecewise":
        return clipped(wrapped(attrs["offset"] + pieces(int(first[channel, y, x]), attrs)), attrs)
    if node.op == "spread2d":
        (row, rest_y), (column, rest_x) = divmod(y, attrs["scales"][0]), divmod(x, attrs["scales"][1])
        return 0 if rest_y or rest_x else int(first[channel, row, column])
    if node.op == "pad2d":
        row, column = y - attrs["pads"][0], x - attrs["pads"][1]
        inside = 0 <= row < first.shape[1] and 0 <= column < first.shape[2]
        return int(first[channel, row, column]) if inside else 0
    assert node.op == "concat"
    return int(np.concatenate(inputs)[channel, y, x])


@settings(deadline=None, max_examples=60)
@given(int8_graphs(max_nodes=4, max_channels=5, max_size=6))
def test_int8_graphs_match_a_scalar_interpreter(graph):
    inputs = random_inputs(graph, seed=3, count=2)
    values = execute_all(graph, inputs)
    assert list(values) == list(graph.values)
    for node in graph.nodes:
        result = values[node.output]
        assert result.dtype == np.int8
        assert result.shape == (2, *graph.values[node.output].shape[1:])
        image = 1
        arrays = [values[name][image] for name in node.inputs]
        for position in itertools.product(*(range(n) for n in result.shape[1:])):
            assert result[(image, *position)] == element(graph, node, arrays, *position), (node, position)


@settings(deadline=None, max_examples=30)
@given(int8_graphs())
def test_images_do_not_influence_each_other(graph):
    inputs = random_inputs(graph, seed=1, count=3)
    together = execute(graph, inputs)
    assert tuple(together) == graph.outputs
    for index in range(3):
        alone = execute(graph, {name: array[index : index + 1] for name, array in inputs.items()})
        for name in graph.outputs:
            np.testing.assert_array_equal(alone[name][0], together[name][index])


@settings(deadline=None, max_examples=30)
@given(float_graphs(kinds=FLOAT_KINDS + FLOAT_NEW_KINDS))
def test_float_outputs_have_the_stored_shapes(graph):
    for name, array in execute(graph, random_inputs(graph, count=2)).items():
        assert array.dtype == np.float32
        assert array.shape == (2, *graph.values[name].shape[1:])
        assert np.isfinite(array).all()


def single(op: str, shape, attrs=None, **params) -> Graph:
    builder = GraphBuilder("float32", np.random.default_rng(0))
    builder.add(op, (builder.input(shape),), attrs, params)
    return builder.build()


def run(graph: Graph, x) -> np.ndarray:
    return execute(graph, {graph.inputs[0]: np.asarray(x, np.float32)})[graph.outputs[0]]


def test_float_operators_compute_what_their_names_say():
    x = np.array([[-2.0, 0.0, 3.0]], np.float32)
    np.testing.assert_array_equal(run(single("relu", (1, 3)), x), [[0, 0, 3]])
    np.testing.assert_allclose(run(single("leaky_relu", (1, 3), {"alpha": 0.1}), x), [[-0.2, 0, 3]], rtol=1e-6)
    np.testing.assert_array_equal(run(single("clip", (1, 3), {"lo": -1.0, "hi": 2.0}), x), [[-1, 0, 2]])
    np.testing.assert_allclose(run(single("sigmoid", (1, 3)), x), 1 / (1 + np.exp(-x)), rtol=1e-6)
    np.testing.assert_allclose(run(single("softmax", (1, 3)), x), np.exp(x) / np.exp(x).sum(), rtol=1e-6)
    weight, bias = np.array([[1, 2, 3]], np.float32), np.array([5], np.float32)
    np.testing.assert_array_equal(run(single("dense", (1, 3), weight=weight, bias=bias), x), [[12]])
    image = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(run(single("global_avg_pool2d", (1, 2, 2, 2)), image).ravel(), [1.5, 5.5])
    np.testing.assert_array_equal(run(single("flatten", (1, 2, 2, 2)), image), [range(8)])


def test_grouped_convolution_keeps_the_groups_apart():
    weight = np.array([2.0, 3.0], np.float32).reshape(2, 1, 1, 1)
    attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 2}
    graph = single("conv2d", (1, 2, 1, 1), attrs, weight=weight)
    np.testing.assert_array_equal(run(graph, [[[[1]], [[10]]]]).ravel(), [2, 30])


@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (3, 2, 1)])
def test_a_transposed_convolution_adds_a_kernel_at_every_pixel(stride, dilation, groups):
    rng = np.random.default_rng(1)
    x = rng.integers(-9, 10, (1, 4, 3, 5)).astype(np.float32)
    weight = rng.integers(-9, 10, (4, 2, 3, 2)).astype(np.float32)
    attrs = {"strides": (stride,) * 2, "dilations": (dilation,) * 2, "groups": groups, "pads": (1, 0, 0, 1)}
    attrs["output_pads"] = (stride - 1, 0)
    bias = np.arange(2 * groups, dtype=np.float32)
    graph = single("conv_transpose2d", x.shape, attrs, weight=weight, bias=bias)
    full = np.zeros((2 * groups, 2 * stride + 2 * dilation + stride, 4 * stride + dilation + 1), np.float32)
    for source, out, y, i in itertools.product(range(4), range(2), range(3), range(5)):
        for ky, kx in itertools.product(range(3), range(2)):
            target = source // (4 // groups) * 2 + out
            full[target, y * stride + ky * dilation, i * stride + kx * dilation] += (
                x[0, source, y, i] * weight[source, out, ky, kx]
            )
    np.testing.assert_array_equal(run(graph, x)[0], (full + bias[:, None, None])[:, 1:, :-1])


def test_activations_compute_what_their_names_say():
    x = np.linspace(-8, 8, 33, dtype=np.float32).reshape(1, 33)
    wide = x.astype(np.float64)
    logistic = 1 / (1 + np.exp(-wide))
    gate = np.clip(wide / 6 + 0.5, 0, 1)
    expected = {
        "sigmoid": logistic, "silu": wide * logistic, "tanh": np.tanh(wide), "hard_sigmoid": gate,
        "hard_swish": wide * gate, "mish": wide * np.tanh(np.log1p(np.exp(wide))),
        "elu": np.where(wide > 0, wide, np.exp(wide) - 1),
        "gelu": wide / 2 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))),
        "quick_gelu": wide / (1 + np.exp(-1.702 * wide)), "softplus": np.log1p(np.exp(wide)), "abs": abs(wide),
        "selu": 1.0507009873554805 * np.where(wide > 0, wide, 1.6732632423543772 * (np.exp(wide) - 1)),
    }  # fmt: skip
    assert expected.keys() == ACTIVATIONS.keys()
    for kind, values in expected.items():
        result = run(single("activation", (1, 33), {"kind": kind}), x)
        np.testing.assert_allclose(result, values, rtol=1e-5, atol=6e-4 if kind == "gelu" else 1e-6)


def test_what_the_host_alone_does_broadcasts_reduces_joins_and_cuts():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)  # two images
    shape = (1, 3, 4)
    rule = {"rule": "subtract", "constant_first": 1}
    constant = np.array([[1], [2], [3]], np.float32)
    result = run(single("arithmetic", shape, rule, constant=constant), x)
    np.testing.assert_array_equal(result, constant - x)
    for name, values in (("sum", x.sum(1)), ("mean", x.mean(1)), ("max", x.max(1)), ("min", x.min(1))):
        np.testing.assert_array_equal(run(single("reduce", shape, {"rule": name, "axis": 1}), x)[:, 0], values)
    box = {"low": (0, 1, 0), "high": (1, 3, 2)}
    np.testing.assert_array_equal(run(single("slice", shape, box), x), x[:, 1:3, :2])


def test_a_factor_per_channel_fits_maps_and_rows():
    scale, offset = np.array([2, -1], np.float32), np.array([0.5, 0], np.float32)
    graph = single("scale_shift", (1, 2, 1, 2), scale=scale, offset=offset)
    np.testing.assert_array_equal(run(graph, [[[[1, 2]], [[3, 4]]]]).ravel(), [2.5, 4.5, -3, -4])
    np.testing.assert_array_equal(run(single("scale_shift", (1, 2), scale=scale), [[1, 2]]), [[2, -2]])


def test_exact_sums_wrap_and_do_not_saturate():
    exact = np.array([2**31 - 1, 2**31, 2**31 + 5, -(2**31), -(2**31) - 1, 2**40 + 7], np.float64)
    wanted = [2**31 - 1, -(2**31), -(2**31) + 5, -(2**31), 2**31 - 1, 7]
    assert wrap_int32(exact).tolist() == wanted
    assert wrap_int32(exact).dtype == np.int32


def test_accumulators_wrap_like_int32():
    builder = GraphBuilder("int8", np.random.default_rng(0))
    attrs = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "groups": 1, "residual_shift": 0, "leaky": None}
    attrs |= {"shift": 24, "lo": -128, "hi": 127}
    params = {"weight": np.ones((1, 1, 1, 1), np.int8), "bias": np.array([2**31 - 1], np.int32)}
    builder.add("conv2d", (builder.input((1, 1, 1, 1), 0),), attrs, params, 0)
    graph = builder.build()
    result = execute(graph, {"input0": np.array([[[[1]]]], np.int8)})
    assert result[graph.outputs[0]].item() == -128


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (None, "no array given"),
        (np.zeros((1, 3), np.float64), "got float64"),
        (np.zeros((1, 4), np.float32), r"allowed: float32 of shape \(n, 3\)"),
        (np.zeros((0, 3), np.float32), "at least 1"),
    ],
)
def test_wrong_inputs_are_refused(array, message):
    with pytest.raises(GraphError, match=message):
        execute(single("relu", (1, 3)), {} if array is None else {"input0": array})
