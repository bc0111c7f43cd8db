"""Programs, plans and runs are those of `golden.json`; ``make golden`` writes it anew for a change that is meant."""

import pytest
from golden.cases import default_cases, recorded, run_cases, slow_cases

DEFAULT, RUNS, SLOW = default_cases(), run_cases(), slow_cases()
LONG = ("program resnet18 ultra96_1x16", "program yolo ultra96_1x16")


def test_file_holds_exactly_these_cases():
    assert list(recorded()) == [*DEFAULT, *RUNS, *SLOW]


@pytest.mark.parametrize("name", DEFAULT)
def test_programs_and_plans_stay(name):
    assert DEFAULT[name]() == recorded()[name]


@pytest.mark.slow
@pytest.mark.mpi
@pytest.mark.parametrize("name", RUNS)
def test_runs_stay(name):
    assert RUNS[name]() == recorded()[name]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in LONG else pytest.mark.slow) for name in SLOW]
)
def test_whole_networks_stay(name):
    assert SLOW[name]() == recorded()[name]
