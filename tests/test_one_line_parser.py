import sys
from pathlib import Path

import pytest

from mpi_vta.errors import InputError
from mpi_vta.one_line_parser import OneLineParser


def parser(prog="mpi_vta.plan"):
    found = OneLineParser(prog=prog)
    found.add_argument("file", type=Path)
    commands = found.add_subparsers(dest="command", parser_class=OneLineParser)
    commands.add_parser("show").add_argument("path", type=Path)
    return found


@pytest.mark.parametrize(
    ("called", "prog"), [("/x/bin/mpi-vta", "mpi-vta plan"), ("/x/mpi_vta/plan.py", "python -m mpi_vta.plan")]
)
def test_usage_shows_the_command_as_it_was_called(monkeypatch, called, prog):
    monkeypatch.setattr(sys, "argv", [called])
    assert parser().format_usage().startswith(f"usage: {prog} [-h]")
    with pytest.raises(InputError, match=rf"command line: unrecognized arguments: --x; see {prog} --help$"):
        parser().parse_args(["a", "show", "b", "--x"])


def test_sub_command_names_the_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mpi-vta"])
    with pytest.raises(InputError, match=r"required: path; see mpi-vta plan --help$"):
        parser().parse_args(["a", "show"])


@pytest.mark.parametrize("arguments", [["", "show", "b"], ["a", "show", ""]])
def test_empty_path_is_refused(arguments):
    with pytest.raises(InputError, match="an empty path"):
        parser().parse_args(arguments)
