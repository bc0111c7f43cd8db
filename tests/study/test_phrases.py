"""Lists, ranges and counts in words."""

import pytest

from mpi_vta.study.phrases import (
    counted_boards,
    figure,
    figure_range,
    how_often,
    listed,
    percent_range,
    quoted,
    sentence,
    span,
)


def test_lists_end_with_and():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert quoted(["a", "b"]) == "`a` and `b`"


@pytest.mark.parametrize(
    ("value", "text"), [(0.00063561, "0.0006356"), (9999.4, "9999"), (9999.5, "10,000"), (23380.2, "23,380")]
)
def test_figures_have_no_exponent(value, text):
    assert figure(value) == text


def test_ranges_of_one_value_are_that_value():
    assert (span([3]), span([1, 2, 12])) == ("3", "1 to 12")
    assert (figure_range([2.0, 1.5]), figure_range([1.0, 1.00001])) == ("1.5 to 2", "1")
    assert (percent_range([0.354, 0.86]), percent_range([0.5, 0.501])) == ("35 to 86", "50")


@pytest.mark.parametrize(("count", "words"), [(0, "none of 7"), (3, "3 of 7"), (7, "all 7")])
def test_counts_in_words(count, words):
    assert how_often(count, 7) == words


def test_one_board_is_singular_and_sentences_begin_with_a_capital():
    assert (counted_boards(1), counted_boards(2), sentence("the end")) == ("1 board", "2 boards", "The end")
