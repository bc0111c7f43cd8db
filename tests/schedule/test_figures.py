"""Throughput and latency figures."""

import pytest

from mpi_vta.schedule.figures import group_count, measure

MS = 1_000_000


def test_throughput_counts_filling_and_draining_steady_rate_does_not():
    figures = measure([0, 1 * MS, 2 * MS, 3 * MS], [9 * MS, 11 * MS, 12 * MS, 14 * MS], 4, 1)
    assert figures.makespan_ns == 14 * MS
    assert figures.throughput_images_per_s == pytest.approx(4 / 0.014)
    assert figures.steady_images_per_s == pytest.approx(2 / 0.003)


def test_steady_rate_of_boards_that_finish_together():
    finishes = [140 * MS * (1 + group // 5) for group in range(24)]
    assert measure([0] * 24, finishes, 24, 1).steady_images_per_s == pytest.approx(5 / 0.140, rel=0.02)


def test_steady_rate_of_groups_that_finish_all_at_once_is_the_throughput():
    figures = measure([0] * 8, [10 * MS] * 8, 8, 1)
    assert figures.steady_images_per_s == figures.throughput_images_per_s == pytest.approx(800)


def test_latency_is_from_start_to_finish():
    figures = measure([0, 5 * MS], [10 * MS, 25 * MS], 2, 1)
    assert figures.latency_p50_ms == pytest.approx(15)
    assert figures.latency_p99_ms == pytest.approx(19.9)


def test_partly_filled_last_group_counts_its_images_only():
    figures = measure([0, 0], [10 * MS, 20 * MS], 5, 4)
    assert figures.throughput_images_per_s == pytest.approx(5 / 0.020)
    assert figures.latency_p50_ms == pytest.approx(10)


def test_few_groups_have_the_throughput_as_steady_rate():
    figures = measure([0], [10 * MS], 1, 1)
    assert figures.steady_images_per_s == figures.throughput_images_per_s == pytest.approx(100)


def test_groups_are_rounded_up():
    assert [group_count(images, 4) for images in (1, 4, 5)] == [1, 1, 2]


@pytest.mark.parametrize(("starts", "finishes"), [([0], [1, 2]), ([0, 1, 2], [3, 4, 5])])
def test_numbers_that_do_not_fit_are_refused(starts, finishes):
    with pytest.raises(ValueError, match="for 2 images in groups of 1"):
        measure(starts, finishes, 2, 1)
