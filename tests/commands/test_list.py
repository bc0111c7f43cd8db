"""Names that commands take, listed."""

import pytest

from mpi_vta.errors import did_you_mean
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.hw.paths import shipped_names
from mpi_vta.list import KINDS, main
from mpi_vta.plans.figures import OBJECTIVES
from mpi_vta.schedule.strategies import AUTO, STRATEGIES

NAMES = {
    "models": BUILDERS,
    "clusters": shipped_names("clusters"),
    "configs": shipped_names("vta_configs"),
    "strategies": (*STRATEGIES, AUTO),
    "objectives": OBJECTIVES,
    "devices": ("sim", "timing", "rtl", "pynq"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_alone_are_those_that_commands_take(kind, capsys):
    assert main([kind, "--names"]) == 0
    assert capsys.readouterr().out.split() == list(NAMES[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_table_has_a_row_for_every_name(kind, capsys):
    assert main([kind, "--names"]) == 0
    names = capsys.readouterr().out.split()
    assert main([kind]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [row.split()[1] for row in rows] == names


def test_unknown_kind_is_one_line_with_the_nearest(capsys):
    assert main(["modles"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "mpi_vta: error: command line: there is no list of 'modles'; allowed: models, boards, clusters, configs, "
        "parts, strategies, objectives, devices; did you mean models?"
    )


def test_nothing_is_meant_by_what_is_like_nothing():
    assert did_you_mean("zzz", BUILDERS) == ""
    assert did_you_mean("resnet81", BUILDERS) == "did you mean resnet18?"
