"""The plan as a file."""

import json

import pytest
from hypothesis import given, settings
from schedule_cases import plans

from mpi_vta.errors import PlanError
from mpi_vta.plans.notes import Note
from mpi_vta.plans.plan import SINK, SOURCE, Plan, Stage


@settings(deadline=None, max_examples=50)
@given(plans())
def test_text_gives_the_same_plan_back(drawn):
    plan, _ = drawn
    assert Plan.from_json(plan.to_json()) == plan


def test_saved_plan_is_readable_text(tmp_path):
    notes = (Note("no turn", boards=1),)
    plan = Plan("m", "pipeline", 1, (Stage(0, ("a", "b"), (0,), 10, (100,), (0,)),), (), 2, {"latency_ms": 1.5}, notes)
    plan.save(tmp_path / "plan.json")
    data = json.loads((tmp_path / "plan.json").read_text())
    assert (data["format"], data["version"], data["in_flight_groups"]) == ("plan", 1, 2)
    assert data["stages"][0]["nodes"] == ["a", "b"]
    assert data["notes"] == ["1 board gets no turn: the others of the stage are done with all groups before (modelled)"]
    assert [str(note) for note in Plan.from_json(plan.to_json()).notes] == data["notes"]


@pytest.mark.parametrize("text", ["", "[]", '{"format": "plan"}', '{"format": "plan", "version": 1, "stages": [{}]}'])
def test_text_that_is_no_plan_is_refused(text):
    with pytest.raises(PlanError, match=r"mine: not a readable plan .*; allowed: what --dry-run writes"):
        Plan.from_json(text, where="mine")


def test_other_version_is_refused():
    with pytest.raises(PlanError, match="holds plan version 9; allowed: plan version 1"):
        Plan.from_json('{"format": "plan", "version": 9}')


def test_ranks_include_rank_0_and_places_map_to_ranks():
    plan = Plan("m", "s", 1, (Stage(0, ("a",), (3, 5), 1, (1, 1), (0, 0)),), (), 1)
    assert plan.ranks == (0, 3, 5)
    assert [plan.rank_of(0, group) for group in range(3)] == [3, 5, 3]
    assert plan.rank_of(SOURCE, 1) == plan.rank_of(SINK, 1) == 0
