"""``python -m mpi_vta.explore --builds``: one process, no experiment."""

import pytest

from mpi_vta.explore import main


def test_builds_of_a_part_at_a_clock(capsys):
    assert main(["--builds", "ZU3EG", "--clock-mhz", "250"]) == 0
    shown = capsys.readouterr().out
    assert "VTA builds for ZU3EG at 250 MHz, VTA's HLS source: resources are modelled" in shown
    assert "ultra96_2x16" in shown
    assert main(["--builds", "ZU3EG", "--clock-mhz", "400"]) == 0
    assert " 0 that fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["e.toml", "--builds", "ZU3EG"], ["--builds", "ZU3EG", "--report", "p.md", "r.h5"]]
)
def test_an_experiment_or_a_part_is_needed_and_not_both(capsys, arguments):
    assert main(arguments) == 2
    assert "give an experiment file, or --builds PART, or --report PAGE RESULT" in capsys.readouterr().err


def test_builds_of_this_projects_own_core(capsys):
    assert main(["--builds", "XC7Z020", "--core", "own"]) == 0
    shown = capsys.readouterr().out
    assert "this project's own core: resources are modelled" in shown
    row = next(line for line in shown.splitlines() if "pynq_2x16" in line)
    assert " 220 " in row
    assert "in doubt" not in row


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["e.toml", "--core", "own"], "--core goes with --builds"),
        (["--builds", "XC7Z020", "--synthesize"], "--synthesize goes with --builds PART --core own"),
        (["--builds", "XC7Z020", "--core", "chisel"], "chisel"),
    ],
)
def test_options_of_the_own_core_go_with_builds(capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_part_is_refused(capsys):
    assert main(["--builds", "XC7Z010"]) == 2
    assert "XC7Z010: no such file and no shipped parts entry" in capsys.readouterr().err


@pytest.mark.parametrize("clock", ["0", "-100", "nan", "2001"])
def test_a_clock_out_of_range_is_refused(capsys, clock):
    assert main(["--builds", "ZU3EG", f"--clock-mhz={clock}"]) == 2
    assert "--clock-mhz: is" in capsys.readouterr().err


def test_a_clock_without_a_part_is_refused(capsys):
    assert main(["e.toml", "--clock-mhz", "100"]) == 2
    assert "--clock-mhz goes with --builds" in capsys.readouterr().err
