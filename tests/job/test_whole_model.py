"""One network of nearly every operator, with channels last, from its file to a program and back."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from codegen.execution import assert_equals_reference, config_named, run_program
from onnx_nets import Net

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.graph.reference import execute
from mpi_vta.job.explain import HOST
from mpi_vta.job.ready_model import ready_model


@pytest.fixture
def path(tmp_path):
    net = Net((1, 16, 16, 3), seed=2)
    x = net.add("Mul", net.add("Sub", "input", net.normal("mean", 3)), net.constant("two", np.float32(2)))
    x = net.conv(net.add("Transpose", x, perm=[0, 3, 1, 2]), 3, 16, pads=[1] * 4)
    x = net.batch_norm(net.add("HardSwish", net.batch_norm(x, 16)), 16)
    x = net.add("Conv", x, net.normal("depthwise", 16, 1, 3, 3, spread=0.4), group=16, pads=[1] * 4)
    x = net.add("Mul", x, net.add("Sigmoid", x))
    x = net.add("ConvTranspose", x, net.normal("up", 16, 8, 2, 2, spread=0.2), strides=[2, 2])
    x = net.add("Relu", net.add("Pad", x, net.constant("pads", np.array([0, 0, 1, 0, 0, 0, 0, 1]))))
    box = [net.constant(n, np.array(v)) for n, v in (("low", [2, 1, 0]), ("high", [8, 33, 32]), ("axes", [1, 2, 3]))]
    x = net.add("MaxPool", net.add("Slice", x, *box), kernel_shape=[2, 2], strides=[2, 2])
    x = net.add("Concat", x, net.add("LeakyRelu", x, alpha=0.1), axis=1)
    x = net.add("Reshape", net.add("Transpose", x, perm=[0, 2, 3, 1]), net.constant("rows", np.array([1, -1, 12])))
    net.add("Softmax", x, axis=-1, name="classes")
    onnx.save(net.model("classes"), tmp_path / "net.onnx")
    return str(tmp_path / "net.onnx")


def test_its_program_has_the_reference_s_bits_and_its_answers_are_onnxruntime_s(path):
    model, config = ready_model(path, seed=0, weights=None), config_named("pynq_1x16")
    assert [place.op for place in model.places if place.where == HOST] == ["Reshape", "Softmax", "transpose"]
    image = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    inputs = model.quantized.quantize_input(image)
    wanted = execute(model.graph, inputs)
    found = run_program(compile_graph(model.graph, config), inputs, config.batch)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (exact,) = session.run(None, {"input": image.transpose(0, 2, 3, 1)})
    ours = model.quantized.finish(found)["classes"]
    assert ours.shape == exact.shape == (1, 256, 12)
    assert np.abs(ours - exact).max() < 0.05


@pytest.fixture
def rewritten(tmp_path):
    """A network of what the front end rewrites."""
    net = Net((1, 3, 16, 16), seed=3)
    x = net.add(
        "PRelu",
        net.conv("input", 3, 16, pads=[1] * 4),
        net.constant("slopes", np.linspace(0, 1, 16, dtype=np.float32).reshape(16, 1, 1)),
    )
    x = net.add("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1)
    x = net.add("Reshape", x, net.constant("split", np.array([1, 4, 4, 9, 9])))
    x = net.add("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = net.add("Relu", net.add("Reshape", x, net.constant("join", np.array([1, 16, 9, 9]))))
    erf = net.add("Erf", net.add("Div", x, net.constant("root", np.float32(2**0.5))))
    gate = net.add("Add", erf, net.constant("one", np.float32(1)))
    x = net.add("Mul", net.add("Mul", x, gate), net.constant("half", np.float32(0.5)))
    code = net.add("Gemm", net.add("Flatten", x), net.normal("code.weight", 1296, 8, spread=0.04))
    x = net.add("Gemm", code, net.normal("wide.weight", 8, 64, spread=0.3), net.normal("wide.bias", 64))
    x = net.add("Reshape", x, net.constant("picture", np.array([1, 4, 4, 4])))
    factors = net.constant("factors", np.array([1, 1, 2, 2], np.float32))
    x = net.add("Resize", x, "", factors, mode="linear", coordinate_transformation_mode="half_pixel")
    x = net.add("Max", x, net.conv(x, 4, 4, pads=[1] * 4))
    x = net.add("Reshape", net.conv(x, 4, 6, 1), net.constant("boxes", np.array([1, 2, 3, 64])))
    net.add("Mul", x, net.add("Exp", x), name="product")
    onnx.save(net.model("product"), tmp_path / "net.onnx")
    return str(tmp_path / "net.onnx")


@pytest.mark.parametrize("config", ["pynq_1x16", "pynq_4x8"])
def test_what_was_rewritten_has_the_reference_s_bits_too(rewritten, config):
    assert_equals_reference(ready_model(rewritten, seed=0, weights=None).graph, config_named(config), seed=0)


def test_what_was_rewritten_answers_as_onnxruntime_does(rewritten):
    model = ready_model(rewritten, seed=0, weights=None).quantized
    images = np.random.default_rng(0).random((4, 3, 16, 16), np.float32)
    found = model.finish(execute(model.graph, model.quantize_input(images)))["product"]
    session = onnxruntime.InferenceSession(rewritten, providers=["CPUExecutionProvider"])
    exact = np.concatenate([session.run(None, {"input": image[None]})[0] for image in images])
    assert 10 * np.log10(np.square(exact).mean() / np.square(exact - found).mean()) > 15
