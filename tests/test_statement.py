"""Statements: words that follow their values; lists, ranges and counts."""

from typing import ClassVar

import pytest

from mpi_vta.statement import Statement, figure, listed, quoted, sentence


class Told(Statement):
    TEMPLATES: ClassVar = {
        "boards": "{boards:count board} {boards:stays|stay} idle{why}",
        "why": ", as {names:list} {names:is|are} full",
        "row": "{row.what} {row.values[n]:.2f}",
        "range": "{of:range .2f}, {of:range}, {of:percents}",
        "forms": "{part:capital}: {share:percent}, {share:percent1}, {names:quoted}, {names:codes}, {names:series}, "
        "{names:items}, {count:often}, {large:figure}",
    }


def test_unknown_statement_is_refused():
    with pytest.raises(KeyError, match="other"):
        Told("other")


def test_number_and_parts_of_a_sentence():
    assert str(Told("boards", boards=1, why=None)) == "1 board stays idle"
    why = Told("why", names=["a", "b"])
    assert str(Told("boards", boards=2, why=why)) == "2 boards stay idle, as a and b are full"


def test_attributes_of_values_are_named():
    assert str(Told("row", row=Told("boards", n=1))) == "boards 1.00"


def test_ranges_of_one_value_are_that_value():
    assert str(Told("range", of=[2.0, 1.5])) == "1.50 to 2.00, 1.5 to 2, 150 to 200 %"
    assert str(Told("range", of=[0.5, 0.500001])) == "0.50, 0.5, 50 %"


def test_forms():
    told = Told("forms", part=Told("why", names=["a"]), share=0.125, names=["a", "b"], count=(0, 7), large=23380.2)
    assert str(told) == ", as a is full: 12 %, 12.5 %, `a` and `b`, `a`/`b`, a, b, a; b, none of 7, 23,380"
    assert sentence("the end") == "The end"


def test_lists_end_with_and():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert quoted(["a", "b"]) == "`a` and `b`"


@pytest.mark.parametrize(
    ("value", "text"), [(0.00063561, "0.0006356"), (9999.4, "9999"), (9999.5, "10,000"), (23380.2, "23,380")]
)
def test_figures_have_no_exponent(value, text):
    assert figure(value) == text


@pytest.mark.parametrize(("count", "words"), [(0, "none of 7"), (3, "3 of 7"), (7, "all 7")])
def test_counts_in_words(count, words):
    told = Told("forms", part="x", share=0.1, names=["a"], count=(count, 7), large=1)
    assert f", {words}, " in str(told)
