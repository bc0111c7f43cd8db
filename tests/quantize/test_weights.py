from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.graph.definitions import convolve
from mpi_vta.graph.ir import window_output_hw
from mpi_vta.graph.ops import SHIFTED_RESIDUAL_SHIFT_MAX
from mpi_vta.quantize.weights import WORTH_DB, FloatLayer, choose_weights, tap_coverage


def layer_of(unevenness=1.0, groups=1, residual=None) -> FloatLayer:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.1, (8, 8 // groups, 3, 3)).astype(np.float32)
    weight[1::2] /= unevenness
    return FloatLayer(
        weight,
        rng.normal(0, 0.1, 8).astype(np.float32),
        groups,
        source=-5,
        out=-5,
        residual=residual,
        leaky=None,
        means=np.full(8, 0.5),
        powers=np.full(8, 1.0),
        tilts=np.zeros(8),
        coverage=np.ones((3, 3)),
        correct_bias=False,
        where="net: node conv",
    )


def test_even_channels_share_a_scale_and_uneven_ones_get_their_own():
    _, little = choose_weights(layer_of(), "auto")
    assert little is None or little < WORTH_DB
    chosen, gain_db = choose_weights(layer_of(256.0), "auto")
    assert gain_db > 0
    assert choose_weights(layer_of(256.0), "never")[0].channel_shift is None
    always, _ = choose_weights(layer_of(256.0), "always")
    assert (always.channel_shift[1::2] >= 7).all()
    assert (chosen.channel_shift is not None) == (gain_db >= WORTH_DB)


@pytest.mark.parametrize("choice", ["always", "never"])
def test_integers_stand_for_the_weights(choice):
    layer = layer_of(16.0)
    chosen, _ = choose_weights(layer, choice)
    finest = np.abs(layer.weight).reshape(8, -1).max(axis=1) if choice == "always" else np.abs(layer.weight).max()
    wrong = np.abs(chosen.real_weight() - layer.weight).reshape(8, -1).max(axis=1)
    # the least squared error may cut the largest weight; half a step and what is cut stay below a tenth
    assert (wrong <= finest / 10).all()


def test_a_residual_keeps_the_shift_that_vta_can_do_behind_channel_shifts():
    chosen, _ = choose_weights(layer_of(64.0, residual=-1), "always")
    assert chosen.channel_shift is not None
    assert 0 <= -1 - (-5 + chosen.scale) <= SHIFTED_RESIDUAL_SHIFT_MAX


def test_bias_correction_takes_back_the_mean_error():
    plain = layer_of(16.0)
    images = np.random.default_rng(1).normal(0.5, 0.1, (4, 8, 8, 8))
    window = ((1, 1), (0, 0, 0, 0), (1, 1), 1)
    means = []
    for layer in (plain, replace(plain, correct_bias=True)):
        chosen, _ = choose_weights(layer, "never")
        got = convolve(images, chosen.real_weight(), *window)
        got += np.ldexp(chosen.bias.astype(float), layer.source + chosen.scale)[:, None, None]
        wanted = convolve(images, layer.weight.astype(float), *window) + layer.bias[:, None, None]
        means.append(np.abs((got - wanted).mean(axis=(0, 2, 3))).mean())
    assert means[1] < means[0] / 5


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
def test_coverage_is_the_share_of_outputs_that_read_the_input(kernel, strides, pads, dilations):
    size = (9, 7)
    height, width = window_output_hw(*size, kernel, strides, pads, dilations)
    coverage = tap_coverage(kernel, size, strides, pads, dilations)
    for y in range(kernel[0]):
        for x in range(kernel[1]):
            weight = np.zeros((1, 1, *kernel))
            weight[0, 0, y, x] = 1
            read = convolve(np.ones((1, 1, *size)), weight, strides, pads, dilations)
            assert read.shape[2:] == (height, width)
            assert coverage[y, x] == pytest.approx(read.mean())
