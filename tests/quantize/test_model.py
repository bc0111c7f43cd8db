from __future__ import annotations

import numpy as np
import pytest
from graph_strategies import GraphBuilder
from hypothesis import given
from hypothesis import strategies as st

from mpi_vta.errors import ArtifactError, ModelError
from mpi_vta.graph.reference import execute
from mpi_vta.quantize.model import QuantizedModel, dequantize, quantize_input
from mpi_vta.quantize.quantizer import quantize


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=1), st.integers(-12, 3))
def test_quantising_rounds_half_up_and_saturates(values, scale):
    array = np.array(values, np.float32)
    integers = quantize_input(array, scale)
    assert integers.dtype == np.int8
    wanted = [min(max(int(np.floor(float(v) / 2.0**scale + 0.5)), -128), 127) for v in array]
    assert integers.tolist() == wanted


def test_integers_survive_the_way_to_float_and_back():
    integers = np.arange(-128, 128, dtype=np.int8)
    real = dequantize(integers, -5)
    assert real.dtype == np.float32
    np.testing.assert_array_equal(real, integers / 32)
    np.testing.assert_array_equal(quantize_input(real, -5), integers)


def classifier(tail) -> QuantizedModel:
    """conv, global pool, flatten, then what `tail` adds."""
    builder = GraphBuilder("float32", np.random.default_rng(0))
    attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1}
    weight = builder.rng.normal(0, 0.5, (6, 3, 3, 3)).astype(np.float32)
    conv = builder.add("conv2d", (builder.input((1, 3, 9, 9)),), attrs, {"weight": weight})
    pooled = builder.add("global_avg_pool2d", (builder.add("relu", (conv,)),))
    tail(builder, pooled)
    graph = builder.build()
    return graph, quantize(graph, images())


def images() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(4, 3, 9, 9)).astype(np.float32)


def soft_tail(builder, pooled):
    builder.add("softmax", (builder.add("flatten", (pooled,)),))


def test_the_host_finishes_what_vta_cannot():
    graph, model = classifier(soft_tail)
    assert [node.op for node in model.graph.nodes] == ["conv2d", "avg_pool2d"]
    assert model.host_ops == (("softmax_4", "softmax", "needs exponentials, which VTA's ALU lacks"),)
    results = model.finish(execute(model.graph, model.quantize_input(images())))
    exact = execute(graph, {"input0": images()})
    (name,) = graph.outputs
    assert results[name].shape == (4, 6)
    np.testing.assert_allclose(results[name].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(results[name], exact[name], atol=0.02)


def test_a_flattened_output_keeps_its_name_and_shape():
    graph, model = classifier(lambda builder, pooled: builder.add("flatten", (pooled,)))
    assert model.host_graph is None
    results = model.finish(execute(model.graph, model.quantize_input(images())))
    assert results[graph.outputs[0]].shape == (4, 6)


def test_one_value_read_in_two_shapes_by_the_host_is_refused():
    def tail(builder, pooled):
        builder.add("sigmoid", (pooled,))
        soft_tail(builder, pooled)

    with pytest.raises(ModelError, match="the host reads one value in two shapes"):
        classifier(tail)


@pytest.mark.parametrize("tail", [soft_tail, lambda builder, pooled: builder.add("flatten", (pooled,))])
def test_a_model_survives_its_bytes(tail, tmp_path):
    _, model = classifier(tail)
    model.save(tmp_path / "model.npz")
    again = QuantizedModel.from_bytes((tmp_path / "model.npz").read_bytes())
    assert again.sha256 == model.sha256
    assert (again.outputs, again.host_ops, again.input_scale_log2) == (
        model.outputs,
        model.host_ops,
        model.input_scale_log2,
    )
    values = execute(again.graph, again.quantize_input(images()))
    for name, array in model.finish(values).items():
        np.testing.assert_array_equal(again.finish(values)[name], array)


def test_damaged_bytes_are_refused():
    _, model = classifier(soft_tail)
    with pytest.raises(ArtifactError, match=r"old\.npz: not a readable quantized file"):
        QuantizedModel.from_bytes(model.to_bytes()[:-100], "old.npz")
