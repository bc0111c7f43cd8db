from __future__ import annotations

import numpy as np
import pytest
from graph_strategies import GraphBuilder
from hypothesis import given
from hypothesis import strategies as st

from mpi_vta.errors import InputError
from mpi_vta.quantize.calibration import (
    SAMPLES_PER_IMAGE,
    SCALE_OF_ZERO,
    ValueRange,
    best_scale_log2,
    choose_scale_log2,
    collect_ranges,
    minmax_scale_log2,
    squared_error,
    with_stated,
)


def range_of(values) -> ValueRange:
    array = np.asarray(values, np.float32)
    return ValueRange(float(np.abs(array).max()), array)


def relu_graph(shape=(1, 2, 4, 4)):
    builder = GraphBuilder("float32", np.random.default_rng(0))
    builder.add("relu", (builder.input(shape),))
    return builder.build()


@given(st.floats(1e-6, 1e6))
def test_the_minmax_scale_clips_nothing_and_wastes_less_than_a_bit(peak):
    scale = minmax_scale_log2(peak)
    assert peak <= 127.5 * 2.0**scale * (1 + 1e-9)
    assert peak > 127.5 * 2.0 ** (scale - 1) * (1 - 1e-9)


def test_the_best_scale_has_the_least_error_of_all():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = (rng.standard_t(3, 5000) * rng.uniform(0.01, 50)).astype(np.float32)
        errors = {scale: squared_error(values, scale) for scale in range(-20, 20)}
        assert best_scale_log2([range_of(values)]) == min(errors, key=errors.get)


def test_an_outlier_is_clipped_for_the_sake_of_the_rest():
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 100_000), [200.0]])
    assert best_scale_log2([range_of(values)]) < minmax_scale_log2(200.0)


def test_a_group_minds_its_small_member_too():
    rng = np.random.default_rng(0)
    large, small = rng.uniform(-64, 64, 1000), rng.uniform(-1, 1, 1000)
    alone = best_scale_log2([range_of(large)])
    assert alone == 0 - 1
    assert best_scale_log2([range_of(large), range_of(small)]) <= alone


def test_a_value_that_is_always_zero_has_a_scale():
    assert best_scale_log2([range_of(np.zeros(9))]) == SCALE_OF_ZERO


def test_ranges_are_those_of_all_images():
    images = np.random.default_rng(1).normal(size=(3, 2, 4, 4)).astype(np.float32)
    images[1, 0, 0, 0], images[2, 1, 3, 3] = 9.0, -11.0
    ranges = collect_ranges(relu_graph(), images, ["input0", "relu_0:0"])
    assert ranges["input0"].peak == 11
    assert ranges["relu_0:0"].peak == 9
    np.testing.assert_array_equal(np.sort(ranges["input0"].samples), np.sort(images.reshape(-1)))


def test_large_values_are_sampled_the_same_way_every_time():
    graph = relu_graph((1, 2, 200, 200))
    image = np.random.default_rng(1).normal(size=(2, 2, 200, 200)).astype(np.float32)
    one, again = (collect_ranges(graph, image, ["input0"])["input0"] for _ in range(2))
    assert one.samples.size == 2 * SAMPLES_PER_IMAGE
    np.testing.assert_array_equal(one.samples, again.samples)


def test_no_images_is_refused():
    with pytest.raises(InputError, match="no calibration images; allowed: at least 1"):
        collect_ranges(relu_graph(), np.zeros((0, 2, 4, 4), np.float32), ["input0"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(InputError, match="value input0 is not finite"):
        collect_ranges(relu_graph(), np.full((2, 2, 4, 4), value, np.float32), ["input0", "relu_0:0"])


def test_methods_differ_in_what_they_clip():
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 100_000), [200.0]])
    seen = [range_of(values)]
    minmax, percentile, mse = (choose_scale_log2(seen, method) for method in ("minmax", "percentile", "mse"))
    assert minmax == minmax_scale_log2(200.0)
    assert percentile == minmax_scale_log2(np.percentile(np.abs(values), 99.99))
    assert mse == best_scale_log2(seen)
    assert percentile < mse < minmax


def test_a_value_that_is_almost_always_zero_keeps_its_peak_under_percentile():
    values = np.zeros(100_000)
    values[0] = 3.0
    assert choose_scale_log2([range_of(values)], "percentile") == minmax_scale_log2(3.0)


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_a_stated_peak_decides_alone(method):
    seen = with_stated({"a": range_of([1.0, 2.0]), "b": range_of([9.0])}, {"a": (-3.0, 5.0)})
    assert choose_scale_log2(list(seen.values()), method) == minmax_scale_log2(5.0)
    assert (seen["a"].stated, seen["b"].stated) == (True, False)


def test_channels_have_their_own_means_powers_and_peaks():
    images = np.random.default_rng(1).normal(size=(3, 2, 4, 4)).astype(np.float32)
    seen = collect_ranges(relu_graph(), images, ["relu_0:0"])["relu_0:0"]
    positive = np.maximum(images.astype(np.float64), 0)
    np.testing.assert_allclose(seen.means, positive.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(seen.powers, np.square(positive).mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(seen.peaks, positive.max(axis=(0, 2, 3)), rtol=1e-6)
