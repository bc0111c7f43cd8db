from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.execution import config_named, random_inputs
from codegen.test_bound import convolution
from mpi_vta.codegen.stem import gather_patches, run_host_step
from mpi_vta.graph.reference import execute
from mpi_vta.graph.verify import verify


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 4), st.integers(7, 12), st.sampled_from([1, 3, 5, 7]), st.integers(1, 2),
    st.sampled_from(["pynq_1x16", "pynq_4x8", "pynq_1x32"]),
)  # fmt: skip
def test_gathered_graph_means_the_same(channels: int, size: int, kernel: int, stride: int, name: str) -> None:
    graph = convolution(channels, size, kernel, stride)
    gathered, (step,) = gather_patches(graph, config_named(name))
    verify(gathered)
    inputs = random_inputs(graph, 2, 0)
    patches = run_host_step(step, inputs[step.source])
    assert patches.shape[1:] == gathered.values[step.result].shape[1:]
    expected = execute(graph, inputs)
    for value, array in execute(gathered, {step.result: patches}).items():
        np.testing.assert_array_equal(array, expected[value])


def test_wide_inputs_stay_as_they_are() -> None:
    graph = convolution(5, 8, 3)
    assert gather_patches(graph, config_named("pynq_1x16")) == (graph, ())
