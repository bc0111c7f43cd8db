"""Small models as users bring them (data/models): what int8 makes of each is what onnxruntime makes of the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_nets import Net, compare, ops

from mpi_vta.errors import ModelError
from mpi_vta.frontend.darknet_cfg import read_cfg
from mpi_vta.frontend.darknet_layers import build_cfg
from mpi_vta.frontend.detection import decode_yolo
from mpi_vta.frontend.images import PicturePlacement
from mpi_vta.frontend.models import load_model
from mpi_vta.frontend.onnx_import import import_model
from mpi_vta.graph.reference import execute
from mpi_vta.quantize.model import QuantizedModel
from mpi_vta.quantize.quantizer import quantize, sqnr_db

MODELS = Path(__file__).parent.parent / "data" / "models"
LEAST_DB = 20.0


def fidelity_db(name, feed=lambda inputs: inputs, input_shape=None):
    """Return the least SQNR of the int8 outputs on random pictures; `feed` makes the file's own input of ours."""
    path = MODELS / f"{name}.onnx"
    model = load_model(str(path), input_shape=input_shape)
    size = model.preprocess
    levels = np.random.default_rng(0).random((20, size.channels, size.height, size.width))
    pictures = (np.rint(levels * 255) / 255 / np.array(size.std)[:, None, None]).astype(np.float32)
    seen, inputs = pictures[:16], pictures[16:]
    quantized = quantize(model.graph, seen, stated_ranges=model.ranges)
    quantized = QuantizedModel.from_bytes(quantized.to_bytes())  # as every command reads it
    found = quantized.finish(execute(quantized.graph, quantized.quantize_input(inputs)))
    session = onnxruntime.InferenceSession(path)
    (entry,) = session.get_inputs()
    wanted = [session.run(None, {entry.name: feed(image[None])}) for image in inputs]
    return min(
        sqnr_db(np.stack([one[:1].astype(np.float32) for one in exact])[:, 0].reshape(own.shape), own)
        for exact, own in zip(zip(*wanted, strict=True), found.values(), strict=True)
    )


def fed_as_bytes(inputs):
    return np.rint(inputs).astype(np.uint8)


# file -> its own input, from ours
FILES = {
    "s2d_crd": None,
    "four_channels": None,
    "transposed_constant": None,
    "dynamic_batch": None,
    "batch4": lambda x: np.repeat(x, 4, axis=0),
    "fp16": lambda x: x.astype(np.float16),
    "uint8_input": fed_as_bytes,
    "conv1d": lambda x: x[:, :, 0],
    "nhwc_Abs": lambda x: x.transpose(0, 2, 3, 1),
    "nhwc_Gelu": lambda x: x.transpose(0, 2, 3, 1),
    "nhwc_erf_gelu": lambda x: x.transpose(0, 2, 3, 1),
    "qop": None,
    "flip1": lambda x: x.transpose(0, 2, 3, 1),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_what_onnxruntime_gives(name):
    assert fidelity_db(name, FILES[name] or (lambda inputs: inputs)) > LEAST_DB


def test_open_extents_are_given_by_an_option():
    path = str(MODELS / "dynhw.onnx")
    message = r"dynamic shape \(1, 3, H, W\); allowed: fixed extents; --input-shape 1,3,N,N"
    with pytest.raises(ModelError, match=message):
        load_model(path)
    with pytest.raises(ModelError, match=r"shape \(1, 3, H, W\); allowed: that of --input-shape, \(1, 4, 8, 8\)"):
        load_model(path, input_shape=(1, 4, 8, 8))
    assert fidelity_db("dynhw", input_shape=(1, 3, 20, 12)) > LEAST_DB


def test_what_a_file_leaves_open_is_noted():
    notes = {
        name: load_model(str(MODELS / f"{name}.onnx")).weights_note for name in ("dynamic_batch", "batch4", "fp16")
    }
    assert notes["dynamic_batch"] == "weights of dynamic_batch.onnx; an open batch taken as 1"
    assert notes["batch4"] == "weights of batch4.onnx; batch 4 taken as 1"
    assert notes["fp16"] == "weights of fp16.onnx; computed from float32 weights"


def test_an_input_of_bytes_is_fed_pixels_to_255():
    assert load_model(str(MODELS / "uint8_input.onnx")).preprocess.std == (1 / 255,) * 3


def test_a_batch_on_which_the_result_depends_is_refused():
    net = Net((4, 2, 4, 4))
    net.add("Reshape", net.add("Relu", "input"), net.constant("to", np.array([2, 4, 4, 4])), name="mixed")
    with pytest.raises(ModelError, match=r"batch 4, on which mixed of \(2, 4, 4, 4\) depends; export the model with b"):
        import_model(net.model(), "net", "net.onnx")
    kept = Net((4, 2, 4, 4))
    kept.add("Reshape", kept.add("Relu", "input"), kept.constant("to", np.array([4, -1])), name="flat")
    assert import_model(kept.model(), "net", "net").values["flat"].shape == (1, 32)


def test_nodes_that_change_nothing_disappear_and_a_sum_is_additions():
    net = Net((1, 4, 6, 6))
    x = net.add("Relu", "input")
    same = net.add("Tile", net.add("Cast", x, to=1), net.constant("ones", np.ones(4, np.int64)))
    same = net.add("Expand", same, net.constant("shape", np.array([1, 4, 6, 6])))
    net.add("Sum", same, net.conv(x, 4, 4, 1), "input")
    graph = compare(net.model())
    assert ops(graph) == ["relu", "conv2d", "add", "add"]
    whole = Net((1, 4, 6, 6))
    whole.add("Cast", "input", to=7)
    with pytest.raises(ModelError, match="a cast to another type; allowed: float types"):
        import_model(whole.model(), "net", "net")


def test_a_network_of_one_dimension_is_one_row():
    net = Net((1, 3, 20))
    x = net.add("Conv", "input", net.normal("w", 6, 3, 5), net.normal("b", 6), strides=[2], pads=[1, 2])
    x = net.add("Add", net.add("Relu", x), net.normal("k", 6, 1))
    x = net.add("AveragePool", x, kernel_shape=[2], strides=[2], pads=[1, 0])
    net.add("ReduceMean", net.add("Concat", x, x, axis=1), axes=[2], keepdims=0)
    model = net.model()
    graph = import_model(model, "net", "net")
    image = np.random.default_rng(0).normal(size=(1, 3, 20)).astype(np.float32)
    wanted = ReferenceEvaluator(model).run(None, {"input": image})[0]
    found = execute(graph, {"input": image[:, :, None]})[graph.outputs[0]]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    other = Net((1, 3, 20))
    other.add("Transpose", "input", perm=[0, 2, 1])
    with pytest.raises(ModelError, match=r"works on a tensor of three axes; .*export the model with inputs of \(1, C"):
        import_model(other.model(), "net", "net")


def test_batch_norm_in_training_mode_is_refused():
    message = r"attribute training_mode = 1; allowed: 0; export the model in evaluation mode \(model\.eval\(\)\)"
    with pytest.raises(ModelError, match=message):
        load_model(str(MODELS / "bn_training_mode.onnx"))


# ---- darknet


def darknet_convolution(x, weight, stride, pad, dilation):
    """Return what darknet's im2col_cpu_ext and GEMM give; x (C, H, W), weight (O, C, k, k)."""
    kernel = weight.shape[2]
    padded = np.pad(x, ((0, 0), (pad * dilation,) * 2, (pad * dilation,) * 2))
    rows, cols = ((n + 2 * pad - kernel) // stride + 1 for n in x.shape[1:])
    result = np.zeros((len(weight), rows, cols))
    for row, col in np.ndindex(rows, cols):
        patch = padded[:, row * stride :, col * stride :][
            :, : kernel * dilation : dilation, : kernel * dilation : dilation
        ]
        result[:, row, col] = np.einsum("ocyx,cyx->o", weight, patch[:, :kernel, :kernel])
    return result


def darknet_graph(name):
    return import_model(build_cfg(read_cfg(MODELS / f"{name}.cfg"), 0, None), name, name)


def test_darknet_dilates_with_padding_to_match():
    graph = darknet_graph("dilation")
    (node,) = [node for node in graph.nodes if node.op == "conv2d"]
    x = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    wanted = darknet_convolution(x[0].astype(np.float64), graph.param(node, "weight").astype(np.float64), 1, 1, 2)
    wanted = wanted + graph.param(node, "bias")[:, None, None]
    found = execute(graph, {"input": x})[graph.outputs[0]][0]
    np.testing.assert_allclose(found, np.where(wanted > 0, wanted, 0.1 * wanted), rtol=1e-3, atol=1e-4)


def test_darknet_pools_with_a_stride_per_axis():
    graph = darknet_graph("maxpool_stride_xy")
    assert graph.values[graph.outputs[0]].shape == (1, 8, 16, 8)


def test_a_darknet_mean_is_followed_by_a_convolution():
    graph = darknet_graph("darknet53_end")
    assert ops(graph) == ["conv2d", "leaky_relu", "global_avg_pool2d", "conv2d", "flatten", "softmax"]
    assert graph.values[graph.outputs[0]].shape == (1, 10)


def test_a_darknet_option_that_no_rule_reads_is_refused():
    message = r"line 14 \[convolutional\]: option antialiasing=1 is not supported; allowed: antialiasing=0"
    with pytest.raises(ModelError, match=message):
        load_model(str(MODELS / "antialiasing.cfg"))


def test_darknet_s_relu6_is_a_clip():
    graph = darknet_graph("relu6")
    assert [(node.op, node.attrs) for node in graph.nodes[1:]] == [("clip", {"lo": 0.0, "hi": 6.0})]


@pytest.mark.parametrize("direct", [False, True])
def test_darknet_s_later_boxes_are_decoded_as_get_yolo_box_does(direct):
    """x' = s * scale - (scale - 1) / 2 within its cell; sizes are exp(w) anchors, or (2 w)**2 with new_coords."""
    detector = read_cfg(MODELS / "scale_x_y.cfg").detector
    assert (detector.stretches, detector.direct) == ((1.05,), ())
    detector = replace(detector, direct=(direct,))
    head = np.full((18, 16, 16), 0.0 if direct else -20.0, np.float32)
    x, y, w, h, objectness, kind = 0.3, 0.6, 0.7, 0.4, 0.9, 0.8
    logits = [np.log(p / (1 - p)) for p in (x, y, objectness, kind)]
    head[6:12, 5, 7] = [x, y, w, h, objectness, kind] if direct else [logits[0], logits[1], w, h, logits[2], logits[3]]
    (box,) = decode_yolo([head], (16, 16), PicturePlacement(1.0, 0, 0), detector, score_threshold=0.5)
    centre = np.array([7 + x * 1.05 - 0.025, 5 + y * 1.05 - 0.025])
    size = np.array([3, 4]) * (np.array([2 * w, 2 * h]) ** 2 if direct else np.exp([w, h]))
    found = [box.left, box.top, box.right, box.bottom]
    np.testing.assert_allclose(found, [*(centre - size / 2), *(centre + size / 2)], rtol=1e-5)
    assert box.score == pytest.approx(objectness * kind, rel=1e-5)
