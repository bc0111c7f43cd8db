"""Every note has words for its values, and nothing else is named."""

from string import Formatter

import pytest

from mpi_vta.json_fields import to_json
from mpi_vta.plans.notes import Note


def test_unknown_note_is_refused():
    with pytest.raises(KeyError, match="no such"):
        Note("no such")


def test_value_that_is_not_given_is_not_made_up():
    with pytest.raises(KeyError, match="idle"):
        str(Note("idle, too small"))


@pytest.mark.parametrize(
    ("note", "text"),
    [
        (Note("idle, few groups", idle=1, groups=1), "1 board stays idle: there are only 1 image group"),
        (Note("idle, few groups", idle=3, groups=2), "3 boards stay idle: there are only 2 image groups"),
        (
            Note("idle, no shorter division", idle=2, least_gain=0.001),
            "2 boards stay idle: no division of whole layers with them was 0.1% shorter (modelled, with costs of "
            "layers that add up)",
        ),
        (
            Note(
                "chosen",
                chooser="auto",
                strategy="a",
                figure="k",
                value=2,
                others=[Note("other", strategy="b", value=1)],
            ),
            "auto chose a for k 2 (modelled); b 1",
        ),
    ],
)
def test_words_follow_the_values(note, text):
    assert str(note) == text


def test_times_say_modelled():
    for what, template in Note.TEMPLATES.items():
        timed = any(name and name.endswith(("_ms", "_us")) for _, name, *_ in Formatter().parse(template))
        # a part of a sentence that says it
        assert not timed or "(modelled" in template or what == "figures", what


def test_json_has_the_words():
    text = str(Note("no turn", boards=1))
    assert to_json((Note("no turn", boards=1),)) == [text]
    assert str(Note.from_text(text)) == text
