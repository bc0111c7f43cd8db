"""QDQ files end to end: where VTA has the file's scales, its integers are onnxruntime's, up to the side of a tie."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_nets import Net

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.graph.reference import execute
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.job.ready_model import ready_model

INPUT_LOG2 = -5


class Qdq(Net):
    """A net whose tensors and weights have pairs of int8 without zero point, at powers of two."""

    def pair(self, source, log2, output=None):
        given = [self.constant(f"{source}.s", np.float32(2.0**log2)), self.constant(f"{source}.z", np.int8(0))]
        stored = self.add("QuantizeLinear", source, *given, name=f"{source}.q")
        return self.add("DequantizeLinear", stored, *given, name=output or f"{source}.dq")

    def weight(self, name, shape, log2, axis=None, even=True):
        """Even weights with an odd bias make odd sums, which never lie halfway between two results."""
        values = self.rng.integers(-60, 61, shape) * (2 if even else 1)
        scales = np.float32(2.0**log2) if axis is None else np.full(shape[axis], 2.0**log2, np.float32)
        zero = np.zeros(np.shape(scales), np.int8)
        given = [self.constant(f"{name}.s", scales), self.constant(f"{name}.z", zero)]
        more = {} if axis is None else {"axis": axis}
        return self.add(
            "DequantizeLinear", self.constant(f"{name}.i", values.astype(np.int8)), *given, name=name, **more
        )

    def bias(self, name, count, log2, odd=True):
        values = (self.rng.integers(-300, 300, count) * 2 + 1) if odd else self.rng.integers(-500, 500, count)
        scale = self.constant(f"{name}.s", np.float32(2.0**log2))
        return self.add("DequantizeLinear", self.constant(f"{name}.i", values.astype(np.int32)), scale, name=name)


def both(net, tmp_path, output, seed=0):
    """Return our integers and onnxruntime's for four images whose pixels lie on the input's grid."""
    path = tmp_path / "qdq.onnx"
    onnx.save(net.model(output), path)
    model = ready_model(str(path), seed=0, weights=None)
    pixels = np.random.default_rng(seed).integers(-128, 128, (4, *net.shape[1:])).astype(np.float32)
    images = np.ldexp(pixels, INPUT_LOG2)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = np.concatenate([session.run(None, {"input": image[None]})[0] for image in images])
    scale = model.graph.values[model.graph.outputs[0]].scale_log2
    ours = execute(model.graph, model.quantized.quantize_input(images))[model.graph.outputs[0]]
    return model, ours.reshape(theirs.shape).astype(np.int64), np.ldexp(theirs, -scale).astype(np.int64)


@pytest.mark.parametrize("axis", [None, 0])
def test_powers_of_two_without_zero_point_are_kept_bit_for_bit(tmp_path, axis):
    net = Qdq((1, 3, 10, 10), seed=3)
    x = net.pair("input", INPUT_LOG2)
    operands = [net.weight("w1", (16, 3, 3, 3), -7, axis), net.bias("b1", 16, INPUT_LOG2 - 7)]
    x = net.pair(net.add("Relu", net.add("Conv", x, *operands, pads=[1] * 4, name="first")), -4)
    operands = [net.weight("w2", (16, 1, 3, 3), -6, axis), net.bias("b2", 16, -4 - 6)]
    y = net.pair(net.add("Conv", x, *operands, pads=[1] * 4, group=16, name="depthwise"), -4)
    x = net.pair(net.add("Add", x, y, name="sum"), -4)
    x = net.pair(net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], name="pool"), -4)
    operands = [net.weight("w3", (8, 16, 5, 5), -8, axis), net.bias("b3", 8, -4 - 8)]
    x = net.add("Flatten", net.pair(net.add("Conv", x, *operands, name="last"), -1), name="flat")
    net.pair(
        net.add("Gemm", x, net.weight("w4", (10, 8), -7, axis), net.bias("b4", 10, -1 - 7), transB=1, name="fc"), 1, "y"
    )
    model, ours, theirs = both(net, tmp_path, "y")
    assert [node.name for node in model.graph.nodes] == ["first", "depthwise", "sum", "pool", "last", "fc"]
    assert [model.graph.values[node.output].scale_log2 for node in model.graph.nodes] == [-4, -4, -4, -4, -1, 1]
    assert len(np.unique(theirs)) > 10
    np.testing.assert_array_equal(ours, theirs)
    compile_graph(model.graph, VTAConfig.load(find("vta_configs", "pynq_1x16", ".json")))


def test_sums_halfway_between_two_results_are_the_only_difference(tmp_path):
    """VTA rounds them up, ONNX to the even neighbour."""
    net = Qdq((1, 3, 10, 10), seed=1)
    operands = [net.weight("w", (16, 3, 3, 3), -6, even=False), net.bias("b", 16, INPUT_LOG2 - 6, odd=False)]
    net.pair(net.add("Conv", net.pair("input", INPUT_LOG2), *operands, name="c"), -4, "y")
    _, ours, theirs = both(net, tmp_path, "y")
    arrays = {entry.name: onnx.numpy_helper.to_array(entry).astype(np.float64) for entry in net.initializers}
    pixels = np.random.default_rng(0).integers(-128, 128, (4, 3, 10, 10)).astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), axis=(2, 3))
    sums = np.einsum("nchwyx,ocyx->nohw", windows, arrays["w.i"]) + arrays["b.i"][:, None, None]
    tie = sums % 128 == 64  # the output's step is 2**7 of the sum's
    clipped = np.abs(theirs) >= 127
    assert tie[~clipped].any()
    np.testing.assert_array_equal(ours[~tie], theirs[~tie])
    assert set(np.unique((ours - theirs)[tie & ~clipped])) == {0, 1}
