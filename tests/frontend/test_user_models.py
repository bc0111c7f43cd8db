"""Small models as users bring them (data/models): what int8 makes of each is what onnxruntime makes of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx_nets import ops

from mpi_vta.errors import ModelError
from mpi_vta.frontend.darknet_cfg import build_cfg, read_cfg
from mpi_vta.frontend.images import synthetic_images
from mpi_vta.frontend.models import load_model
from mpi_vta.frontend.onnx_import import import_model
from mpi_vta.graph.reference import execute
from mpi_vta.quantize.model import QuantizedModel
from mpi_vta.quantize.quantizer import quantize, sqnr_db

MODELS = Path(__file__).parent.parent / "data" / "models"
LEAST_DB = 20.0


def fidelity_db(name, feed=lambda inputs: inputs):
    """Return the SQNR of the int8 outputs on pictures; `feed` makes the file's own input of ours."""
    path = MODELS / f"{name}.onnx"
    model = load_model(str(path))
    quantized = quantize(model.graph, model.calibration, stated_ranges=model.ranges)
    quantized = QuantizedModel.from_bytes(quantized.to_bytes())  # as every command reads it
    inputs = synthetic_images(2, model.preprocess, seed=5).inputs
    found = quantized.finish(execute(quantized.graph, quantized.quantize_input(inputs)))
    session = onnxruntime.InferenceSession(path)
    (entry,) = session.get_inputs()
    worst = []
    for index, image in enumerate(inputs):
        wanted = session.run(None, {entry.name: feed(image[None])})
        worst += [
            sqnr_db(exact, own[index].reshape(exact.shape)) for exact, own in zip(wanted, found.values(), strict=True)
        ]
    return min(worst)


@pytest.mark.parametrize("name", ["s2d_crd", "four_channels", "transposed_constant"])
def test_a_file_gives_what_onnxruntime_gives(name):
    assert fidelity_db(name) > LEAST_DB


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
