from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpi_vta.errors import ModelError
from mpi_vta.quantize.scales import leaky_ratio, mean_multiplier, within


@pytest.mark.parametrize(
    ("alpha", "ratio"),
    [(0.1, (3, 5)), (0.25, (1, 2)), (0.5, (1, 1)), (0.125, (1, 3)), (0.01, (3, 8)), (0.2, (3, 4)), (0.001, None)],
)
def test_known_slopes(alpha, ratio):
    assert leaky_ratio(alpha, fast=True) == ratio


@pytest.mark.parametrize(
    ("alpha", "ratio"),
    [
        (0.01, (5, 9)),
        (0.05, (13, 8)),
        (0.1, (51, 9)),
        (0.15, (77, 9)),
        (0.2, (51, 8)),
        (0.3, (77, 8)),
        (0.25, (1, 2)),
        (0.001, None),
    ],
)
def test_slopes_change_the_mean_by_a_thousandth_at_most(alpha, ratio):
    assert leaky_ratio(alpha) == ratio
    drawn = np.random.default_rng(0).normal(size=1000)
    sums = np.concatenate([drawn, -drawn])
    exact = np.maximum(sums, alpha * sums)
    m, k = ratio or (0, 1)
    made = np.maximum(sums, sums * m / 2**k)
    assert abs(made.mean() - exact.mean()) <= 0.001 * np.abs(exact).mean()


@given(st.floats(1e-6, 1 - 1e-6))
def test_no_ratio_of_fewer_bits_is_as_near(alpha):
    ratio, allowed = leaky_ratio(alpha), 0.001 * (1 + alpha)
    bits = 0 if ratio is None else ratio[0].bit_count()
    m, k = ratio or (0, 1)
    assert abs(m / 2**k - alpha) <= max(allowed, 1 - 511 / 512) + 1e-12
    cheaper = [m for m in range(512) if m.bit_count() < bits and abs(m / 512 - alpha) <= allowed]
    assert not cheaper


@given(st.floats(1e-6, 1 - 1e-6))
def test_a_fast_slope_is_within_seven_percent_or_a_quarter_of_a_step(alpha):
    ratio = leaky_ratio(alpha, fast=True)
    m, k = ratio or (0, 1)
    assert ratio is None or 1 <= m < 1 << k <= 256
    assert abs(m / 2**k - alpha) <= max(0.07 * alpha, 2.0**-9) + 1e-12


@given(st.integers(1, 5000))
def test_a_mean_is_within_one_percent_and_its_multiplier_in_range(count):
    multiplier, exponent = mean_multiplier(count)
    assert 64 <= multiplier <= 127
    assert multiplier / 2**exponent * count == pytest.approx(1, abs=1 / 128)


def test_a_power_of_two_mean_is_exact():
    assert mean_multiplier(4) == (64, 8)
    assert mean_multiplier(1) == (64, 6)
    assert mean_multiplier(49) == (84, 12)


def test_scales_out_of_reach_are_an_error():
    assert within(5, 0, 3, "x") == 3
    with pytest.raises(ModelError, match=r"net: node a: the scales .* too far apart"):
        within(5, 4, 3, "net: node a")
