"""QDQ files as onnxruntime's static quantiser writes them: weights, ranges, and what is refused."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_nets import Net, ops
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from mpi_vta.errors import ModelError
from mpi_vta.frontend.models import load_model
from mpi_vta.frontend.onnx_import import import_whole
from mpi_vta.graph.reference import execute
from mpi_vta.quantize.quantizer import quantize, sqnr_db

SHAPE = (1, 3, 12, 12)


def images(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE[1:])).astype(np.float32)


class Reader(CalibrationDataReader):
    def __init__(self):
        self._left = iter(images(8))

    def get_next(self):
        image = next(self._left, None)
        return None if image is None else {"input": image[None]}


def residual_net():
    net = Net(SHAPE)
    first = net.add("Relu", net.conv("input", 3, 8, pads=[1] * 4, name="first"))
    joined = net.add("Relu", net.add("Add", first, net.conv(first, 8, 8, pads=[1] * 4)))
    x = net.add("LeakyRelu", net.conv(net.add("MaxPool", joined, kernel_shape=[2, 2], strides=[2, 2]), 8, 8), alpha=0.1)
    x = net.add("Mul", x, net.add("Sigmoid", x))
    flat = net.add("Flatten", net.add("GlobalAveragePool", x))
    net.add("Gemm", flat, net.normal("fc.weight", 5, 8), net.normal("fc.bias", 5), transB=1)
    return net


def quantized(net, tmp_path, **options):
    logging.disable(logging.WARNING)
    onnx.save(net.model(), tmp_path / "float.onnx")
    options = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8, **options}
    options = {"quant_format": QuantFormat.QDQ, **options}
    quantize_static(tmp_path / "float.onnx", tmp_path / "qdq.onnx", Reader(), **options)
    logging.disable(logging.NOTSET)
    return tmp_path / "qdq.onnx"


def run(path, inputs):
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": image[None]})[0] for image in inputs])


VARIANTS = {
    "int8 per tensor": {},
    "int8 per channel": {"per_channel": True},
    "uint8 per channel": {"per_channel": True, "activation_type": QuantType.QUInt8},
    "symmetric": {"extra_options": {"ActivationSymmetric": True}},
    "pairs per reader": {"extra_options": {"DedicatedQDQPair": True}},
    "weights in pairs": {"extra_options": {"AddQDQPairToWeight": True}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_qdq_file_is_the_float_net_of_its_weights_with_ranges(tmp_path, variant):
    path = quantized(residual_net(), tmp_path, **VARIANTS[variant])
    model = load_model(str(path))
    seen = images(4, seed=1)
    found = execute(model.graph, {"input": seen})[model.graph.outputs[0]]
    wanted = run(path, seen)
    error = np.square(found - wanted).mean() / np.square(wanted).mean()
    assert error < 2e-3  # onnxruntime rounds every tensor to 8 bits, the float graph none
    names = {node.name for node in model.graph.nodes}
    assert "first" in names
    assert {"conv2d", "add", "max_pool2d", "leaky_relu", "activation", "dense"} <= set(ops(model.graph))
    assert {"input", *model.graph.outputs} <= set(model.ranges)
    low, high = model.ranges["input"]
    assert low < seen.min() * 0.7
    assert high > seen.max() * 0.7


def test_weights_are_those_of_the_file(tmp_path):
    path = quantized(residual_net(), tmp_path, per_channel=True)
    model = load_model(str(path))
    arrays = {entry.name: onnx.numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer}
    wanted = arrays["first.weight_quantized"] * arrays["first.weight_scale"][:, None, None, None]
    np.testing.assert_allclose(model.graph.constants["first.weight"], wanted, rtol=1e-6)


def test_a_relu_that_the_quantiser_dropped_is_back(tmp_path):
    net = Net(SHAPE)
    net.conv(net.add("Relu", net.conv("input", 3, 4)), 4, 2)
    path = quantized(net, tmp_path)
    assert "Relu" not in [node.op_type for node in onnx.load(path).graph.node]
    graph = load_model(str(path)).graph
    assert ops(graph) == ["conv2d", "clip", "conv2d"]
    assert graph.nodes[1].attrs["lo"] == 0


# ---- written by hand


class Qdq(Net):
    """A net with pairs of int8 at given scales."""

    def pair(self, source, scale, zero=0, kind=np.int8, output=None):
        tag = f"q{len(self.nodes)}"
        given = [self.constant(f"{tag}.s", np.float32(scale)), self.constant(f"{tag}.z", kind(zero))]
        stored = self.add("QuantizeLinear", source, *given, name=tag)
        return self.add("DequantizeLinear", stored, *given, name=output or f"{tag}.back")


def test_what_a_pair_states_becomes_a_range():
    net = Qdq((1, 2, 4, 4))
    x = net.pair("input", 0.5)
    x = net.pair(net.add("MaxPool", net.pair(net.conv(x, 2, 3, name="c"), 0.25, -28), kernel_shape=[2, 2]), 0.25, -28)
    net.pair(net.add("Relu", x), 0.1, 0, np.uint8, output="y")
    imported = import_whole(net.model("y"), "net", "net")
    assert ops(imported.graph) == ["conv2d", "max_pool2d", "relu"]
    assert imported.graph.outputs == ("y",)
    assert imported.ranges["input"] == (-64, 63.5)
    assert imported.ranges["c"] == (-25, 38.75)
    assert imported.ranges[imported.graph.nodes[1].output] == (-25, 38.75)
    assert imported.ranges["y"] == pytest.approx((0, 25.5))


def test_an_exact_pair_before_an_addition_stays_a_value_of_its_own():
    net = Qdq((1, 3, 4, 4))
    x = net.pair("input", 2**-4)
    net.pair(net.add("Add", net.pair(net.conv(x, 3, 3, 1), 2**-3), x), 2**-2, output="y")
    imported = import_whole(net.model("y"), "net", "net")
    assert ops(imported.graph) == ["conv2d", "clip", "add"]
    assert (imported.graph.nodes[1].attrs["lo"], imported.graph.nodes[1].attrs["hi"]) == (-16, 15.875)


def with_weight_scales(net, scales, zero_points):
    """Add a convolution whose four filters have so many scales and zero points."""
    weight, scale = net.constant("w", np.ones((4, 3, 1, 1), np.int8)), net.constant("s", np.ones(scales, np.float32))
    zero = net.constant("z", np.zeros(zero_points, np.int8))
    return net.add("Conv", "input", net.add("DequantizeLinear", weight, scale, zero, axis=0))


REFUSED = {
    "type": (lambda net: net.pair("input", 1, 0, np.int16), "quantises to int16; allowed: int8, uint8"),
    "scale": (lambda net: net.pair("input", 0.0), "scale 0.0; allowed: a positive number"),
    "per channel": (
        lambda net: net.add("QuantizeLinear", "input", net.constant("s", np.ones(3, np.float32))),
        r"input 1 has shape \(3,\); allowed: one number",
    ),
    "other scale": (
        lambda net: net.add(
            "DequantizeLinear",
            net.add("QuantizeLinear", "input", net.constant("s", np.float32(1)), net.constant("z", np.int8(0))),
            net.constant("t", np.float32(2)),
            net.constant("y", np.int8(0)),
        ),
        r"n1 \(DequantizeLinear\) does not undo it; allowed: DequantizeLinear of the same scale",
    ),
    "integer arithmetic": (
        lambda net: net.add(
            "MaxPool",
            net.add("QuantizeLinear", "input", net.constant("s", np.float32(1)), net.constant("z", np.int8(0))),
            kernel_shape=[2, 2],
        ),
        r"n1 \(MaxPool\) does not undo it",
    ),
    "integer output": (
        lambda net: net.add("QuantizeLinear", "input", net.constant("s", np.float32(1)), net.constant("z", np.int8(0))),
        "an output in integers; allowed: float32 outputs",
    ),
    "half a pair": (
        lambda net: net.add("DequantizeLinear", "input", net.constant("s", np.float32(1))),
        "dequantises input, which no QuantizeLinear makes",
    ),
    "weight scales": (
        lambda net: with_weight_scales(net, 3, 3),
        r"3 scales for a tensor of shape \(4, 3, 1, 1\) along axis 0; allowed: one, or one per channel",
    ),
    "zero points": (
        lambda net: with_weight_scales(net, 4, 2),
        r"zero points int8 \(2,\); allowed: as many integers as scales",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_uses_are_refused(kind):
    misuse, message = REFUSED[kind]
    net = Qdq((1, 3, 4, 4))
    misuse(net)
    with pytest.raises(ModelError, match=message):
        import_whole(net.model(), "net", "net")


def test_an_operator_with_integer_arithmetic_of_its_own_is_refused():
    node = helper.make_node("ConvInteger", ["input", "input"], ["y"], name="q")
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 3, 4, 4)) for n in ("input", "y"))
    model = helper.make_model(helper.make_graph([node], "g", [given], [made]))
    with pytest.raises(ModelError, match="ConvInteger computes on integers in its own way; allowed: float models"):
        import_whole(model, "net", "net")


def test_an_activation_of_several_nodes_is_recognized_between_its_pairs(tmp_path):
    """Ranges of uint8 that begin at 0 stand within GELU as they would behind a dropped ReLU."""
    net = Net(SHAPE)
    x = net.conv("input", 3, 8)
    root, one, half = (net.constant(n, np.float32(v)) for n, v in (("root", 2**0.5), ("one", 1), ("half", 0.5)))
    gate = net.add("Add", net.add("Erf", net.add("Div", x, root)), one)
    net.conv(net.add("Mul", net.add("Mul", x, gate), half), 8, 4)
    path = quantized(net, tmp_path, activation_type=QuantType.QUInt8)
    assert ops(load_model(str(path)).graph) == ["conv2d", "activation", "conv2d"]


def test_a_channel_shuffle_is_recognized_between_its_pairs(tmp_path):
    net = Net(SHAPE)
    x = net.conv("input", 3, 8, pads=[1] * 4)
    x = net.add("Reshape", x, net.constant("first", np.array([1, 2, 4, 12, 12])))
    x = net.add("Transpose", x, perm=[0, 2, 1, 3, 4])
    net.conv(net.add("Reshape", x, net.constant("last", np.array([1, 8, 12, 12]))), 8, 4)
    assert ops(load_model(str(quantized(net, tmp_path))).graph) == ["conv2d", "conv2d"]


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_qoperator_format_is_as_near_to_onnxruntime(tmp_path, per_channel):
    path = quantized(residual_net(), tmp_path, quant_format=QuantFormat.QOperator, per_channel=per_channel)
    listed = {node.op_type for node in onnx.load(path).graph.node}
    assert {"QLinearConv", "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QGemm"} <= listed
    model, inputs = load_model(str(path)), images(8, seed=1)
    assert model.ranges
    whole = quantize(model.graph, images(8), stated_ranges=model.ranges)
    found = whole.finish(execute(whole.graph, whole.quantize_input(inputs)))
    (own,) = found.values()
    assert sqnr_db(run(path, inputs), own) > 20
