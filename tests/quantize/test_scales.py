from __future__ import annotations

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
    assert leaky_ratio(alpha) == ratio


@given(st.floats(1e-6, 1 - 1e-6))
def test_a_slope_is_within_seven_percent_or_a_quarter_of_a_step(alpha):
    ratio = leaky_ratio(alpha)
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
