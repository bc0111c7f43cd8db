from __future__ import annotations

import numpy as np
import pytest
from graph_strategies import int8_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.execution import config_named, random_inputs, run_program
from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.reference import execute

CONFIGS = ("pynq_1x16", "pynq_1x32", "pynq_2x16", "pynq_4x8", "ultra96_1x16")


@settings(deadline=None, max_examples=60)
@given(int8_graphs(), st.sampled_from(CONFIGS), st.integers(0, 1000))
def test_random_graphs_equal_the_reference(graph: Graph, name: str, seed: int) -> None:
    config = config_named(name)
    inputs = random_inputs(graph, config.batch, seed)
    expected = execute(graph, inputs)
    outputs = run_program(compile_graph(graph, config), inputs, config.batch)
    assert outputs.keys() == expected.keys()
    for value, array in expected.items():
        np.testing.assert_array_equal(outputs[value], array)


@pytest.mark.slow
@settings(deadline=None, max_examples=1500)
@given(int8_graphs(), st.sampled_from(CONFIGS), st.integers(0, 1000))
def test_many_random_graphs_equal_the_reference(graph: Graph, name: str, seed: int) -> None:
    config = config_named(name)
    inputs = random_inputs(graph, config.batch, seed)
    expected = execute(graph, inputs)
    outputs = run_program(compile_graph(graph, config), inputs, config.batch)
    for value, array in expected.items():
        np.testing.assert_array_equal(outputs[value], array)
