from __future__ import annotations

import numpy as np
import pytest
from graph_strategies import FLOAT_KINDS, FLOAT_NEW_KINDS, GraphBuilder, float_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.errors import GraphError, ModelError
from mpi_vta.frontend.images import synthetic_images
from mpi_vta.frontend.models import load_model
from mpi_vta.graph.definitions import convolve, spread
from mpi_vta.graph.reference import execute, execute_all
from mpi_vta.graph.verify import verify
from mpi_vta.quantize.model import dequantize
from mpi_vta.quantize.options import QuantizeOptions
from mpi_vta.quantize.quantizer import quantize, quantize_with_decisions, sqnr_db

PLAIN = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}


OPTIONS = (
    QuantizeOptions(),
    QuantizeOptions("minmax", "always", "always", "off"),
    QuantizeOptions("percentile", "never", "never", "on"),
    QuantizeOptions("mse", "always", "never", "on"),
)


def run(model, images):
    return model.finish(execute(model.graph, model.quantize_input(images)))


def images_for(graph, count, seed=0):
    shape = graph.values[graph.inputs[0]].shape[1:]
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def tolerance(made, layer, node, inputs) -> np.ndarray | float:
    """How far a layer may be from float on the same inputs: what rounding its constants and result costs."""
    int8, step = made.model.graph, 2.0 ** made.model.graph.values[layer.output].scale_log2
    slope = layer.activation.alpha or 0
    if node.op == "sum":
        return step + max(0.07 * slope, 2.0**-9) * sum(np.abs(inputs[name]) for name in set(layer.inputs))
    if node.op == "avg_pool2d":
        return step + np.abs(inputs[layer.inputs[0]]).max() / 128
    if node.op == "piecewise":
        return 1.5 * step
    if node.op != "conv2d":
        return 0.0
    exponent = int8.values[layer.output].scale_log2 - node.attrs["shift"]
    shifts = int8.param(node, "channel_shift")
    finer = np.zeros(len(int8.param(node, "bias"))) if shifts is None else shifts.astype(float)
    weight_exponents = exponent - finer - int8.values[layer.inputs[0]].scale_log2
    weight = np.ldexp(int8.param(node, "weight").astype(float), weight_exponents.astype(int)[:, None, None, None])
    source = {name: np.abs(inputs[name]).astype(np.float64) for name in layer.inputs}
    exact = float_weight(made.body, layer, int8.param(node, "weight").shape)
    window = [node.attrs[key] for key in ("strides", "pads", "dilations", "groups")]
    spread_source = source[layer.inputs[0]]
    if node.inputs[0] not in source:
        spread_source = spread(spread_source, layer.node.attrs["strides"])
    wrong = convolve(spread_source, np.abs(weight - exact), *window)
    reach = convolve(spread_source, np.abs(exact), *window)
    residual = source[layer.inputs[1]] if len(layer.inputs) == 2 else 0
    slope_error = max(0.07 * slope, 2.0**-9) * (reach + residual + 1) if slope else 0
    # a bias that makes up for the weights' rounding may be off by as much as they are on average
    corrected = wrong.max(axis=(0, 2, 3))[:, None, None]
    return step + wrong + corrected + 2 * 2.0**exponent + slope_error


def float_weight(graph, layer, shape):
    """The float weight of a layer as that of a convolution."""
    weight = graph.param(layer.node, "weight").astype(float)
    if layer.node.op != "conv_transpose2d":
        return weight.reshape(shape)
    groups = layer.node.attrs["groups"]
    split = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)[..., ::-1, ::-1]
    return np.ascontiguousarray(split).reshape(shape)


@settings(deadline=None, max_examples=60)
@given(float_graphs(kinds=FLOAT_KINDS + FLOAT_NEW_KINDS), st.sampled_from(OPTIONS))
def test_every_layer_is_as_exact_as_its_rounding_allows(graph, options):
    images = images_for(graph, 4)
    made = quantize_with_decisions(graph, images, options)
    int8 = made.model.graph
    verify(int8)
    values = execute_all(int8, made.model.quantize_input(images))
    real = {name: dequantize(array, int8.values[name].scale_log2) for name, array in values.items()}
    for layer in made.layers:
        part = made.body.subgraph(layer.fused)
        shapes = {name: (-1, *made.body.values[name].shape[1:]) for name in part.inputs}
        inputs = {name: real[made.alias.get(name, name)].reshape(shape) for name, shape in shapes.items()}
        step = 2.0 ** int8.values[layer.output].scale_log2
        exact = np.clip(execute(part, inputs)[layer.output], -128 * step, 127 * step)
        error = np.abs(exact.reshape(real[layer.output].shape) - real[layer.output])
        allowed = tolerance(made, layer, int8.producer[layer.output], real)
        assert (error <= allowed * (1 + 1e-5) + 1e-5).all(), layer


@settings(deadline=None, max_examples=60)
@given(float_graphs(kinds=FLOAT_KINDS + FLOAT_NEW_KINDS))
def test_random_nets_are_close_to_float(graph):
    images = images_for(graph, 8)
    model = quantize(graph, images)
    exact, approximate = execute_all(graph, {"input0": images}), run(model, images)
    assert tuple(approximate) == graph.outputs
    largest = max(float(np.square(array).mean()) for array in exact.values()) ** 0.5
    for name, array in approximate.items():
        assert array.shape == exact[name].shape
        assert float(np.square(array - exact[name]).mean()) ** 0.5 < 0.08 * largest, name


@settings(deadline=None, max_examples=20)
@given(float_graphs(max_nodes=4))
def test_quantisation_is_deterministic(graph):
    images = images_for(graph, 2)
    assert quantize(graph, images).sha256 == quantize(graph, images).sha256


@pytest.mark.parametrize(("name", "floor_db"), [("resnet18", 20), pytest.param("yolo", 20, marks=pytest.mark.slow)])
def test_zoo_models_stay_close_to_float_on_new_pictures(name, floor_db):
    loaded = load_model(name)
    model = quantize(loaded.graph, loaded.calibration)
    images = synthetic_images(2, loaded.preprocess, seed=11).inputs
    exact, approximate = execute(loaded.graph, {"input": images}), run(model, images)
    for output in loaded.graph.outputs:
        assert sqnr_db(exact[output], approximate[output]) > floor_db
    assert model.host_graph is None
    assert model.host_ops == ()


def test_no_intermediate_value_of_resnet18_is_lost():
    loaded = load_model("resnet18")
    model = quantize(loaded.graph, loaded.calibration)
    images = synthetic_images(1, loaded.preprocess, seed=3).inputs
    exact = execute_all(loaded.graph, {"input": images})
    values = execute_all(model.graph, model.quantize_input(images))
    for name, array in values.items():
        real = dequantize(array, model.graph.values[name].scale_log2)
        assert sqnr_db(exact[name], real) > 20, name


class Net(GraphBuilder):
    def __init__(self, shape=(1, 4, 8, 8)):
        super().__init__("float32", np.random.default_rng(0))
        self.source = self.input(shape)

    def conv(self, source, outputs=4, gain=1.0):
        inputs = self.values[source].shape[1]
        weight = self.rng.normal(0, gain * (1 / inputs / 9) ** 0.5, (outputs, inputs, 3, 3)).astype(np.float32)
        bias = self.rng.normal(0, 0.1, outputs).astype(np.float32)
        return self.add("conv2d", (source,), PLAIN, {"weight": weight, "bias": bias})

    def quantized(self, options=OPTIONS[0]):
        graph = self.build()
        return quantize(graph, images_for(graph, 4), options)


def test_concat_pool_and_upsample_share_one_scale():
    net = Net()
    small, large = net.conv(net.source, gain=0.3), net.conv(net.source, gain=3)
    pooled = net.add("max_pool2d", (large,), {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)})
    net.add("concat", (net.add("upsample2d", (pooled,), {"scales": (2, 2)}), small), {"axis": 1})
    graph = net.quantized().graph
    assert len({graph.values[node.output].scale_log2 for node in graph.nodes}) == 1


def test_a_residual_enters_the_accumulator_at_its_own_scale():
    net = Net()
    first = net.conv(net.source)
    net.add("relu", (net.add("add", (net.conv(first), first)),))
    graph = net.quantized().graph
    node = graph.nodes[-1]
    source, residual = (graph.values[name].scale_log2 for name in node.inputs)
    accumulator = graph.values[node.output].scale_log2 - node.attrs["shift"]
    assert residual - accumulator == node.attrs["residual_shift"]
    assert accumulator < source
    assert (node.attrs["lo"], node.attrs["hi"]) == (0, 127)


def test_clip_bounds_are_in_steps_of_the_output():
    net = Net()
    net.add("clip", (net.conv(net.source, gain=4),), {"lo": 0.0, "hi": 1.5})
    graph = net.quantized().graph
    node = graph.nodes[-1]
    step = 2.0 ** graph.values[node.output].scale_log2
    assert node.attrs["lo"] == 0
    assert node.attrs["hi"] * step == pytest.approx(1.5, abs=step)


def test_leaky_slopes_become_ratios():
    net = Net()
    net.add("leaky_relu", (net.conv(net.source),), {"alpha": 0.1})
    assert net.quantized().graph.nodes[0].attrs["leaky"] == (51, 9)
    assert net.quantized(QuantizeOptions(fast_slopes=True)).graph.nodes[0].attrs["leaky"] == (3, 5)
    flat = Net()
    flat.add("leaky_relu", (flat.conv(flat.source),), {"alpha": 0.001})
    attrs = flat.quantized().graph.nodes[0].attrs
    assert (attrs["leaky"], attrs["lo"]) == (None, 0)


def test_bias_behind_a_pooling_takes_back_what_a_fast_slope_adds_to_the_mean():
    net = Net((1, 4, 12, 12))
    first = net.add("leaky_relu", (net.conv(net.source, 16, gain=1),), {"alpha": 0.1})
    pooled = net.add("max_pool2d", (first,), {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)})
    net.conv(pooled, 8, gain=1)
    graph = net.build()
    # far below 0, where the slope is what counts
    bias = graph.constants[graph.nodes[0].params["bias"]]
    bias -= 2
    images = images_for(graph, 8)
    exact = execute(graph, {graph.inputs[0]: images})[graph.outputs[0]]
    wrong = {}
    for correction in ("on", "off"):
        options = QuantizeOptions(bias_correction=correction, fast_slopes=True)
        made = run(quantize(graph, images, options), images)[graph.outputs[0]]
        wrong[correction] = np.abs((made - exact).mean(axis=(0, 2, 3))).mean() / np.abs(exact).mean()
    assert wrong["on"] < 0.25 * wrong["off"]


def test_slope_that_int32_would_not_hold_is_the_fast_one():
    net = Net((1, 512, 3, 3))
    made = net.conv(net.source, 16)
    net.add("leaky_relu", (made,), {"alpha": 0.15})
    graph = net.build()
    graph.constants[graph.nodes[0].params["weight"]][:] = 1.0
    model = quantize(graph, images_for(graph, 1))
    assert model.graph.nodes[0].attrs["leaky"] == (5, 5)


def test_a_slope_of_its_own_keeps_fraction_bits():
    net = Net()
    first = net.conv(net.source)
    net.add("leaky_relu", (first,), {"alpha": 0.1})
    net.add("relu", (first,))
    node = next(n for n in net.quantized().graph.nodes if n.attrs.get("leaky"))
    assert node.op == "sum"
    assert node.attrs["input_shifts"][0] >= 8


def test_dense_layers_are_convolutions_over_the_whole_input():
    net = Net((1, 3, 4, 5))
    flat = net.add("flatten", (net.source,))
    weight = np.random.default_rng(1).normal(0, 0.2, (7, 60)).astype(np.float32)
    logits = net.add("dense", (flat,), params={"weight": weight})
    net.add("dense", (logits,), params={"weight": np.eye(7, dtype=np.float32)})
    graph = net.quantized().graph
    assert [graph.constants[node.params["weight"]].shape for node in graph.nodes] == [(7, 3, 4, 5), (7, 7, 1, 1)]
    assert graph.values[graph.outputs[0]].shape == (1, 7, 1, 1)


def test_means_use_seven_bits():
    net = Net((1, 4, 7, 7))
    net.add("global_avg_pool2d", (net.add("relu", (net.conv(net.source),)),))
    node = net.quantized().graph.nodes[-1]
    assert (node.attrs["kernel"], node.attrs["multiplier"]) == ((7, 7), 84)


def test_a_mean_far_smaller_than_its_input_still_has_a_legal_shift():
    """Calibration sees means of almost 0; the scale is raised until the shift is not negative."""
    net = Net((1, 1, 2, 2))
    net.add("avg_pool2d", (net.source,), {"kernel": (2, 2), "strides": (1, 1), "pads": (0, 0, 0, 0)})
    image = np.array([[[[1, -1], [1, -1 + 1e-6]]]], np.float32)
    graph = quantize(net.build(), image).graph
    assert graph.nodes[0].attrs["shift"] == 0


def test_raising_one_mean_s_scale_raises_those_that_depend_on_it():
    """The second mean raises the scale that it shares with the first one's input."""
    net = Net((1, 1, 2, 4))
    halves = {"strides": (1, 2), "pads": (0, 0, 0, 0)}
    weight = np.full((1, 1, 1, 2), 1e-7, np.float32)
    quiet = net.add("conv2d", (net.source,), {**halves, "dilations": (1, 1), "groups": 1}, {"weight": weight})
    net.add("avg_pool2d", (quiet,), {"kernel": (2, 2), "strides": (1, 1), "pads": (0, 0, 0, 0)})
    net.add("concat", (quiet, net.add("avg_pool2d", (net.source,), {"kernel": (1, 2), **halves})), {"axis": 1})
    image = np.tile(np.array([1, -1 + 1e-6], np.float32), 4).reshape(1, 1, 2, 4)
    graph = quantize(net.build(), image).graph
    assert [node.attrs["shift"] for node in graph.nodes if node.op == "avg_pool2d"] == [0, 0]


def test_weights_that_are_all_zero_are_legal():
    net = Net()
    net.add("conv2d", (net.source,), PLAIN, {"weight": np.zeros((2, 4, 3, 3), np.float32)})
    model = net.quantized()
    images = np.ones((1, 4, 8, 8), np.float32)
    assert not run(model, images)[model.outputs[0].name].any()


def test_accumulators_cannot_wrap_even_with_a_huge_bias():
    net = Net()
    params = {"weight": np.full((1, 4, 3, 3), 1e-6, np.float32), "bias": np.array([1000.0], np.float32)}
    net.add("conv2d", (net.source,), PLAIN, params)
    model = net.quantized()
    result = run(model, images_for(net.build(), 1))[model.outputs[0].name]
    np.testing.assert_allclose(result, 1000, rtol=0.01)


def test_a_transposed_convolution_is_one_of_its_spread_input():
    net = Net((1, 4, 5, 5))
    weight = net.rng.normal(0, 0.2, (4, 2, 3, 3)).astype(np.float32)
    attrs = {"strides": (2, 2), "pads": (1, 1, 1, 1), "output_pads": (1, 1), "dilations": (1, 1), "groups": 2}
    up = net.add("conv_transpose2d", (net.source,), attrs, {"weight": weight})
    net.add("activation", (up,), {"kind": "silu"})
    graph = net.quantized().graph
    assert [node.op for node in graph.nodes] == ["spread2d", "conv2d", "piecewise"]
    assert graph.nodes[1].attrs["pads"] == (1, 1, 2, 2)
    assert graph.nodes[1].attrs["groups"] == 2
    assert graph.values[graph.outputs[0]].shape == (1, 4, 10, 10)


def test_pads_that_cut_more_than_the_kernel_are_refused():
    net = Net()
    attrs = {"strides": (2, 2), "pads": (1, 1, 1, 1), "output_pads": (0, 0), "dilations": (1, 1), "groups": 1}
    net.add("conv_transpose2d", (net.source,), attrs, {"weight": np.ones((4, 4, 1, 1), np.float32)})
    with pytest.raises(
        ModelError, match=r"conv_transpose2d_0: a transposed convolution with pads .* beyond its kernel"
    ):
        net.quantized()


def test_nothing_is_equalised_where_a_model_brings_its_ranges():
    net = Net()
    first = net.conv(net.source, gain=1.0)
    net.constants["conv2d_0.weight"][::2] *= 64
    net.conv(net.add("relu", (first,)))
    graph = net.build()
    images = images_for(graph, 4)
    assert quantize_with_decisions(graph, images).equalized_gain_db is not None
    stated = {"relu_1:0": (0.0, 1000.0)}
    made = quantize_with_decisions(graph, images, stated_ranges=stated)
    assert made.equalized_gain_db is None
    assert made.model.graph.values["relu_1:0"].scale_log2 == 3


def test_a_broken_graph_is_refused():
    graph = Net()
    graph.conv(graph.source)
    built = graph.build()
    built.constants.clear()
    with pytest.raises(GraphError, match="constants missing"):
        quantize(built, np.zeros((1, 4, 8, 8), np.float32))
