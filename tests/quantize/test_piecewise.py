from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.errors import ModelError
from mpi_vta.graph.activations import ACTIVATIONS
from mpi_vta.quantize.calibration import minmax_scale_log2
from mpi_vta.quantize.piecewise import EVERY, PiecewiseFunction, fit_pieces


def exact_steps(kind, in_log2, out_log2):
    return np.ldexp(ACTIVATIONS[kind](np.ldexp(EVERY.astype(float), in_log2)), -out_log2)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(ACTIVATIONS)), st.integers(-8, 0), st.integers(-1, 1))
def test_every_activation_is_within_one_step_at_every_input(kind, in_log2, finer):
    top = minmax_scale_log2(abs(ACTIVATIONS[kind](np.ldexp(EVERY.astype(float), in_log2))).max())
    exact = exact_steps(kind, in_log2, top + finer)
    table = fit_pieces(ACTIVATIONS[kind], in_log2, top + finer, "node").table()
    rounded = np.clip(np.floor(exact + 0.5), -128, 127)
    assert abs(table - rounded).max() <= 1
    assert np.square(table - np.clip(exact, -128, 127)).mean() <= 0.25


def test_what_is_straight_takes_one_piece():
    assert fit_pieces(lambda x: x / 2, -4, -4, "node").sides == (0,)
    hard = fit_pieces(ACTIVATIONS["hard_sigmoid"], -4, -7, "node")
    assert len(hard.sides) == 1


def test_smooth_functions_take_few_pieces():
    assert len(fit_pieces(ACTIVATIONS["hard_swish"], -4, -4, "node").sides) <= 5
    assert len(fit_pieces(ACTIVATIONS["silu"], -4, -4, "node").sides) <= 5


def test_a_function_that_jumps_about_is_refused():
    with pytest.raises(ModelError, match="node act: an activation that 12 straight pieces do not fit"):
        fit_pieces(lambda x: np.sin(x * 40), -4, -7, "node act")


def test_the_table_is_the_operator_s_sum():
    pieces = PiecewiseFunction((3, -2, 1), (1, -1, 0), (30, 16, 0), 5, 1, -100, 100)
    x = EVERY
    total = 5 + np.maximum(3 * x, 30) + np.minimum(-2 * x, 16) + x
    np.testing.assert_array_equal(pieces.table(), np.clip((total + 1) >> 1, -100, 100))
