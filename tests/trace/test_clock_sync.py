"""Offset and drift of a clock that was given both, from ping-pongs with random delays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.errors import ArtifactError
from mpi_vta.trace.clock_sync import SAME_CLOCK, best_of_round, fit_clock
from mpi_vta.trace.schema import CLOCK_SAMPLE_DTYPE

SECOND_NS = 1_000_000_000


def rounds(offset_ns, drift_ppb, seed, count=8, pings=100, usual_ns=20_000):
    """Compare a clock that is behind rank 0's by a known line, over 60 s; delays are never below 5 µs a way."""
    random = np.random.default_rng(seed)
    samples = np.zeros(count, CLOCK_SAMPLE_DTYPE)
    for number, begin in enumerate(np.linspace(0, 60 * SECOND_NS, count)):
        sent = (begin + np.arange(pings) * 200_000).astype(np.int64)
        out, back = 5_000 + random.exponential(usual_ns, (2, pings))
        asked = sent + out
        reference = np.rint(asked + offset_ns + drift_ppb * 1e-9 * asked).astype(np.int64)
        samples[number] = best_of_round(sent, reference, np.rint(asked + back).astype(np.int64))
    return samples


@settings(deadline=None, max_examples=60)
@given(st.integers(-(10**12), 10**12), st.integers(-100_000, 100_000), st.integers(0, 2**32))
def test_injected_offset_and_drift_are_found_within_the_stated_bound(offset_ns, drift_ppb, seed):
    samples = rounds(offset_ns, drift_ppb, seed)
    line = fit_clock(samples, "rank 1")
    local = np.linspace(samples["local_ns"].min(), samples["local_ns"].max(), 50).astype(np.int64)
    truth = local + offset_ns + drift_ppb * 1e-9 * local
    worst_ns = np.abs(line.to_reference(local) - truth).max()
    assert worst_ns <= line.error_ns + 2
    assert line.error_ns < 25_000


def test_typical_error_is_a_few_microseconds():
    errors = []
    for seed in range(50):
        line = fit_clock(rounds(123_456_789, 20_000, seed), "rank 1")
        local = np.linspace(0, 60 * SECOND_NS, 50).astype(np.int64)
        errors.append(np.abs(line.to_reference(local) - (local + 123_456_789 + 2e-5 * local)).max())
    assert np.median(errors) < 2_000
    assert max(errors) < 5_000


def test_one_slow_round_changes_little():
    samples = rounds(5_000, 0, 1)
    samples["offset_ns"][3] += 400_000
    samples["rtt_ns"][3] = 1_000_000
    line = fit_clock(samples, "rank 1")
    assert abs(line.offset_ns - 5_000) < 1_500
    assert line.error_ns < 25_000


def test_best_of_a_round_is_the_fastest():
    sent = np.array([0, 1000, 2000])
    sample = best_of_round(sent, np.array([900, 1550, 2600]), np.array([400, 1100, 2600]))
    assert (int(sample["local_ns"]), float(sample["offset_ns"]), int(sample["rtt_ns"])) == (1050, 500.0, 100)


@pytest.mark.parametrize("local", [[], [5], [5, 5]])
def test_too_few_comparisons_are_refused(local):
    samples = np.zeros(len(local), CLOCK_SAMPLE_DTYPE)
    samples["local_ns"] = local
    with pytest.raises(ArtifactError, match=r"rank 3: .* comparisons with rank 0's clock; allowed: at least 2"):
        fit_clock(samples, "rank 3")


def test_the_reference_s_own_clock_is_left_alone():
    times = np.array([0, 1, 1 << 60])
    assert SAME_CLOCK.to_reference(times).tolist() == times.tolist()
