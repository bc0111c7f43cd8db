"""What the front end rewrites: the result equals ONNX's own evaluator, and consists of what VTA or the host can do."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_nets import Net, compare, ops

from mpi_vta.frontend.onnx_import import import_whole


def behind(net, source, channels):
    """Put a convolution behind a tensor, so that it does not stand at the end of the model."""
    return net.conv(source, channels, 4, 1, name="behind")


def shuffled(net, source, shape, split, order, last):
    first = net.add("Reshape", source, net.constant("first", np.array(split)))
    turned = net.add("Transpose", first, perm=order)
    return net.add("Reshape", turned, net.constant("last", np.array(last)), name="shuffle")


# ---- channels and blocks


def test_a_channel_shuffle_goes_into_the_weights_behind_it():
    net = Net((1, 6, 4, 4))
    x = net.conv("input", 6, 6, 1)
    behind(net, shuffled(net, x, None, [1, 2, 3, 4, 4], [0, 2, 1, 3, 4], [1, 6, 4, 4]), 6)
    assert ops(compare(net.model())) == ["conv2d", "conv2d"]


def test_a_channel_shuffle_before_other_layers_is_a_convolution_of_ones():
    net = Net((1, 6, 4, 4))
    x = shuffled(net, net.add("Relu", "input"), None, [1, 2, 3, 4, 4], [0, 2, 1, 3, 4], [1, 6, 4, 4])
    net.add("Add", x, net.add("Conv", x, net.normal("depthwise", 6, 1, 3, 3), group=6, pads=[1] * 4))
    graph = compare(net.model())
    assert ops(graph) == ["relu", "conv2d", "conv2d", "add"]
    assert set(np.unique(graph.param(graph.nodes[1], "weight"))) == {0, 1}


def test_a_shuffle_that_is_split_is_chosen_by_halves():
    """ShuffleNet's unit: one half goes on, the other through a convolution that takes the order."""
    net = Net((1, 8, 4, 4))
    x = shuffled(net, net.conv("input", 8, 8, 1), None, [1, 2, 4, 4, 4], [0, 2, 1, 3, 4], [1, 8, 4, 4])
    net.nodes.append(helper.make_node("Split", [x], ["a", "b"], axis=1, name="split"))
    net.add("Concat", "a", net.conv("b", 4, 4, 3, pads=[1] * 4), axis=1)
    assert ops(compare(net.model())) == ["conv2d", "conv2d", "conv2d", "concat"]


def test_a_shuffle_with_channels_last_is_one_too():
    net = Net((1, 4, 4, 6))
    x = net.add("Transpose", net.conv(net.add("Transpose", "input", perm=[0, 3, 1, 2]), 6, 6, 1), perm=[0, 2, 3, 1])
    x = shuffled(net, x, None, [1, 4, 4, 2, 3], [0, 1, 2, 4, 3], [1, 4, 4, 6])
    behind(net, net.add("Transpose", x, perm=[0, 3, 1, 2]), 6)
    graph = import_whole(net.model(), "net", "net.onnx").graph
    assert ops(graph) == ["conv2d", "conv2d"]


def test_channels_chosen_by_number():
    net = Net((1, 3, 4, 4))
    net.conv(net.add("Gather", "input", net.constant("order", np.array([2, 1, -3])), axis=1), 3, 4)
    assert ops(compare(net.model())) == ["conv2d"]


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_is_a_transposed_convolution_and_the_host_s_at_the_end(mode):
    net = Net((1, 8, 3, 4))
    x = net.add("DepthToSpace", net.add("Relu", "input"), blocksize=2, mode=mode)
    net.add("DepthToSpace", net.conv(x, 2, 8), blocksize=2, mode=mode)
    assert ops(compare(net.model())) == ["relu", "conv_transpose2d", "conv2d", "reshape", "transpose", "reshape"]


def test_space_to_depth_is_a_convolution():
    net = Net((1, 3, 4, 6))
    behind(net, net.add("SpaceToDepth", "input", blocksize=2), 12)
    assert ops(compare(net.model())) == ["conv2d", "conv2d"]


def test_a_pixel_unshuffle_of_reshapes_is_a_convolution():
    net = Net((1, 3, 4, 6))
    x = shuffled(net, net.add("Relu", "input"), None, [1, 3, 2, 2, 3, 2], [0, 1, 3, 5, 2, 4], [1, 12, 2, 3])
    behind(net, x, 12)
    assert ops(compare(net.model())) == ["relu", "conv2d", "conv2d"]


def test_a_vector_between_layers_becomes_a_picture():
    """An autoencoder with a dense bottleneck."""
    net = Net((1, 3, 4, 4))
    code = net.add("Gemm", net.add("Flatten", "input"), net.normal("code.weight", 48, 5))
    wide = net.add("Relu", net.add("Gemm", code, net.normal("wide.weight", 5, 24), net.normal("wide.bias", 24)))
    behind(net, net.add("Reshape", wide, net.constant("to", np.array([1, 4, 2, 3]))), 4)
    assert ops(compare(net.model())) == ["flatten", "dense", "dense", "relu", "unflatten", "conv_transpose2d", "conv2d"]


def test_a_vector_that_becomes_one_pixel_is_renamed():
    net = Net((1, 3, 4, 4))
    mean = net.add("ReduceMean", "input", axes=[2, 3], keepdims=0)
    wide = net.add("Gemm", mean, net.normal("w", 3, 6))
    behind(net, net.add("Reshape", wide, net.constant("to", np.array([1, 6, 1, 1]))), 6)
    assert ops(compare(net.model())) == ["global_avg_pool2d", "flatten", "dense", "unflatten", "conv2d"]


def test_reshapes_there_and_back_disappear():
    net = Net((1, 3, 4, 5))
    x = net.add("Reshape", net.add("Relu", "input"), net.constant("rows", np.array([1, 3, 20])))
    behind(net, net.add("Reshape", x, net.constant("back", np.array([1, 3, 4, 5]))), 3)
    assert ops(compare(net.model())) == ["relu", "conv2d"]


def test_steps_over_rows_and_columns_are_windows_of_one_pixel():
    net = Net((1, 3, 6, 7))
    cut = [net.constant(n, np.array(v)) for n, v in (("s", [1, 0]), ("e", [99, 99]), ("x", [2, 3]), ("t", [2, 3]))]
    behind(net, net.add("Slice", "input", *cut), 3)
    assert ops(compare(net.model())) == ["slice", "max_pool2d", "conv2d"]


# ---- means and interpolation


@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel_shape": [3, 3], "pads": [1] * 4},
        {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]},
        {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [5, 5], "pads": [2, 0, 2, 1], "strides": [1, 2]},
    ],
    ids=str,
)
def test_padding_that_does_not_count_is_made_up_for_at_the_borders(attrs):
    net = Net((1, 3, 8, 7), opset=19)
    net.add("AveragePool", "input", **attrs)
    graph = compare(net.model())
    assert set(ops(graph)) <= {"avg_pool2d", "slice", "conv2d", "add"}
    assert ops(graph).count("avg_pool2d") == 1


def test_a_mean_without_padding_is_one_layer():
    net = Net((1, 3, 8, 8))
    net.add("AveragePool", "input", kernel_shape=[2, 2], strides=[2, 2])
    assert ops(compare(net.model())) == ["avg_pool2d"]


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
@pytest.mark.parametrize("scales", [(2, 2), (3, 2), (4, 1)])
def test_linear_interpolation_by_whole_numbers(coordinates, scales):
    net = Net((1, 3, 4, 5))
    factors = net.constant("scales", np.array([1, 1, *scales], np.float32))
    net.add("Resize", "input", "", factors, mode="linear", coordinate_transformation_mode=coordinates)
    graph = compare(net.model())
    assert ops(graph)[:2] == ["upsample2d", "conv2d"]


def test_linear_interpolation_of_one_pixel_is_repetition():
    net = Net((1, 3, 4, 5))
    sizes = net.constant("sizes", np.array([1, 3, 4, 5]))
    net.add("Resize", net.add("GlobalAveragePool", "input"), "", "", sizes, mode="linear")
    assert ops(compare(net.model())) == ["global_avg_pool2d", "upsample2d"]


@pytest.mark.parametrize("axes", [(3, 2), (2, 2), ("flat", 2)])
def test_means_over_rows_then_columns_are_one(axes):
    net = Net((1, 3, 4, 5))
    first, second = axes
    if first == "flat":
        x = net.add("Reshape", "input", net.constant("to", np.array([1, 3, 20])))
    else:
        x = net.add("ReduceMean", "input", axes=[first], keepdims=0)
    net.add("ReduceMean", x, axes=[second], keepdims=0)
    assert ops(compare(net.model())) == ["global_avg_pool2d", "flatten"]


def test_a_mean_over_rows_alone_and_a_sum_and_a_maximum_over_the_picture():
    net = Net((1, 3, 4, 5), opset=17)
    x = net.conv(net.add("ReduceMean", "input", axes=[2], keepdims=1), 3, 3, 1)
    axes = net.constant("axes", np.array([2, 3]))
    both = [net.add("ReduceSum", x, axes, keepdims=0), net.add("ReduceMax", x, axes=[2, 3], keepdims=0)]
    net.add("Gemm", net.add("Concat", *both, axis=1), net.normal("w", 6, 2))
    assert set(ops(compare(net.model()))) == {
        *("avg_pool2d", "conv2d", "global_avg_pool2d", "scale_shift", "max_pool2d", "concat", "flatten", "dense"),
    }


# ---- arithmetic of two tensors


def test_slopes_per_channel_bend_what_is_below_zero():
    net = Net((1, 3, 4, 4))
    behind(
        net, net.add("PRelu", "input", net.constant("s", np.array([0.1, 1.5, -0.2], np.float32).reshape(3, 1, 1))), 3
    )
    assert ops(compare(net.model())) == ["scale_shift", "relu", "scale_shift", "add", "conv2d"]


@pytest.mark.parametrize("op", ["Sub", "Max", "Min"])
def test_differences_and_extremes_of_two_tensors(op):
    net = Net((1, 3, 4, 4))
    behind(net, net.add(op, net.conv("input", 3, 3, 1), net.conv("input", 3, 3, 1)), 3)
    assert set(ops(compare(net.model()))) <= {"conv2d", "add", "relu", "scale_shift"}


# ---- activations in any spelling


def gelu(net, x, spelling):
    half, one, root = (net.constant(n, np.float32(v)) for n, v in (("h", 0.5), ("o", 1), ("r", 2**0.5)))
    if spelling == "tanh":
        cube = net.add(
            "Mul", net.add("Pow", x, net.constant("three", np.float32(3))), net.constant("c", np.float32(0.044715))
        )
        inner = net.add("Mul", net.add("Add", x, cube), net.constant("k", np.float32((2 / np.pi) ** 0.5)))
        return net.add("Mul", net.add("Mul", x, half), net.add("Add", net.add("Tanh", inner), one))
    gate = net.add("Add", net.add("Erf", net.add("Div", x, root)), one)
    if spelling == "half last":
        return net.add("Mul", net.add("Mul", x, gate), half)
    return net.add("Mul", x, net.add("Mul", half, gate))


@pytest.mark.parametrize("spelling", ["half last", "half first", "tanh"])
def test_gelu_is_recognized_in_every_spelling(spelling):
    net = Net((1, 3, 4, 4))
    x = net.conv("input", 3, 3, 1)
    behind(net, net.add("Add", gelu(net, x, spelling), x), 3)
    graph = import_whole(net.model(), "net", "net.onnx").graph
    assert ops(graph) == ["conv2d", "activation", "add", "conv2d"]
    assert graph.nodes[1].attrs == {"kind": "gelu"}


@pytest.mark.parametrize(("op", "kind"), [("Gelu", "gelu"), ("Selu", "selu"), ("Softplus", "softplus"), ("Abs", "abs")])
def test_activations_of_one_node(op, kind):
    net = Net((1, 3, 4, 4), opset=20)
    behind(net, net.add(op, net.conv("input", 3, 3, 1)), 3)
    graph = import_whole(net.model(), "net", "net.onnx").graph
    assert graph.nodes[1].attrs == {"kind": kind}


def test_quick_gelu_is_recognized():
    net = Net((1, 3, 4, 4))
    x = net.conv("input", 3, 3, 1)
    gate = net.add("Sigmoid", net.add("Mul", x, net.constant("k", np.float32(1.702))))
    behind(net, net.add("Mul", x, gate), 3)
    graph = compare(net.model())
    assert graph.nodes[1].attrs == {"kind": "quick_gelu"}


# ---- the end of a model


def test_boxes_are_decoded_by_the_host():
    """YOLOv5's head: sigmoid, unequal parts, grids and anchors per position, a square, heads joined."""
    net = Net((1, 3, 4, 4))
    x = net.add("Reshape", net.conv("input", 3, 14, 1), net.constant("to", np.array([1, 2, 7, 4, 4])))
    x = net.add("Sigmoid", net.add("Transpose", x, perm=[0, 1, 3, 4, 2]))
    sizes = net.constant("sizes", np.array([2, 2, 3]))
    net.nodes.append(helper.make_node("Split", [x, sizes], ["xy", "wh", "rest"], axis=4, name="split"))
    two = net.constant("two", np.float32(2))
    centres = net.add("Add", net.add("Mul", "xy", two), net.normal("grid", 1, 2, 4, 4, 2))
    extents = net.add("Mul", net.add("Pow", net.add("Mul", "wh", two), two), net.normal("anchors", 1, 2, 1, 1, 2))
    joined = net.add("Concat", centres, extents, "rest", axis=4)
    net.add("Reshape", joined, net.constant("flat", np.array([1, 32, 7])))
    graph = compare(net.model())
    assert ops(graph).count("conv2d") == 1
    assert {"arithmetic", "slice", "concat", "sigmoid"} <= set(ops(graph))


def test_distances_are_expected_by_the_host():
    """YOLOv8's head: heads joined, a softmax over an inner axis, its mean by a convolution, boxes from distances."""
    net = Net((1, 3, 4, 4))
    heads = [
        net.add("Reshape", net.conv("input", 3, 18, 1), net.constant(f"t{i}", np.array([1, 18, 16]))) for i in (0, 1)
    ]
    sizes = net.constant("sizes", np.array([16, 2]))
    joined = net.add("Concat", *heads, axis=2)
    net.nodes.append(helper.make_node("Split", [joined, sizes], ["box", "classes"], axis=1, name="split"))
    x = net.add("Reshape", "box", net.constant("sides", np.array([1, 4, 4, 32])))
    x = net.add("Softmax", net.add("Transpose", x, perm=[0, 2, 1, 3]), axis=1)
    weight = net.constant("bins", np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1))
    x = net.add("Reshape", net.add("Conv", x, weight), net.constant("d", np.array([1, 4, 32])))
    halves = net.constant("halves", np.array([2, 2]))
    net.nodes.append(helper.make_node("Split", [x, halves], ["near", "far"], axis=1, name="halve"))
    anchors = net.normal("anchors", 1, 2, 32)
    low, high = net.add("Sub", anchors, "near"), net.add("Add", anchors, "far")
    middle = net.add("Div", net.add("Add", low, high), net.constant("two", np.float32(2)))
    boxes = net.add("Mul", net.add("Concat", middle, net.add("Sub", high, low), axis=1), net.normal("strides", 1, 32))
    net.add("Concat", boxes, net.add("Sigmoid", "classes"), axis=1)
    graph = compare(net.model())
    assert ops(graph).count("conv2d") == 2


def test_logarithms_norms_and_one_of_an_axis_at_the_end():
    net = Net((1, 3, 4, 4), opset=17)
    x = net.conv("input", 3, 6, 1)
    net.add("LogSoftmax", x, axis=1, name="chances")
    norm = net.add("ReduceL2", x, axes=[1, 2], keepdims=1)
    shape = net.constant("shape", np.array([1, 6, 4, 4]))
    net.add("Div", x, net.add("Expand", norm, shape), name="unit")
    net.add("Gather", x, net.constant("i", np.array(-2)), axis=1, name="one")
    net.add("ReduceMean", net.add("Sqrt", net.add("Exp", x)), axes=[1], keepdims=0, name="mean")
    graph = compare(net.model("chances", "unit", "one", "mean"))
    assert ops(graph).count("conv2d") == 1


def test_formulas_of_exported_programs_are_recognized():
    """PyTorch's programs spell ELU, softplus and slopes with exponentials and choices."""
    net = Net((1, 3, 4, 4))
    zero, one, far = (net.constant(n, np.float32(v)) for n, v in (("zero", 0), ("one", 1), ("far", 20)))
    x = net.conv("input", 3, 3, 1)
    below = net.add("Relu", net.add("Sub", one, net.add("Exp", x)))
    elu = net.add("Add", net.add("Mul", net.constant("minus", np.float32(-1)), below), net.add("Relu", x))
    logarithm = net.add("Log", net.add("Add", net.add("Exp", x), one))
    softplus = net.add("Where", net.add("Greater", x, far), x, logarithm)
    slopes = net.constant("slopes", np.array([0.1, 0.2, 0.3], np.float32).reshape(1, 3, 1, 1))
    bent = net.add("Where", net.add("Greater", x, zero), x, net.add("Mul", slopes, x))
    behind(net, net.add("Concat", elu, softplus, bent, axis=1), 9)
    graph = compare(net.model())
    assert [node.attrs["kind"] for node in graph.nodes if node.op == "activation"] == ["elu", "softplus"]
    assert "add" in ops(graph)
