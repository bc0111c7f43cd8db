"""Commands by name."""

import pytest

from mpi_vta import __version__
from mpi_vta.__main__ import COMMANDS, main


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mpi-vta {__version__}\n"


def test_help_is_a_command(capsys):
    assert main(["help"]) == 0
    assert capsys.readouterr().out.startswith("usage: mpi-vta <command>")
    with pytest.raises(SystemExit, match="0"):
        main(["help", "list"])
    assert capsys.readouterr().out.startswith("usage: python -m mpi_vta.list")


def test_mistyped_command_is_answered_with_the_nearest(capsys):
    assert main(["plann"]) == 2
    assert capsys.readouterr().err.endswith("; did you mean plan?\n")


@pytest.mark.parametrize(("argv", "message"), [([], "no command;"), (["fly"], "no command 'fly';")])
def test_unknown_command_is_one_line(capsys, argv, message):
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mpi_vta: error: {message} allowed: pipeline")


def test_only_the_first_rank_complains(capsys, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "3")
    monkeypatch.setenv("PMI_RANK", "1")
    assert main(["fly"]) == 2
    assert capsys.readouterr() == ("", "")
