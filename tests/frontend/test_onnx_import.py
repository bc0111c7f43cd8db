"""Import against ONNX's own reference evaluator, and every error that a user can meet."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_import import import_file, import_model
from mpi_vta.frontend.zoo import build_digits, build_resnet18, build_yolo
from mpi_vta.graph.reference import execute


class Net:
    """A throw-away ONNX model: one input, nodes chained by name."""

    def __init__(self, shape, seed=0, opset=17):
        self.shape, self.opset = tuple(shape), opset
        self.rng = np.random.default_rng(seed)
        self.nodes, self.initializers = [], []

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def normal(self, name, *shape, mean=0.0, spread=1.0):
        return self.constant(name, self.rng.normal(mean, spread, shape).astype(np.float32))

    def add(self, op, *inputs, name=None, **attrs):
        name = name or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attrs))
        return name

    def conv(self, source, inputs, outputs, kernel=3, bias=True, name=None, **attrs):
        name = name or f"n{len(self.nodes)}"
        spread = (2 / (inputs * kernel * kernel)) ** 0.5
        operands = [source, self.normal(f"{name}.weight", outputs, inputs, kernel, kernel, spread=spread)]
        if bias:
            operands.append(self.normal(f"{name}.bias", outputs))
        return self.add("Conv", *operands, name=name, **attrs)

    def batch_norm(self, source, channels, name=None):
        name = name or f"n{len(self.nodes)}"
        scale, shift = self.normal(f"{name}.s", channels, mean=1.0), self.normal(f"{name}.b", channels)
        variance = np.abs(self.rng.normal(1, 0.3, channels)).astype(np.float32) + 0.1
        mean, var = self.normal(f"{name}.m", channels), self.constant(f"{name}.v", variance)
        return self.add("BatchNormalization", source, scale, shift, mean, var, name=name, epsilon=1e-3)

    def model(self, *outputs):
        make = helper.make_tensor_value_info
        graph_input = make("input", TensorProto.FLOAT, self.shape)
        results = [make(name, TensorProto.FLOAT, None) for name in outputs or [self.nodes[-1].output[0]]]
        graph = helper.make_graph(self.nodes, "net", [graph_input], results, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def compare(model, seed=0, positive=False):
    """Import a model, run it both ways, return our graph."""
    graph = import_model(model, "net", "net.onnx")
    image = np.random.default_rng(seed).normal(size=graph.values["input"].shape).astype(np.float32)
    image = np.abs(image) if positive else image
    expected = ReferenceEvaluator(model).run(None, {"input": image})
    results = execute(graph, {graph.inputs[0]: image})
    for name, array in zip(graph.outputs, expected, strict=True):
        np.testing.assert_allclose(results[name], array, rtol=1e-4, atol=1e-4 * max(1, np.abs(array).max()))
    return graph


def ops(graph):
    return [node.op for node in graph.nodes]


# ---- against the reference evaluator

PIECES = ("conv", "conv_bn", "relu", "leaky", "clip", "max_pool", "avg_pool", "resize", "concat", "residual", "pad")


@st.composite
def nets(draw):
    size = draw(st.integers(5, 9))
    net = Net((1, draw(st.integers(1, 4)), size, size), seed=draw(st.integers(0, 1000)))
    source, channels = "input", net.shape[1]
    for _ in range(draw(st.integers(1, 5))):
        piece = draw(st.sampled_from(PIECES))
        if piece in ("conv", "conv_bn", "pad"):
            outputs, kernel = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 3]))
            attrs = {"pads": [draw(st.integers(0, 1)) for _ in range(4)], "strides": [draw(st.integers(1, 2))] * 2}
            attrs |= {"dilations": [draw(st.integers(1, 2))] * 2}
            attrs["pads"] = [p + attrs["dilations"][0] * (kernel - 1) // 2 for p in attrs["pads"]]
            if piece == "pad":
                source = net.add("Pad", source, net.constant(f"p{len(net.nodes)}", np.array([0, 0, 1, 0, 0, 0, 0, 2])))
            source = net.conv(source, channels, outputs, kernel, bias=draw(st.booleans()), **attrs)
            channels = outputs
            if piece == "conv_bn":
                source = net.batch_norm(source, channels)
        elif piece == "relu":
            source = net.add("Relu", source)
        elif piece == "leaky":
            source = net.add("LeakyRelu", source, alpha=draw(st.sampled_from([0.0, 0.01, 0.1, 0.5])))
        elif piece == "clip":
            low, high = net.constant(f"lo{len(net.nodes)}", np.float32(0)), f"hi{len(net.nodes)}"
            source = net.add("Clip", source, low, net.constant(high, np.float32(draw(st.sampled_from([1, 6])))))
        elif piece == "max_pool":
            pads = [draw(st.integers(0, 1))] * 4
            source = net.add("MaxPool", source, kernel_shape=[2, 2], strides=[draw(st.integers(1, 2))] * 2, pads=pads)
        elif piece == "avg_pool":
            source = net.add("AveragePool", source, kernel_shape=[2, 2], pads=[1] * 4, count_include_pad=1)
        elif piece == "resize":
            scales = net.constant(f"sc{len(net.nodes)}", np.array([1, 1, 2, 2], np.float32))
            attrs = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            source = net.add("Resize", source, "", scales, mode="nearest", **attrs)
        elif piece == "concat":
            source = net.add("Concat", source, net.add("Relu", source), axis=1)
            channels *= 2
        elif piece == "residual":
            source = net.add("Add", net.conv(source, channels, channels, 3, pads=[1] * 4), source)
    if draw(st.booleans()):
        source = net.add("Flatten", net.add("GlobalAveragePool", source))
        weight = net.normal("fc.weight", 4, channels)
        source = net.add("Gemm", source, weight, net.normal("fc.bias", 4), transB=1, alpha=0.5, beta=2.0)
        source = net.add("Softmax", source, axis=-1)
    return net.model()


@settings(deadline=None, max_examples=40)
@given(nets())
def test_random_nets_match_the_reference_evaluator(model):
    compare(model)


def test_resnet18_matches_the_reference_evaluator():
    compare(build_resnet18(0, None))


def test_digits_matches_the_reference_evaluator():
    compare(build_digits(0, None), positive=True)


def test_yolo_matches_the_reference_evaluator():
    """Its stride-1 pooling is padded by a Pad node here: the evaluator gets uneven pads of MaxPool wrong."""
    model = build_yolo(0, None)
    (pool,) = [node for node in model.graph.node if node.name == "layer11.pool"]
    next(a for a in pool.attribute if a.name == "pads").ints[:] = [0, 0, 0, 0]
    pads = numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 1, 1]), "pads")
    lowest = numpy_helper.from_array(np.float32(-np.inf), "lowest")
    model.graph.initializer.extend([pads, lowest])
    padding = helper.make_node("Pad", [pool.input[0], "pads", "lowest"], ["padded"], name="padding")
    model.graph.node.insert(list(model.graph.node).index(pool), padding)
    pool.input[0] = "padded"
    graph = compare(model, positive=True)
    assert graph.sha256 == import_model(build_yolo(0, None), "net", "net.onnx").sha256


def test_matmul_with_bias_is_a_dense_layer():
    net = Net((1, 2, 2, 2))
    product = net.add("MatMul", net.add("Flatten", "input"), net.normal("w", 8, 3), name="product")
    net.add("Sigmoid", net.add("Add", net.normal("b", 3), product))
    graph = compare(net.model())
    assert ops(graph) == ["flatten", "dense", "sigmoid"]
    assert graph.nodes[1].name == "product"


def test_reduce_mean_without_kept_axes_is_a_global_pool_and_a_flatten():
    net = Net((1, 3, 4, 5))
    net.add("ReduceMean", "input", axes=[2, 3], keepdims=0)
    assert ops(compare(net.model())) == ["global_avg_pool2d", "flatten"]


def test_identity_dropout_and_dead_nodes_disappear():
    net = Net((1, 3, 4, 4))
    kept = net.add("Relu", net.add("Dropout", net.add("Identity", "input")), name="kept")
    net.add("Sigmoid", "input", name="dead")
    graph = compare(net.model(kept))
    assert [node.name for node in graph.nodes] == ["kept"]


def test_constant_nodes_and_reshape_are_understood():
    net = Net((1, 2, 3, 3))
    shape = net.add("Constant", value=numpy_helper.from_array(np.array([1, -1])))
    net.add("Reshape", net.add("Relu", "input"), shape)
    assert ops(compare(net.model())) == ["relu", "flatten"]


def test_shape_arithmetic_of_exporters_is_folded():
    """x.view(x.size(0), -1) as torch writes it."""
    net = Net((1, 2, 3, 3))
    active = net.add("Relu", "input")
    first = net.add("Gather", net.add("Shape", active), net.constant("zero", np.array(0)), axis=0)
    rows = net.add("Unsqueeze", first, net.constant("axes", np.array([0])))
    net.add("Reshape", active, net.add("Concat", rows, net.constant("rest", np.array([-1])), axis=0))
    assert ops(compare(net.model())) == ["relu", "flatten"]


def test_softmax_before_opset_13_works_on_axis_1():
    net = Net((1, 2, 3, 3), opset=11)
    net.add("Softmax", net.add("Flatten", "input"))
    assert ops(compare(net.model())) == ["flatten", "softmax"]


def test_two_layers_of_one_name_get_two_names():
    net = Net((1, 1, 2, 2))
    first = helper.make_node("Relu", ["input"], ["a"], name="act")
    second = helper.make_node("Sigmoid", ["a"], ["b"], name="act")
    net.nodes += [first, second]
    assert [node.name for node in compare(net.model("b")).nodes] == ["act", "act.2"]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_pads_become_explicit(auto_pad):
    net = Net((1, 2, 7, 6))
    net.conv("input", 2, 3, 3, strides=[2, 2], auto_pad=auto_pad)
    graph = import_model(net.model(), "net", "net.onnx")
    explicit = {"SAME_UPPER": (1, 0, 1, 1), "SAME_LOWER": (1, 1, 1, 0), "VALID": (0, 0, 0, 0)}
    assert graph.nodes[0].attrs["pads"] == explicit[auto_pad]


def test_ceil_mode_becomes_padding():
    net = Net((1, 2, 6, 6))
    net.add("MaxPool", "input", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    graph = compare(net.model())
    assert graph.nodes[0].attrs["pads"] == (0, 0, 1, 1)


def test_upsample_of_opset_9_is_repetition():
    net = Net((1, 2, 3, 3), opset=9)
    net.add("Upsample", "input", net.constant("s", np.array([1, 1, 2, 3], np.float32)), mode="nearest")
    graph = import_model(net.model(), "net", "net.onnx")
    assert graph.nodes[0].attrs == {"scales": (2, 3)}


@pytest.mark.parametrize(
    ("coordinates", "rounding", "scale", "plain"),
    [
        ("asymmetric", "floor", 3, True),
        ("half_pixel", "round_prefer_floor", 2, True),
        ("pytorch_half_pixel", "round_prefer_ceil", 3, True),
        ("half_pixel", "floor", 2, False),
        ("asymmetric", "ceil", 2, False),
        ("align_corners", "floor", 2, False),
    ],
)
def test_only_a_resize_that_repeats_pixels_is_taken(coordinates, rounding, scale, plain):
    net = Net((1, 1, 4, 4))
    sizes = net.constant("sizes", np.array([1, 1, 4 * scale, 4 * scale]))
    attrs = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    net.add("Resize", "input", "", "", sizes, mode="nearest", **attrs)
    if plain:
        assert compare(net.model()).nodes[0].attrs == {"scales": (scale, scale)}
    else:
        with pytest.raises(ModelError, match="allowed: modes that repeat each pixel"):
            import_model(net.model(), "net", "net.onnx")


# ---- errors


def refused(net, message, *outputs):
    with pytest.raises(ModelError, match=message):
        import_model(net.model(*outputs), "net", "net.onnx")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"absent.onnx: cannot read the model \(No such file"):
        import_file(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", [b"", b"this is text, not a model", b"\x00\xff" * 40])
def test_a_file_that_is_not_onnx_is_refused(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.onnx: not an ONNX model"):
        import_file(path)


def test_a_truncated_model_is_refused(tmp_path):
    path = tmp_path / "cut.onnx"
    data = build_digits(0, None).SerializeToString()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="not an ONNX model"):
        import_file(path)


def test_a_file_is_imported_under_its_name(tmp_path):
    onnx.save(build_digits(0, None), tmp_path / "mine.onnx")
    assert import_file(tmp_path / "mine.onnx").name == "mine"


def test_an_unsupported_operator_is_named_with_the_supported_ones():
    net = Net((1, 3, 4, 4))
    net.add("Tanh", "input", name="squash")
    refused(net, r"net.onnx: node squash: operator Tanh is not supported; allowed: Conv, Gemm, .*Softmax")


def test_an_operator_of_another_domain_is_unsupported():
    net = Net((1, 3, 4, 4))
    net.nodes.append(helper.make_node("Relu", ["input"], ["y"], name="odd", domain="com.example"))
    refused(net, "operator com.example.Relu is not supported", "y")


@pytest.mark.parametrize("shape", [("batch", 3, 4, 4), (1, 3, "h", 4), (1, 3, 0, 4)])
def test_a_dynamic_shape_is_refused(shape):
    net = Net(shape)
    net.add("Relu", "input")
    refused(net, "input input: dynamic shape .*fixed input shape")


def test_another_batch_is_refused():
    net = Net((2, 3, 4, 4))
    net.add("Relu", "input")
    refused(net, "batch 2; allowed: 1")


def test_another_rank_or_type_is_refused():
    net = Net((1, 3))
    net.add("Relu", "input")
    refused(net, r"shape \(1, 3\); allowed: \(1, C, H, W\)")
    model = Net((1, 3, 4, 4))
    model.add("Relu", "input")
    proto = model.model()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(ModelError, match="element type is not float32"):
        import_model(proto, "net", "net.onnx")


def test_several_inputs_are_refused():
    net = Net((1, 3, 4, 4))
    net.add("Add", "input", "second")
    proto = net.model()
    proto.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, (1, 3, 4, 4)))
    with pytest.raises(ModelError, match=r"the model has 2 inputs \(input, second\); allowed: one image input"):
        import_model(proto, "net", "net.onnx")


def test_weights_in_another_file_are_read_and_missed(tmp_path):
    path = tmp_path / "split.onnx"
    onnx.save(build_digits(0, None), path, save_as_external_data=True, location="split.data", size_threshold=0)
    inside = import_model(build_digits(0, None), "split", "split")
    assert import_file(path).sha256 == inside.sha256
    (tmp_path / "split.data").unlink()
    with pytest.raises(ModelError, match=r"split\.onnx: its weights lie in another file, which cannot be read"):
        import_file(path)


def test_an_output_that_nothing_makes_is_named():
    net = Net((1, 2, 4, 4))
    net.add("Relu", "input")
    refused(net, "nothing makes the output ghost", "ghost")


def test_a_damaged_initialiser_is_named():
    net = Net((1, 2, 4, 4))
    net.conv("input", 2, 1, name="c")
    proto = net.model()
    proto.graph.initializer[0].dims[0] = 7
    with pytest.raises(ModelError, match=r"initialiser c.weight does not fit its shape \(7, 2, 3, 3\)"):
        import_model(proto, "net", "net.onnx")


def test_a_constant_that_cannot_be_computed_is_named():
    net = Net((1, 2, 4, 4))
    shape = net.add("Reshape", net.constant("five", np.arange(5)), net.constant("to", np.array([2, 2])), name="bad")
    net.add("Reshape", "input", shape)
    refused(net, r"node bad \(Reshape\): the constant cannot be computed \(ValueError\)")


def batch_norm_of_shared_conv(net):
    conv = net.conv("input", 4, 4, 1, name="c")
    net.add("Add", net.batch_norm(conv, 4, name="bn"), conv)


def padded_conv(net, pads, *more, **attrs):
    amounts = net.constant("pads", np.array(pads))
    net.conv(net.add("Pad", "input", amounts, *more, name="pad", **attrs), 4, 4)


def resized(net, scales, mode):
    net.add("Resize", "input", "", net.constant("scales", np.array(scales, np.float32)), mode=mode)


REFUSED = {
    "groups": (
        lambda net: net.add("Conv", "input", net.normal("w", 4, 1, 3, 3), group=4),
        r"node n0 \(Conv\): 4 groups; allowed: 1 group",
    ),
    "conv1d weight": (lambda net: net.add("Conv", "input", net.normal("w", 4, 4, 3)), r"weight of shape \(4, 4, 3\)"),
    "batch norm": (
        lambda net: net.batch_norm(net.add("Relu", "input"), 4, name="bn"),
        r"node bn \(BatchNormalization\): batch normalisation of n0, .*allowed: .* directly after Conv",
    ),
    "shared conv": (batch_norm_of_shared_conv, "batch normalisation of c, which is not the result"),
    "computed weight": (
        lambda net: net.add("Conv", "input", net.add("Relu", net.normal("w", 4, 4, 1, 1))),
        "input 1 .* is not a constant; export the model with constant folding",
    ),
    "pad value": (
        lambda net: padded_conv(net, [0, 0, 1, 1] * 2, net.constant("v", np.float32(1))),
        r"node pad \(Pad\): padding with 1.0 before Conv .*; allowed: zeros before Conv, -inf before MaxPool",
    ),
    "pad mode": (lambda net: padded_conv(net, [0, 0, 1, 1] * 2, mode="reflect"), "mode reflect; allowed: constant"),
    "pad channels": (lambda net: padded_conv(net, [0, 1, 0, 0] * 2), "allowed: height and width only"),
    "pad axes": (
        lambda net: padded_conv(net, [1, 1], "", net.constant("axes", np.array([2]))),
        "padding of chosen axes",
    ),
    "constant add": (
        lambda net: net.add("Add", "input", net.normal("b", 1, 4, 1, 1)),
        "addition of a constant; allowed: a bias inside Conv",
    ),
    "broadcast": (
        lambda net: net.add("Add", "input", net.add("GlobalAveragePool", "input")),
        r"broadcast of \(1, 4, 4, 4\) and \(1, 4, 1, 1\); allowed: equal shapes",
    ),
    "alpha": (lambda net: net.add("LeakyRelu", "input", alpha=1.5), "alpha 1.5; allowed: 0 <= alpha < 1"),
    "average without pads": (
        lambda net: net.add("AveragePool", "input", kernel_shape=[2, 2], pads=[1] * 4),
        "padding that does not count towards the mean",
    ),
    "dilated pool": (
        lambda net: net.add("MaxPool", "input", kernel_shape=[2, 2], dilations=[2, 2]),
        "dilated pooling; allowed: dilations of 1",
    ),
    "storage order": (
        lambda net: net.add("MaxPool", "input", kernel_shape=[2, 2], storage_order=1),
        "storage_order 1; allowed: 0",
    ),
    "mean axes": (
        lambda net: net.add("ReduceMean", "input", axes=[1], keepdims=1),
        r"mean over axes \[1\]; allowed: height and width",
    ),
    "concat axis": (lambda net: net.add("Concat", "input", "input", axis=2), "concatenation along axis 2"),
    "reshape": (
        lambda net: net.add("Reshape", "input", net.constant("s", np.array([1, 2, 8, 4]))),
        r"reshape of \(1, 4, 4, 4\) to \(1, 2, 8, 4\)",
    ),
    "softmax axis": (lambda net: net.add("Softmax", "input", axis=1), "softmax over axis 1; allowed: the last axis"),
    "linear resize": (lambda net: resized(net, [1, 1, 2, 2], "linear"), "mode linear; allowed: nearest"),
    "fractional resize": (
        lambda net: resized(net, [1, 1, 1.5, 2], "nearest"),
        r"scales \[1.0, 1.0, 1.5, 2.0\]; allowed: 1, 1 and whole numbers",
    ),
    "transposed gemm": (
        lambda net: net.add("Gemm", net.add("Flatten", "input"), net.normal("w", 1, 3), transA=1),
        "transA = 1; allowed: transA = 0",
    ),
    "matmul rank": (
        lambda net: net.add("MatMul", "input", net.normal("w", 1, 4, 4, 2)),
        r"right operand of shape \(1, 4, 4, 2\)",
    ),
    "inconsistent": (
        lambda net: net.conv("input", 3, 4, 1, name="c"),
        r"node c \(Conv\): the model is inconsistent",
    ),
    "clip bound": (
        lambda net: net.add("Clip", "input", net.normal("lo", 4), name="c"),
        r"node c \(Clip\): input 1 has shape \(4,\); allowed: one number",
    ),
    "unknown tensor": (
        lambda net: net.add("Add", "input", "ghost", name="a"),
        r"node a \(Add\): reads ghost, which nothing before it makes",
    ),
    "no input": (lambda net: net.add("Relu", "", name="r"), r"node r \(Relu\): has no input"),
    "two producers": (
        lambda net: net.add("Relu", net.add("Relu", "input", name="r"), name="r"),
        "makes r a second time",
    ),
    "constant input": (
        lambda net: net.add("Gemm", net.normal("x", 1, 3), net.normal("w", 3, 3), name="g"),
        r"node g \(Gemm\): mpi_vta.dense of shape \(1, 3\) has no counterpart",
    ),
    "dead outputs": (lambda net: net.add("Constant", value_float=1.0, name="c"), "do not depend on any supported node"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_use_without_counterpart_is_refused(kind, capfd):
    misuse, message = REFUSED[kind]
    net = Net((1, 4, 4, 4))
    misuse(net)
    refused(net, message)
    assert capfd.readouterr() == ("", "")
