"""Throughput and latency figures."""

import pytest

from mpi_vta.schedule.figures import group_count, measure

MS = 1_000_000


def test_throughput_counts_filling_and_draining_steady_rate_does_not():
    finishes = [9 * MS, 11 * MS, 12 * MS, 13 * MS, 14 * MS, 15 * MS, 16 * MS, 19 * MS]
    figures = measure([0] * 8, finishes, 8, 1)
    assert figures.makespan_ns == 19 * MS
    assert figures.throughput_images_per_s == pytest.approx(8 / 0.019)
    assert figures.steady_images_per_s == pytest.approx(1000)


def test_steady_rate_is_over_whole_rounds():
    # five boards that finish together every 140 ms: a window that cuts a round would say 5 in far less
    finishes = [140 * MS * (1 + group // 5) for group in range(40)]
    assert measure([0] * 40, finishes, 40, 1, 5).steady_images_per_s == pytest.approx(5 / 0.140)


def test_steady_rate_of_boards_of_different_speed():
    # in a round of three turns one board has two: it finishes groups every 10 ms, the other every 20 ms
    finishes = [(20 * (group // 3) + (10, 20, 20)[group % 3]) * MS for group in range(48)]
    assert measure([0] * 48, finishes, 48, 1, 3).steady_images_per_s == pytest.approx(3 / 0.020)


def test_steady_rate_never_exceeds_the_bound():
    finishes = [(100 + group) * MS for group in range(24)]
    assert measure([0] * 24, finishes, 24, 1).steady_images_per_s == pytest.approx(1000)
    assert measure([0] * 24, finishes, 24, 1, 1, 900.0).steady_images_per_s == 900


@pytest.mark.parametrize(("groups", "per_round"), [(5, 1), (27, 5), (33, 5), (8, 12)])
def test_no_steady_rate_where_fewer_than_three_rounds_lie_in_the_middle(groups, per_round):
    finishes = [(group + 1) * MS for group in range(groups)]
    assert measure([0] * groups, finishes, groups, 1, per_round).steady_images_per_s is None


@pytest.mark.parametrize(("groups", "per_round"), [(6, 1), (38, 5)])
def test_three_rounds_in_the_middle_suffice(groups, per_round):
    finishes = [(group + 1) * MS for group in range(groups)]
    assert measure([0] * groups, finishes, groups, 1, per_round).steady_images_per_s == pytest.approx(1000)


def test_groups_that_finish_all_at_once_have_no_steady_rate():
    figures = measure([0] * 8, [10 * MS] * 8, 8, 1)
    assert figures.steady_images_per_s is None
    assert figures.throughput_images_per_s == pytest.approx(800)


def test_latency_is_from_start_to_finish():
    figures = measure([0, 5 * MS], [10 * MS, 25 * MS], 2, 1)
    assert figures.latency_p50_ms == pytest.approx(15)
    assert figures.latency_p99_ms == pytest.approx(19.9)


def test_partly_filled_last_group_counts_its_images_only():
    figures = measure([0, 0], [10 * MS, 20 * MS], 5, 4)
    assert figures.throughput_images_per_s == pytest.approx(5 / 0.020)
    assert figures.latency_p50_ms == pytest.approx(10)


def test_groups_are_rounded_up():
    assert [group_count(images, 4) for images in (1, 4, 5)] == [1, 1, 2]


@pytest.mark.parametrize(("starts", "finishes"), [([0], [1, 2]), ([0, 1, 2], [3, 4, 5])])
def test_numbers_that_do_not_fit_are_refused(starts, finishes):
    with pytest.raises(ValueError, match="for 2 images in groups of 1"):
        measure(starts, finishes, 2, 1)
