from __future__ import annotations

import numpy as np
import pytest
from convolutions import conv_attrs
from graph_strategies import GraphBuilder, int8_graphs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from codegen.execution import config_named, random_inputs, run_program
from mpi_vta.codegen.bias import plan_bias
from mpi_vta.codegen.buffers import footprint
from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.kernel_list import kernels_of
from mpi_vta.codegen.space import ranked
from mpi_vta.codegen.stem import gather_patches
from mpi_vta.codegen.tiling import Tiling
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.reference import execute

CONFIGS = ("pynq_1x16", "pynq_1x32", "pynq_2x16", "pynq_4x8")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(int8_graphs(), st.sampled_from(CONFIGS), st.data())
def test_any_schedule_equals_the_reference(graph: Graph, name: str, data: st.DataObject) -> None:
    config = config_named(name)
    gathered, _ = gather_patches(graph, config)
    kernel = data.draw(st.sampled_from(kernels_of(gathered, config)))
    bias = plan_bias(kernel, config)
    legal = [t for t in ranked(kernel, bias, config, 100_000) if footprint(kernel, t, bias).fits(t, config)]
    assume(legal)
    tiling = data.draw(st.sampled_from(legal))
    inputs = random_inputs(graph, config.batch, 3)
    outputs = run_program(compile_graph(graph, config, schedules={kernel.name: tiling}), inputs, config.batch)
    for value, array in execute(graph, inputs).items():
        np.testing.assert_array_equal(outputs[value], array)


def test_a_schedule_that_does_not_fit_is_refused() -> None:
    graph = _one_convolution()
    config = config_named("pynq_1x16")
    tiling = Tiling(64, 64, 4, 4, 4, False, 2, 2, 2)
    with pytest.raises(CompileError, match="does not fit the buffers"):
        compile_graph(graph, config, schedules={"conv2d_0": tiling})


def _one_convolution() -> Graph:
    builder = GraphBuilder("int8", np.random.default_rng(0))
    image = builder.input((1, 64, 64, 64), -4)
    weight = np.ones((64, 64, 1, 1), dtype=np.int8)
    attrs = conv_attrs()
    builder.add("conv2d", (image,), attrs, {"weight": weight, "bias": np.zeros(64, np.int32)}, -4)
    return builder.build()
