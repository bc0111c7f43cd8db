from __future__ import annotations

import pickle

import pytest

from mpi_vta import errors


def test_message_is_one_line_with_its_four_parts() -> None:
    error = errors.PlanError("too\nmany stages", where="plan.json", allowed="1..3", remedy="use fewer")
    assert str(error) == "plan.json: too many stages; allowed: 1..3; use fewer"


def test_empty_parts_are_left_out() -> None:
    assert str(errors.InputError("bad picture")) == "bad picture"


@pytest.mark.parametrize("kind", [*errors.MpiVtaError.__subclasses__(), errors.MpiVtaError])
def test_errors_survive_a_process_boundary(kind: type[errors.MpiVtaError]) -> None:
    error = kind("what", where="where", allowed="allowed", remedy="remedy")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.exit_status == error.exit_status != 0


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("", "a/net.onnx: wrong"),
        ("net", "a/net.onnx: wrong"),
        ("conv1", "a/net.onnx: conv1: wrong"),
        ("a/net.onnx", "a/net.onnx: wrong"),
        ("a/net.onnx: conv1", "a/net.onnx: conv1: wrong"),
    ],
)
def test_file_is_named_once(where: str, shown: str) -> None:
    with pytest.raises(errors.ModelError) as caught, errors.about("a/net.onnx", "net"):
        raise errors.ModelError("wrong", where=where)
    assert str(caught.value) == shown
