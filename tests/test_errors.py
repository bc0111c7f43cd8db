from __future__ import annotations

import pickle

import pytest

from mpi_vta import errors


def test_message_is_one_line_with_its_four_parts() -> None:
    error = errors.PlanError("too\nmany stages", where="plan.json", allowed="1..3", remedy="use fewer")
    assert str(error) == "plan.json: too many stages; allowed: 1..3; use fewer"


def test_empty_parts_are_left_out() -> None:
    assert str(errors.InputError("bad picture")) == "bad picture"


@pytest.mark.parametrize("kind", [k for k in vars(errors).values() if isinstance(k, type)])
def test_errors_survive_a_process_boundary(kind: type[errors.MpiVtaError]) -> None:
    error = kind("what", where="where", allowed="allowed", remedy="remedy")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.exit_status == error.exit_status != 0
