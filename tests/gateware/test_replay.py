"""``hardware replay``: a recorded vector on the compiled core, which the tests of the core share."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mpi_vta.hardware import main
from mpi_vta.simulator.vectors import Vector

VECTOR = Path(__file__).parent.parent / "data" / "vectors" / "fuzz_pynq_1x16_1000.npz"


@pytest.mark.rtl
def test_a_recorded_vector_is_replayed_on_the_compiled_core(capsys):
    assert main(["replay", str(VECTOR)]) == 0
    summary, *words = capsys.readouterr().out.splitlines()
    found = json.loads(summary)
    assert (found["match"], found["mismatched_bytes"]) == (True, 0)
    assert found["cycles"] == found["expected_cycles"] > 0
    assert words[0] == "every expected byte came out"


@pytest.mark.rtl
def test_a_vector_with_another_result_does_not_match(capsys, tmp_path):
    vector = Vector.load(VECTOR)
    (first, *others) = vector.expected
    changed = first.content.copy()
    changed[0] ^= 1
    replace(vector, expected=(replace(first, content=changed), *others)).save(tmp_path / "wrong.npz")
    assert main(["replay", str(tmp_path / "wrong.npz"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["match"], found["mismatched_bytes"]) == (False, 1)
