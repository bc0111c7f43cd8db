"""Every operator against onnxruntime, with random weights; folding, patterns and layouts."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_nets import Net, ops

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_import import import_model
from mpi_vta.graph.reference import execute


def check(net, expected_ops, *outputs, layout=None):
    """Compare with onnxruntime and return our graph; `layout` orders the axes of the file's input."""
    model = net.model(*outputs)
    graph = import_model(model, "net", "net.onnx")
    assert ops(graph) == expected_ops
    image = np.random.default_rng(1).normal(0, 2, graph.values["input"].shape).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given_image = image if layout is None else image.transpose(layout)
    wanted = session.run(None, {"input": given_image})
    found = execute(graph, {"input": image})
    for name, array in zip(graph.outputs, wanted, strict=True):
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=2e-5 * max(1, np.abs(array).max()))
    return graph


@st.composite
def convolutions(draw):
    group = draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = group * draw(st.integers(1, 3)), group * draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    attrs = {
        "group": group,
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 3)) for _ in range(2)],
        "dilations": [draw(st.integers(1, 2)) for _ in range(2)],
    }
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    return inputs, outputs, attrs, pads, draw(st.booleans())


@settings(deadline=None, max_examples=25)
@given(convolutions())
def test_convolutions_of_any_stride_padding_dilation_and_groups(case):
    inputs, outputs, attrs, pads, bias = case
    net = Net((1, inputs, 8, 9))
    operands = ["input", net.normal("w", outputs, inputs // attrs["group"], *attrs["kernel_shape"])]
    net.add("Conv", *operands, *([net.normal("b", outputs)] if bias else []), pads=pads, **attrs)
    check(net, ["conv2d"])


@settings(deadline=None, max_examples=25)
@given(convolutions())
def test_transposed_convolutions(case):
    inputs, outputs, attrs, pads, bias = case
    spans = [(k - 1) * d + 1 for k, d in zip(attrs["kernel_shape"], attrs["dilations"], strict=True)]
    attrs |= {"pads": [min(p, spans[i % 2] - 1) for i, p in enumerate(pads)]}
    attrs |= {"output_padding": [min(s, d) - 1 for s, d in zip(attrs["strides"], (2, 3), strict=True)]}
    net = Net((1, inputs, 5, 4))
    operands = ["input", net.normal("w", inputs, outputs // attrs["group"], *attrs["kernel_shape"])]
    net.add("ConvTranspose", *operands, *([net.normal("b", outputs)] if bias else []), **attrs)
    check(net, ["conv_transpose2d"])


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_pads_of_transposed_convolutions(auto_pad):
    net = Net((1, 3, 5, 4))
    net.add("ConvTranspose", "input", net.normal("w", 3, 2, 4, 3), strides=[2, 2], auto_pad=auto_pad)
    check(net, ["conv_transpose2d"])


def test_batch_norm_is_folded_into_transposed_and_grouped_convolutions():
    net = Net((1, 4, 5, 5))
    x = net.batch_norm(net.add("ConvTranspose", "input", net.normal("w", 4, 3, 2, 2), group=2, strides=[2, 2]), 6)
    net.batch_norm(net.add("Conv", x, net.normal("v", 6, 1, 3, 3), group=6), 6)
    check(net, ["conv_transpose2d", "conv2d"])


def test_batch_norm_that_follows_no_convolution_of_its_own_stays():
    net = Net((1, 4, 5, 5))
    shared = net.conv("input", 4, 4, 1, name="c")
    net.add("Add", net.batch_norm(net.add("Relu", net.batch_norm(shared, 4)), 4), shared)
    check(net, ["conv2d", "scale_shift", "relu", "scale_shift", "add"])


def test_arithmetic_with_constants_is_folded_or_merged():
    net = Net((1, 3, 4, 4))
    number, channels = net.constant("n", np.float32(255)), net.normal("c", 1, 3, 1, 1, mean=1)
    x = net.add("Div", net.add("Sub", "input", channels), number)
    x = net.add("Neg", net.add("Sub", net.constant("one", np.float32(1)), x))
    x = net.add(
        "Mul", net.add("Add", net.conv(x, 3, 4, name="conv"), net.normal("o", 4, 1, 1)), net.normal("f", 4, 1, 1)
    )
    graph = check(net, ["scale_shift", "conv2d"])
    assert graph.nodes[1].name == "conv"


def test_a_dense_layer_takes_a_following_constant():
    net = Net((1, 2, 2, 2))
    x = net.add("Gemm", net.add("Flatten", "input"), net.normal("w", 3, 8), transB=1)
    net.add("Mul", x, net.normal("f", 3))
    check(net, ["flatten", "dense"])


ACTIVATIONS = {
    "hard_swish": lambda net, x: net.add("HardSwish", x),
    "hard_sigmoid": lambda net, x: net.add("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "silu": lambda net, x: net.add("Mul", net.add("Sigmoid", x), x),
    "tanh": lambda net, x: net.add("Tanh", x),
    "mish": lambda net, x: net.add("Mul", x, net.add("Tanh", net.add("Softplus", x))),
    "elu": lambda net, x: net.add("Elu", x),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations(kind):
    net = Net((1, 3, 4, 4))
    net.conv(ACTIVATIONS[kind](net, "input"), 3, 2)
    graph = check(net, ["activation", "conv2d"])
    assert graph.nodes[0].attrs == {"kind": kind}


def relu6_of_x_plus_3(net, x):
    moved = net.add("Add", x, net.constant("three", np.float32(3)))
    return net.add("Clip", moved, net.constant("low", np.float32(0)), net.constant("high", np.float32(6)))


def by(net, op, x, number):
    return net.add(op, x, net.constant(f"by {number}", np.float32(number)))


def two_bounds(net, x):
    return by(net, "Min", net.add("Relu", by(net, "Add", x, 3)), 6)


SPELLINGS = {
    "product, divided": lambda net, x, clip: by(net, "Div", net.add("Mul", x, clip), 6),
    "product, scaled": lambda net, x, clip: by(net, "Mul", net.add("Mul", clip, x), 1 / 6),
    "gate divided": lambda net, x, clip: net.add("Mul", by(net, "Div", clip, 6), x),
    "gate scaled": lambda net, x, clip: net.add("Mul", x, by(net, "Mul", clip, 1 / 6)),
    "gate": lambda net, x, clip: net.add("Mul", x, net.add("HardSigmoid", x, alpha=1 / 6)),
    "two bounds": lambda net, x, clip: by(net, "Div", net.add("Mul", x, two_bounds(net, x)), 6.0),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_hard_swish_is_recognized_in_every_spelling(spelling):
    net = Net((1, 3, 4, 4))
    SPELLINGS[spelling](net, "input", relu6_of_x_plus_3(net, "input"))
    graph = check(net, ["activation"])
    assert graph.nodes[0].attrs == {"kind": "hard_swish"}


def test_hard_sigmoid_of_another_slope_is_a_product_a_sum_and_a_clip():
    net = Net((1, 3, 4, 4))
    net.add("HardSigmoid", net.conv("input", 3, 4), alpha=0.2, beta=0.4)
    check(net, ["conv2d", "clip"])


def test_a_sigmoid_between_layers_is_an_activation_and_at_the_end_the_host_s():
    net = Net((1, 3, 4, 4))
    net.add("Sigmoid", net.conv(net.add("Sigmoid", "input"), 3, 2))
    check(net, ["activation", "conv2d", "sigmoid"])


def test_one_sided_bounds_and_slopes():
    net = Net((1, 3, 4, 4))
    x = net.add("Min", net.add("Max", "input", net.constant("a", np.float32(-1))), net.constant("b", np.float32(2)))
    net.add("PRelu", x, net.constant("slope", np.full((3, 1, 1), 0.25, np.float32)))
    check(net, ["clip", "clip", "leaky_relu"])


def test_slices_and_splits():
    net = Net((1, 5, 6, 6))
    cut = [net.constant(n, np.array(v)) for n, v in (("s", [1, -4]), ("e", [99, -1]), ("x", [1, 3]))]
    source = net.add("Slice", "input", *cut)
    sizes = net.constant("sizes", np.array([1, 3]))
    net.nodes.append(helper.make_node("Split", [source, sizes], ["a", "b"], axis=1, name="split"))
    graph = check(net, ["slice", "slice", "slice"], "a", "b")
    assert graph.nodes[0].attrs == {"low": (0, 1, 0, 2), "high": (1, 5, 6, 5)}


def test_padding_stays_where_nothing_takes_it():
    net = Net((1, 3, 4, 4))
    padded = net.add("Pad", "input", net.constant("p", np.array([0, 0, 1, 0, 0, 0, 2, 1])))
    net.add("Add", net.conv(padded, 3, 3, 1), net.add("Relu", padded))
    check(net, ["pad2d", "conv2d", "relu", "add"])


def test_pads_of_chosen_axes():
    net = Net((1, 3, 4, 4), opset=18)
    net.add("Pad", "input", net.constant("p", np.array([1, 2, 0, 3])), "", net.constant("a", np.array([-1, 2])))
    graph = check(net, ["pad2d"])
    assert graph.nodes[0].attrs == {"pads": (2, 1, 3, 0)}


def test_global_maximum():
    net = Net((1, 3, 4, 5))
    net.add("Flatten", net.add("GlobalMaxPool", "input"))
    check(net, ["max_pool2d", "flatten"])


def test_squeezed_and_reshaped_ends():
    net = Net((1, 3, 4, 5))
    pooled = net.add("GlobalAveragePool", "input")
    net.add("Squeeze", pooled, net.constant("axes", np.array([2, 3])), name="a")
    net.add("Transpose", net.add("Reshape", "input", net.constant("s", np.array([1, 3, -1]))), perm=[0, 2, 1], name="b")
    graph = check(net, ["global_avg_pool2d", "flatten", "reshape", "transpose"], "a", "b")
    assert graph.values["b"].shape == (1, 20, 3)


# ---- channels last


def to_channels_last(net, x):
    return net.add("Transpose", x, perm=[0, 2, 3, 1])


def to_channels_first(net, x):
    return net.add("Transpose", x, perm=[0, 3, 1, 2])


def test_an_input_with_channels_last_becomes_one_with_channels_first():
    net = Net((1, 6, 7, 3))
    scaled = net.add("Mul", net.add("Sub", "input", net.normal("m", 3)), net.constant("k", np.float32(0.5)))
    net.conv(to_channels_first(net, scaled), 3, 4)
    graph = check(net, ["scale_shift", "conv2d"], layout=(0, 2, 3, 1))
    assert graph.values["input"].shape == (1, 3, 6, 7)


def test_transposes_between_layers_cancel():
    net = Net((1, 6, 7, 3))
    x = to_channels_last(net, net.conv(to_channels_first(net, "input"), 3, 4))
    y = net.add("Relu", net.add("Add", x, net.normal("b", 4)))
    pads = net.constant("p", np.array([0, 1, 1, 0, 0, 1, 1, 0]))
    both = net.add("Concat", net.add("Pad", y, pads), net.add("Pad", x, pads), axis=3)
    mean = net.add("ReduceMean", both, axes=[1, 2], keepdims=1)
    net.conv(to_channels_first(net, mean), 8, 2, 1, name="last")
    to_channels_last(net, "last")
    graph = import_model(net.model(), "net", "net.onnx")
    assert "transpose" not in ops(graph)[:-1]
    check(net, ops(graph), layout=(0, 2, 3, 1))


def test_padding_parts_and_a_mean_of_channels_last():
    """Keras: padding before the first layer, a split along the last axis, GlobalAveragePooling2D."""
    net = Net((1, 6, 7, 3))
    x = net.add("Pad", "input", net.constant("p", np.array([0, 1, 1, 0, 0, 1, 1, 0])))
    x = to_channels_last(net, net.conv(to_channels_first(net, x), 3, 4))
    cut = [net.constant(n, np.array(v)) for n, v in (("s", [1, 0]), ("e", [4, 99]), ("x", [3, 1]), ("t", [1, 2]))]
    x = net.add("Slice", x, *cut)
    net.nodes.append(
        helper.make_node("Split", [x, net.constant("n", np.array([1, 2]))], ["a", "b"], axis=3, name="split")
    )
    joined = net.add("Concat", "b", "a", axis=3)
    net.add("Gemm", net.add("ReduceMean", joined, axes=[1, 2], keepdims=0), net.normal("w", 3, 2))
    graph = import_model(net.model(), "net", "net.onnx")
    assert "transpose" not in ops(graph)
    check(net, ops(graph), layout=(0, 2, 3, 1))


def test_a_dense_layer_behind_channels_last_has_its_weights_reordered():
    net = Net((1, 4, 5, 3))
    x = to_channels_last(net, net.add("Relu", to_channels_first(net, "input")))
    flat = net.add("Reshape", x, net.constant("s", np.array([1, -1])))
    net.add("Add", net.add("MatMul", flat, net.normal("w", 60, 7)), net.normal("b", 7))
    check(net, ["relu", "flatten", "dense"], layout=(0, 2, 3, 1))


def test_an_output_with_channels_last_is_transposed_at_the_end():
    net = Net((1, 4, 5, 3))
    to_channels_last(net, net.conv(to_channels_first(net, "input"), 3, 2))
    graph = check(net, ["conv2d", "transpose"], layout=(0, 2, 3, 1))
    assert graph.nodes[1].attrs == {"order": (0, 2, 3, 1)}


def test_what_cannot_move_stays_and_is_refused_between_layers():
    net = Net((1, 4, 4, 4))
    net.add("MaxPool", to_channels_last(net, "input"), kernel_shape=[2, 2])
    with pytest.raises(ModelError, match="between layers"):
        import_model(net.model(), "net", "net.onnx")
