"""Import against ONNX's own reference evaluator, and every error that a user can meet."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import Net, compare, ops

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_import import import_file, import_model
from mpi_vta.frontend.zoo import build_digits, build_resnet18, build_yolo

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


@pytest.mark.slow
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


def test_a_shape_that_follows_from_a_computed_one_is_folded():
    """x.chunk(2, 1) twice, as torch writes it: the extents of the first half follow from computed ends."""
    net, half = Net((1, 8, 3, 3)), "input"
    one, two, start = (net.constant(name, np.array([number])) for name, number in (("one", 1), ("two", 2), ("zero", 0)))
    for _ in range(2):
        channels = net.add("Gather", net.add("Shape", half), one, axis=0)
        end = net.add("Div", net.add("Add", channels, one), two)
        half = net.add("Slice", half, start, end, one)
    graph = compare(net.model())
    assert graph.values[graph.outputs[0]].shape == (1, 2, 3, 3)


def test_a_constant_is_split_expanded_and_chosen():
    net = Net((1, 4, 3, 3))
    whole = net.add("Expand", net.constant("x", np.ones((2, 1), np.float32)), net.constant("to", np.array([2, 4])))
    net.nodes.append(helper.make_node("Split", [whole], ["a", "b"], axis=0, name="split"))
    chosen = net.add("Where", net.constant("which", np.array([[True, False, True, False]])), "a", "b")
    net.add("Mul", "input", net.add("Reshape", chosen, net.constant("shape", np.array([1, 4, 1, 1]))))
    assert ops(compare(net.model())) == ["scale_shift"]


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
    assert import_file(tmp_path / "mine.onnx").graph.name == "mine"


def test_an_unsupported_operator_is_named_with_the_supported_ones():
    net = Net((1, 3, 4, 4))
    net.add("Cos", "input", name="squash")
    refused(net, r"net.onnx: node squash: operator Cos is not supported; allowed: Conv, .*Gemm, .*Softmax")


def test_an_operator_of_another_domain_is_unsupported():
    net = Net((1, 3, 4, 4))
    net.nodes.append(helper.make_node("Relu", ["input"], ["y"], name="odd", domain="com.example"))
    refused(net, "operator com.example.Relu is not supported", "y")


@pytest.mark.parametrize("shape", [("batch", 3, "h", 4), (1, 3, "h", 4), (1, 3, 0, 4)])
def test_a_dynamic_shape_is_refused(shape):
    net = Net(shape)
    net.add("Relu", "input")
    refused(net, r"input input: dynamic shape .*; --input-shape 1,3,N,4")


def test_another_rank_or_type_is_refused():
    net = Net((1, 3))
    net.add("Relu", "input")
    refused(net, r"shape \(1, 3\); allowed: \(1, C, L\) or \(1, C, H, W\)")
    model = Net((1, 3, 4, 4))
    model.add("Relu", "input")
    proto = model.model()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ModelError, match="element type INT64; allowed: float32, float16, bfloat16, float64, uint8"):
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
    assert import_file(path).graph.sha256 == inside.sha256
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


def constants(net, *arrays):
    return [net.constant(f"k{index}", np.asarray(array)) for index, array in enumerate(arrays)]


def padded_conv(net, pads, *more, **attrs):
    amounts = net.constant("pads", np.array(pads))
    net.conv(net.add("Pad", "input", amounts, *more, name="pad", **attrs), 4, 4)


def resized(net, scales, mode, **attrs):
    net.add("Resize", "input", "", net.constant("scales", np.array(scales, np.float32)), mode=mode, **attrs)


def inner(net, op, *inputs, **attrs):
    """Put a node between layers: at the end of a model the host may take it."""
    net.conv(net.add(op, *inputs, **attrs), 4, 4, 1, name="behind")


def attention(net):
    """Weigh the pixels of a picture by products of two of its own projections."""
    pixels = net.add("Reshape", net.conv("input", 4, 4), net.constant("extents", np.array([1, 4, 16])))
    rows = net.add("Transpose", pixels, perm=[0, 2, 1])
    query, key, value = (net.add("MatMul", rows, net.normal(name, 4, 4)) for name in "qkv")
    scores = net.add("MatMul", query, net.add("Transpose", key, perm=[0, 2, 1]), name="scores")
    net.add("MatMul", net.add("Softmax", scores, axis=-1), value, name="weighted")


REFUSED = {
    "groups": (
        lambda net: net.add("Conv", "input", net.normal("w", 4, 2, 3, 3), group=4, name="c"),
        r"node c \(Conv\): weight \(4, 2, 3, 3\) with groups 4 does not fit input \(1, 4, 4, 4\); correct that layer",
    ),
    "conv1d weight": (lambda net: net.add("Conv", "input", net.normal("w", 4, 4, 3)), r"weight of shape \(4, 4, 3\)"),
    "batch norm constants": (
        lambda net: net.batch_norm(net.add("Relu", "input"), 3, name="bn"),
        r"node bn \(BatchNormalization\): 3 constants for 4 channels; allowed: one per channel",
    ),
    "batch norm shapes": (
        lambda net: net.add("BatchNormalization", "input", *(net.normal(f"p{n}", n) for n in (4, 4, 4, 3)), name="bn"),
        r"node bn .*constants of shapes \(4,\), \(4,\), \(4,\), \(3,\); allowed: four of shape \(C,\)",
    ),
    "negative variance": (
        lambda net: net.add("BatchNormalization", "input", *constants(net, *-np.ones((4, 4), np.float32))),
        "a variance that is not positive",
    ),
    "computed weight": (
        lambda net: net.add("Conv", "input", net.add("Relu", net.normal("w", 4, 4, 1, 1))),
        "input 1 .* is not a constant; allowed: a constant; export the model with constant folding",
    ),
    "pad value": (
        lambda net: padded_conv(net, [0, 0, 1, 1] * 2, net.constant("v", np.float32(1))),
        r"node pad \(Pad\): padding with 1.0; allowed: zeros, or -inf before MaxPool",
    ),
    "pad mode": (lambda net: padded_conv(net, [0, 0, 1, 1] * 2, mode="reflect"), "mode reflect; allowed: constant"),
    "pad channels": (lambda net: padded_conv(net, [0, 1, 0, 0] * 2), "allowed: height and width only"),
    "arity": (
        lambda net: net.add("Relu", "input", "input", name="r"),
        r"node r \(Relu\): 2 inputs; allowed: 1..1; check the export",
    ),
    "constant per pixel": (
        lambda net: inner(net, "Add", "input", net.normal("b", 1, 4, 4, 1)),
        r"a constant of shape \(1, 4, 4, 1\) with input of rank 4; allowed: one number, or one per channel",
    ),
    "integer constant": (
        lambda net: inner(net, "Mul", "input", net.constant("b", np.array(2))),
        "a constant of type int64; allowed: float32",
    ),
    "product": (
        lambda net: inner(net, "Mul", "input", net.add("GlobalAveragePool", "input"), name="m"),
        r"node m \(Mul\): product of two computed tensors, which VTA cannot form; allowed: an activation such as "
        r"x \* sigmoid\(x\), .*; train without such gates \(squeeze and excitation, attention\), or end the model",
    ),
    "difference": (
        lambda net: inner(net, "Sub", "input", net.add("GlobalAveragePool", "input")),
        r"difference of \(1, 4, 4, 4\) and \(1, 4, 1, 1\); allowed: equal shapes, or a constant",
    ),
    "quotient": (lambda net: inner(net, "Div", "input", net.add("Relu", "input")), "division by a computed tensor"),
    "division by zero": (lambda net: inner(net, "Div", "input", net.constant("z", np.float32(0))), "or by zero"),
    "reciprocal": (
        lambda net: inner(net, "Div", net.constant("o", np.float32(1)), "input"),
        "division by a computed tensor",
    ),
    "minimum": (
        lambda net: inner(net, "Min", "input", net.add("GlobalAveragePool", "input")),
        r"\(Min\): has no counterpart between layers; allowed: with one number, or of two tensors of one shape",
    ),
    "slopes": (
        lambda net: net.add("PRelu", "input", net.normal("s", 4, 4, 1)),
        r"slopes of shape \(4, 4, 1\); allowed: one, or one per channel",
    ),
    "exponential": (lambda net: inner(net, "Exp", "input"), r"\(Exp\): has no counterpart between layers; allowed: as"),
    "selu": (lambda net: net.add("Selu", "input", alpha=1.0), "alpha or gamma of its own; allowed: those of the paper"),
    "maximum over an axis": (
        lambda net: inner(net, "ReduceMax", "input", axes=[1], keepdims=1),
        r"ReduceMax over axes \[1\]; allowed: height and width",
    ),
    "integers": (
        lambda net: net.add("ArgMax", "input", name="a"),
        "node a: operator ArgMax gives integers; allowed: outputs in float32; end the model before it",
    ),
    "gather along rows": (
        lambda net: inner(net, "Gather", "input", net.constant("i", np.array([0, 1])), axis=2),
        r"gathers \(2,\) of \(1, 4, 4, 4\) along axis 2; allowed: channels of \(1, C, H, W\)",
    ),
    "gather beyond": (
        lambda net: inner(net, "Gather", "input", net.constant("i", np.array([0, 4])), axis=1),
        r"channels that \(1, 4, 4, 4\) has not",
    ),
    "vectors": (
        lambda net: net.add(
            "Gemm", net.add("Concat", *[net.add("Flatten", "input") for _ in "ab"], axis=1), net.normal("w", 128, 3)
        ),
        "concatenation of vectors between layers; allowed: those of .*; concatenate before flattening",
    ),
    "wide vector": (
        lambda net: net.conv(
            net.add(
                "Reshape",
                net.add("Gemm", net.add("Flatten", "input"), net.normal("w", 64, 8192)),
                net.constant("to", np.array([1, 2, 64, 64])),
            ),
            2,
            4,
        ),
        r"a vector that becomes a picture of \(1, 2, 64, 64\); allowed: .*; use a smaller picture and enlarge it",
    ),
    "blocks": (
        lambda net: inner(net, "SpaceToDepth", "input", blocksize=3),
        r"blocks of 3 do not divide \(1, 4, 4, 4\)",
    ),
    "no blocks": (
        lambda net: net.add("DepthToSpace", net.add("Flatten", "input"), blocksize=2),
        r"blocks of 2 in \(1, 64\); allowed: \(1, C, H, W\)",
    ),
    "batch sum": (
        lambda net: net.add("ReduceSum", "input", net.constant("axes", np.array([0])), keepdims=1),
        "a sum over the batch axis; allowed: the other axes",
    ),
    "shapes at the end": (
        lambda net: net.add("Mul", "input", net.normal("m", 1, 3, 4, 4)),
        r"operands of shapes \(1, 4, 4, 4\) and \(1, 3, 4, 4\); check the export",
    ),
    "boolean constant": (
        lambda net: net.add("Mul", "input", net.constant("m", np.array([True, False, True, False]))),
        "a constant of type bool; allowed: numbers",
    ),
    "window beyond": (
        lambda net: net.add("AveragePool", "input", kernel_shape=[5, 5], strides=[1, 1]),
        r"a window of \(5, 5\) in \(1, 4, 4, 4\); allowed: windows within the padded picture",
    ),
    "folded factors": (
        lambda net: net.batch_norm(
            net.add("Conv", "input", net.normal("w", 4, 4, 1, 1), net.normal("b", 2), name="c"), 4, name="bn"
        ),
        r"node c \(Conv\): weight \(4, 4, 1, 1\) and bias \(2,\) for 4 channels; check the export",
    ),
    "shrinking": (
        lambda net: resized(net, [1, 1, 0.5, 1], "linear"),
        "linear interpolation that resizes 4 to 2; allowed: enlargement by whole numbers",
    ),
    "mean of padding": (
        lambda net: net.add("AveragePool", "input", kernel_shape=[2, 2], strides=[1, 1], pads=[2] * 4),
        "a mean of padding alone; allowed: pads below the kernel",
    ),
    "resized channels": (
        lambda net: resized(net, [1, 2, 2, 2], "linear"),
        r"resizes \(1, 4, 4, 4\) to \[1, 8, 8, 8\]; allowed: rows and columns",
    ),
    "elu": (lambda net: net.add("Elu", "input", alpha=0.5), "alpha 0.5; allowed: 1"),
    "slice step": (
        lambda net: net.add("Slice", "input", *constants(net, [0], [4], [1], [2])),
        r"steps \[2\]; allowed: 1; more over rows and columns",
    ),
    "empty slice": (
        lambda net: net.add("Slice", "input", *constants(net, [3], [2], [1])),
        r"an empty slice \[0, 3, 0, 0\]..\[1, 2, 4, 4\]",
    ),
    "output shape": (
        lambda net: net.add("ConvTranspose", "input", net.normal("w", 4, 2, 3, 3), output_shape=[9, 9]),
        "output_shape; allowed: pads and output_padding",
    ),
    "batch transpose": (lambda net: net.add("Transpose", "input", perm=[1, 0, 2, 3]), r"perm \(1, 0, 2, 3\)"),
    "transpose between layers": (
        lambda net: net.conv(net.add("Transpose", "input", perm=[0, 1, 3, 2]), 4, 4),
        r"transpose \[0, 1, 3, 2\] between layers; allowed: around the whole model",
    ),
    "clip bounds": (
        lambda net: net.add("Clip", "input", *constants(net, np.float32(2), np.float32(1))),
        "min 2.0 exceeds",
    ),
    "qoperator": (
        lambda net: net.add("ConvInteger", "input", name="q"),
        r"node q: operator ConvInteger computes on integers .*quantise with quant_format=QuantFormat.QDQ",
    ),
    "qoperator without operands": (
        lambda net: net.add("QLinearConv", "input", name="q"),
        r"node q \(QLinearConv\): 1 inputs; check the export",
    ),
    "channels last": (
        lambda net: net.add("QLinearAveragePool", "input", channels_last=1, name="q"),
        r"node q \(QLinearAveragePool\): channels_last 1; allowed: 0",
    ),
    "broadcast": (
        lambda net: inner(net, "Add", "input", net.add("GlobalAveragePool", "input")),
        r"broadcast of \(1, 4, 4, 4\) and \(1, 4, 1, 1\); allowed: equal shapes",
    ),
    "alpha": (lambda net: net.add("LeakyRelu", "input", alpha=1.5), "alpha 1.5; allowed: 0 <= alpha < 1"),
    "dilated pool": (
        lambda net: net.add("MaxPool", "input", kernel_shape=[2, 2], dilations=[2, 2]),
        "dilated pooling; allowed: dilations of 1",
    ),
    "storage order": (
        lambda net: net.add("MaxPool", "input", kernel_shape=[2, 2], storage_order=1),
        "storage_order 1; allowed: 0",
    ),
    "mean axes": (
        lambda net: net.conv(net.add("ReduceMean", "input", axes=[1], keepdims=1), 1, 4),
        r"mean over axes \[1\]; allowed: height and width",
    ),
    "concat axis": (lambda net: inner(net, "Concat", "input", "input", axis=2), "concatenation along axis 2"),
    "reshape": (
        lambda net: net.conv(net.add("Reshape", "input", net.constant("s", np.array([1, 2, 8, 4]))), 2, 2),
        r"reshape of \(1, 4, 4, 4\) to \(1, 2, 8, 4\)",
    ),
    "softmax axis": (lambda net: inner(net, "Softmax", "input", axis=1), "softmax over axis 1; allowed: the last axis"),
    "cubic resize": (lambda net: resized(net, [1, 1, 2, 2], "cubic"), "mode cubic; allowed: nearest, linear"),
    "aligned corners": (
        lambda net: resized(net, [1, 1, 2, 2], "linear", coordinate_transformation_mode="align_corners"),
        "linear interpolation with align_corners; allowed: .*; export with align_corners=False, or use mode nearest",
    ),
    "linear reduction": (
        lambda net: resized(net, [1, 1, 1.5, 2], "linear"),
        "linear interpolation that resizes 4 to 6; allowed: enlargement by whole numbers",
    ),
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
        lambda net: net.add("MaxPool", "input", kernel_shape=[2], strides=[1], name="p"),
        r"node p \(MaxPool\): the model is inconsistent",
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
        r"node g \(Gemm\): works on the constant x; export the model with constant folding",
    ),
    "absent constant": (
        lambda net: net.add("Conv", "input", "", name="c"),
        r"node c \(Conv\): input 1 \(absent\) is not a constant; allowed: a constant; check the export",
    ),
    "attention": (
        lambda net: attention(net),
        r"node scores \(MatMul\): input 1 .* is not a constant; allowed: a constant; end the model before it$",
    ),
    "constant before a layer of the input": (
        lambda net: net.add("MatMul", net.normal("x", 4, 4), net.conv("input", 4, 4, name="c"), name="m"),
        r"node m \(MatMul\): .*; end the model before it$",
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


def test_node_without_an_output_is_refused():
    net = Net((1, 3, 8, 8))
    model = net.model(net.conv("input", 3, 4, name="conv"))
    del model.graph.node[0].output[:]
    with pytest.raises(ModelError, match="node conv: it has no output; allowed: a file written by an ONNX exporter"):
        import_model(model, "net", "net.onnx")


def test_layer_that_does_not_fit_is_refused_with_its_file():
    net = Net((1, 3, 8, 8))
    model = net.model(net.add("MaxPool", "input", kernel_shape=[9, 9], name="pool"))
    with pytest.raises(
        ModelError, match=r"node pool \(MaxPool\): window \(9, 9\) is larger than the padded input .*; correct that"
    ):
        import_model(model, "net", "net.onnx")


def test_names_that_are_not_utf_8_are_refused():
    net = Net((1, 3, 8, 8))
    data = net.model(net.conv("input", 3, 4, name="layer")).SerializeToString().replace(b"Conv", b"\xffonv")
    with pytest.raises(ModelError, match="a node's names are not UTF-8; allowed: a file written by an ONNX exporter"):
        import_model(onnx.load_model_from_string(data), "net", "net.onnx")
