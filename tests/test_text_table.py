import io

from mpi_vta.text_table import counted, print_lines, print_table


def test_names_are_shown_and_not_obeyed():
    stream = io.StringIO()
    print_table("net \x1b[31m", ("layer",), [("[/red]",), ("[bold]x",), ("\x1b]0;x\x07",)], stream, left=("layer",))
    text = stream.getvalue()
    assert "[/red]" in text
    assert "[bold]x" in text
    assert r"\x1b]0;x\x07" in text
    assert "\x1b" not in text


def test_long_names_are_folded_not_cut():
    stream = io.StringIO()
    print_table("", ("layer", "cycles"), [("x" * 300, "1")], stream)
    assert stream.getvalue().count("x") == 300


def test_lines_are_spelled_out():
    stream = io.StringIO()
    print_lines(["note        \x1b[2J"], stream)
    assert stream.getvalue() == "note        \\x1b[2J\n"


def test_counts():
    assert [counted(count, "board") for count in (0, 1, 2, 1000)] == ["0 boards", "1 board", "2 boards", "1,000 boards"]
