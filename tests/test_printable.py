import pytest

from mpi_vta.errors import ModelError
from mpi_vta.printable import MOST_CHARACTERS, picture_text, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("layer1.0.conv1", "layer1.0.conv1"),
        ("Schicht ä, 層", "Schicht ä, 層"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb\u2028c", r"a\u202eb\u2028c"),
        ("\ud800", r"\ud800"),
        ("a\tb\n", r"a\tb\n"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text, shown):
    assert printable(text) == shown


def test_endless_name_is_cut():
    assert printable("x" * 10**6) == f"{'x' * MOST_CHARACTERS}... (1,000,000 characters)"


def test_message_holds_no_control_characters():
    fault = ModelError("node \x1b[2J", where="\x07net.onnx", allowed="\x1b", remedy="\x00")
    assert str(fault) == r"\x07net.onnx: node \x1b[2J; allowed: \x1b; \x00"


def test_picture_takes_no_name_for_a_formula():
    assert picture_text("a$\\frac{$b") == r"a\$\frac{\$b"
    assert picture_text("GlobalAveragePool_0_output_1", 20) == "GlobalAve…0_output_1"
