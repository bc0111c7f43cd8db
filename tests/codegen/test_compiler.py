from __future__ import annotations

import numpy as np
import pytest
from convolutions import conv_attrs
from graph_strategies import GraphBuilder, int8_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.execution import assert_equals_reference, config_named
from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph

CONFIGS = ("pynq_1x16", "pynq_1x32", "pynq_2x16", "pynq_4x8", "ultra96_1x16")


@settings(deadline=None, max_examples=60)
@given(int8_graphs(), st.sampled_from(CONFIGS), st.integers(0, 1000))
def test_random_graphs_equal_the_reference(graph: Graph, name: str, seed: int) -> None:
    assert_equals_reference(graph, config_named(name), seed)


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(int8_graphs(), st.sampled_from(CONFIGS), st.integers(0, 1000))
def test_many_random_graphs_equal_the_reference(graph: Graph, name: str, seed: int) -> None:
    assert_equals_reference(graph, config_named(name), seed)


def test_slices_and_aligned_concats_cost_nothing() -> None:
    builder = GraphBuilder("int8", np.random.default_rng(0))
    image = builder.input((1, 32, 8, 8), -4)
    rows = builder.add("slice2d", (image,), {"channels": (16, 32), "rows": (2, 7), "cols": (0, 8)}, scale_log2=-4)
    pool = {"kernel": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}
    pools = tuple(builder.add("max_pool2d", (rows,), pool, scale_log2=-4) for _ in range(2))
    joined = builder.add("concat", pools, scale_log2=-4)
    builder.add("max_pool2d", (joined,), pool, scale_log2=-4)
    program = compile_graph(builder.build(), config_named("pynq_1x16"))
    assert [layer.op for layer in program.layers] == ["max_pool2d"] * 3


def test_a_slice_inside_a_block_is_one_selection() -> None:
    builder = GraphBuilder("int8", np.random.default_rng(0))
    image = builder.input((1, 32, 4, 5), -4)
    builder.add("slice2d", (image,), {"channels": (9, 31), "rows": (1, 4), "cols": (2, 5)}, scale_log2=-4)
    graph = builder.build()
    assert_equals_reference(graph, config_named("pynq_1x16"), 0)
    (layer,) = compile_graph(graph, config_named("pynq_1x16")).layers
    assert layer.gemm_uops == 2 * 9 * (2 + 1)  # two blocks of nine pixels from two blocks, and a reset


def test_a_float_graph_is_refused() -> None:
    builder = GraphBuilder("float32", np.random.default_rng(0))
    builder.add("relu", (builder.input((1, 16, 4, 4)),))
    with pytest.raises(CompileError, match="drawn: a float32 graph; allowed: an int8 graph: quantize first"):
        compile_graph(builder.build(), config_named("pynq_1x16"))


def test_a_map_too_wide_for_the_buffers_is_refused() -> None:
    builder = GraphBuilder("int8", np.random.default_rng(0))
    weight = np.ones((16, 16, 1, 40), dtype=np.int8)
    attrs = conv_attrs(pads=(0, 20, 0, 20))
    params = {"weight": weight, "bias": np.zeros(16, np.int32)}
    builder.add("conv2d", (builder.input((1, 16, 4, 64), -4),), attrs, params, -4)
    with pytest.raises(CompileError, match=r"conv2d_0: a load needs pads .* allowed: pads up to 15"):
        compile_graph(builder.build(), config_named("pynq_1x16"))


def test_a_wide_dense_layer_behind_a_map_is_cut_small_enough() -> None:
    """49 taps of 22 blocks, the twelfth of the large cuts, do not fit the weight buffer of 1024."""
    rng = np.random.default_rng(0)
    builder = GraphBuilder("int8", rng)
    attrs = conv_attrs(shift=12)
    weight = rng.integers(-128, 128, (4096, 16, 7, 7), dtype=np.int8)
    params = {"weight": weight, "bias": np.zeros(4096, np.int32)}
    builder.add("conv2d", (builder.input((1, 16, 7, 7), -4),), attrs, params, -4)
    assert_equals_reference(builder.build(), config_named("pynq_1x16"), 0)


def test_a_pooled_map_written_early_is_not_overwritten() -> None:
    builder = GraphBuilder("int8", np.random.default_rng(0))
    image = builder.input((1, 3, 1, 2), 0)
    plain = conv_attrs(shift=6)
    pool = {"kernel": (1, 1), "strides": (1, 2), "pads": (0, 0, 0, 0)}

    def conv(value: str, channels: int, outputs: int) -> str:
        weight = builder.int8_weights((outputs, channels, 1, 1))
        return builder.add("conv2d", (value,), plain, {"weight": weight, "bias": np.full(outputs, 900, np.int32)}, 0)

    early = conv(image, 3, 1)
    between = builder.add("max_pool2d", (image,), pool, scale_log2=0)
    conv(between, 3, 3)
    conv(builder.add("max_pool2d", (early,), pool, scale_log2=0), 1, 1)
    assert_equals_reference(builder.build(), config_named("pynq_1x16"), 0)


def test_a_map_that_is_only_pooled_takes_no_memory() -> None:
    builder = GraphBuilder("int8", np.random.default_rng(0))
    image = builder.input((1, 16, 32, 32), -4)
    attrs = conv_attrs(1, shift=9, lo=0)
    weight, bias = builder.int8_weights((16, 16, 3, 3)), np.zeros(16, np.int32)
    wide = builder.add("conv2d", (image,), attrs, {"weight": weight, "bias": bias}, -4)
    pool = {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)}
    builder.add("max_pool2d", (wide,), pool, scale_log2=-4)
    program = compile_graph(builder.build(), config_named("pynq_1x16"))
    assert [segment.kind for segment in program.segments if segment.kind == "scratch"] == []
