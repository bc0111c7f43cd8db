from __future__ import annotations

import numpy as np
from convolutions import conv_attrs
from graph_strategies import GraphBuilder

from codegen.execution import config_named
from mpi_vta.codegen.bound import layer_bounds
from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.graph.ir import Graph
from mpi_vta.simulator.timing import simulate


def convolution(channels: int, size: int, kernel: int, stride: int = 1) -> Graph:
    builder = GraphBuilder("int8", np.random.default_rng(0))
    image = builder.input((1, channels, size, size), -4)
    weight = builder.rng.integers(-127, 128, (32, channels, kernel, kernel), dtype=np.int8)
    pad = kernel // 2
    attrs = conv_attrs(pad, strides=(stride, stride), shift=9, lo=0)
    builder.add("conv2d", (image,), attrs, {"weight": weight, "bias": np.full(32, 5, np.int32)}, -4)
    return builder.build()


def test_compute_counts_uops_reset_bias_and_passes() -> None:
    (bound,) = layer_bounds(convolution(64, 28, 3), config_named("pynq_1x16"))
    vectors = 2 * 28 * 28
    # 36 micro-ops, a reset, a bias pass, shift and two clips
    assert bound.compute_cycles == vectors * (4 * 9 + 1 + 1 + 3)
    assert bound.write_cycles == vectors * 2 * 3 // 2
    assert bound.read_cycles == (4 * 28 * 28 * 16 + 2 * 4 * 9 * 256) // 8


def test_only_reached_rows_and_columns_are_read() -> None:
    (bound,) = layer_bounds(convolution(64, 28, 1, stride=2), config_named("pynq_1x16"))
    assert bound.read_cycles == (4 * 14 * 14 * 16 + 2 * 4 * 256) // 8


def test_a_wide_bus_writes_a_beat_a_cycle() -> None:
    (bound,) = layer_bounds(convolution(64, 28, 3), config_named("ultra96_1x16"))
    assert bound.write_cycles == 2 * 28 * 28


def test_a_thin_input_is_bounded_by_its_best_packing() -> None:
    (bound,) = layer_bounds(convolution(3, 28, 3), config_named("pynq_1x16"))
    assert bound.compute_cycles == 2 * 28 * 28 * (2 + 1 + 1 + 3)


def test_no_schedule_beats_the_bound_of_a_layer_alone() -> None:
    for name in ("pynq_1x16", "pynq_1x32", "pynq_4x8", "ultra96_1x16"):
        config = config_named(name)
        graph = convolution(64, 56, 3)
        program = compile_graph(graph, config)
        cycles = simulate(config, program.link(program.default_bases)).cycles
        (bound,) = layer_bounds(graph, config)
        assert bound.cycles < cycles < bound.cycles / 0.85
