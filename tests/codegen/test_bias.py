from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.execution import config_named
from codegen.test_bound import convolution
from mpi_vta.codegen.bias import plan_bias
from mpi_vta.codegen.lowering import lower


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([10, 1000, 200_000, 480_000]), st.sampled_from(["pynq_1x16", "pynq_4x8"]))
def test_digits_spell_the_bias(seed: int, largest: int, name: str) -> None:
    config = config_named(name)
    graph = convolution(16, 16, 1)
    bias = np.random.default_rng(seed).integers(-largest, largest + 1, 32).astype(np.int32)
    kernel = replace(lower(graph, graph.nodes[0], config), bias=bias)
    plan = plan_bias(kernel, config)
    if plan.taps:
        vector = plan.vector[:, 0].astype(np.int64)
        spelled = np.einsum("btoi,ti->bo", plan.weights.astype(np.int64), vector).reshape(-1)
    else:
        assert largest > 100_000
        spelled = plan.accumulator[:, 0].reshape(-1)
    np.testing.assert_array_equal(spelled, bias)


@pytest.mark.parametrize(("size", "taps"), [(16, 1), (4, 0)])
def test_few_pixels_take_the_alu(size: int, taps: int) -> None:
    config = config_named("pynq_1x16")
    graph = convolution(16, size, 1)
    plan = plan_bias(lower(graph, graph.nodes[0], config), config)
    assert plan.taps == taps
    assert bool(plan.acc_elements) == (taps == 0)


def test_no_bias_costs_nothing() -> None:
    config = config_named("pynq_1x16")
    graph = convolution(16, 16, 1)
    kernel = replace(lower(graph, graph.nodes[0], config), bias=np.zeros(32, np.int32))
    plan = plan_bias(kernel, config)
    assert (plan.taps, plan.acc_elements, plan.wgt_elements) == (0, 0, 0)
