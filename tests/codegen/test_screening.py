"""The screening: close to what is compiled, the best build among its first five, reasons for what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from convolutions import conv_attrs
from graph_strategies import GraphBuilder

from codegen.execution import config_named
from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.screening import screen, screen_all
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.enumeration import config_of
from mpi_vta.schedule.cost import time_program

# GEMM shape and depths of uop, inp, wgt, acc as base-2 logarithms: what fits an XC7Z020, of few and of many shapes
BUILDS = tuple(
    config_of("pynq", *shape, *depths)
    for shape, depths in (
        ((0, 4), (13, 11, 10, 11)),
        ((0, 4), (13, 13, 10, 8)),
        ((0, 4), (12, 9, 10, 9)),
        ((0, 4), (13, 8, 10, 8)),
        ((1, 4), (13, 11, 10, 11)),
        ((0, 3), (13, 12, 11, 9)),
        ((2, 3), (13, 11, 10, 11)),
        ((1, 3), (13, 13, 11, 8)),
        ((3, 2), (13, 11, 10, 11)),
        ((4, 2), (13, 10, 11, 10)),
    )
)


@pytest.fixture(scope="module")
def net() -> Graph:
    """Three convolutions, wide maps first, many channels last."""
    builder = GraphBuilder("int8", np.random.default_rng(0))
    attrs = conv_attrs(1, shift=9, lo=0)
    value, channels = builder.input((1, 16, 16, 16), -4), 16
    for outputs, stride in ((32, 1), (64, 2), (128, 2)):
        params = {"weight": builder.int8_weights((outputs, channels, 3, 3)), "bias": np.full(outputs, 300, np.int32)}
        value = builder.add("conv2d", (value,), {**attrs, "strides": (stride, stride)}, params, -4)
        channels = outputs
    return builder.build()


def test_the_true_best_build_is_among_the_first_five_and_guesses_are_close(net: Graph) -> None:
    ranking = screen_all(net, BUILDS)
    assert [one.image_cycles for one in ranking] == sorted(one.image_cycles for one in ranking)
    true = [time_program(compile_graph(net, one.config)).cycles / one.config.batch for one in ranking]
    assert int(np.argmin(true)) < 5
    for one, cycles in zip(ranking, true, strict=True):
        assert 0.7 < one.image_cycles / cycles < 1.3


def test_a_launch_runs_a_batch_of_images(net: Graph) -> None:
    found = screen(net, config_named("pynq_4x8"))
    assert found.image_cycles == found.cycles / 4


def test_a_build_without_room_for_a_layer_comes_last_with_the_reason(net: Graph) -> None:
    builder = GraphBuilder("int8", np.random.default_rng(0))
    weight = np.ones((16, 16, 1, 40), dtype=np.int8)
    attrs = conv_attrs()
    params = {"weight": weight, "bias": np.zeros(16, np.int32)}
    builder.add("conv2d", (builder.input((1, 16, 4, 64), -4),), attrs, params, -4)
    narrow = config_of("pynq", 0, 4, 13, 11, 5, 11)
    ranking = screen_all(builder.build(), [narrow, config_named("pynq_1x16")])
    assert [one.config for one in ranking] == [config_named("pynq_1x16"), narrow]
    assert ranking[1].reason == "conv2d_0: no tiling fits the buffers"
    assert ranking[1].cycles == float("inf")
    assert not ranking[0].reason


def test_progress_is_told(net: Graph) -> None:
    told = []
    screen_all(net, BUILDS[:2], lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (1, 2)]
