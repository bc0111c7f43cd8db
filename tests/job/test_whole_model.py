"""One network of nearly every operator, with channels last, from its file to a program and back."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from codegen.execution import config_named, run_program
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
