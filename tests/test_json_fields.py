import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpi_vta.json_fields import MOST, Count, Positive, Range, from_json, to_json


@dataclass(frozen=True)
class Leg:
    name: str
    size: Positive
    at: tuple[Count, Count] | None = None


@dataclass(frozen=True)
class Table:
    legs: tuple[Leg, ...]
    weight_kg: float
    round: bool
    notes: Mapping[str, int | float | str]
    tilt: Annotated[int, Range(-9, 9)] = 0
    extra: Any = None

    def check_read(self) -> None:
        if not self.legs:
            raise ValueError("a table without legs")


GOOD = {"legs": [{"name": "a", "size": 1}, ["b", 2, [3, 4]]], "weight_kg": 2, "round": True, "notes": {"x": 1.5}}
TABLES = st.builds(
    Table,
    st.lists(
        st.builds(Leg, st.text(), st.integers(1, MOST), st.none() | st.tuples(*[st.integers(0, 9)] * 2)), min_size=1
    ).map(tuple),
    st.floats(-1e9, 1e9),
    st.booleans(),
    st.dictionaries(st.text(), st.integers(-9, 9) | st.text()),
    st.integers(-9, 9),
)


@given(TABLES)
def test_what_is_written_is_read_back(table):
    assert from_json(Table, json.loads(json.dumps(to_json(table)))) == table


def test_objects_and_lists_of_fields_are_read():
    assert from_json(Table, GOOD).legs == (Leg("a", 1), Leg("b", 2, (3, 4)))


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"round": ...}, "'round' is missing"),
    "unknown": ({"colour": 1}, "unknown: colour"),
    "not an object": ({"notes": []}, r"notes: \[\] is not an object"),
    "not a list": ({"legs": 1}, "legs: 1 is not a list"),
    "too short a list": ({"legs": [["a", 1]]}, r"legs\[0\]: .* has not 3 entries"),
    "pair of three": ({"legs": [["a", 1, [1, 2, 3]]]}, r"legs\[0\].at: \[1, 2, 3\] has not 2 entries"),
    "out of range": ({"tilt": 10}, "tilt: 10 is not a whole number from -9 to 9"),
    "below its least": ({"legs": [["a", 0, None]]}, rf"size: 0 is not a whole number from 1 to {MOST}"),
    "truth as a number": ({"tilt": True}, "tilt: True is not a whole number"),
    "no number": ({"weight_kg": float("nan")}, "weight_kg: nan is not a number"),
    "no text": ({"legs": [[1, 1, None]]}, "name: 1 is not a text"),
    "neither true nor false": ({"round": 1}, "round: 1 is neither true nor false"),
    "none of several": ({"notes": {"x": []}}, r"notes.x: \[\] is not a text"),
    "refused by its class": ({"legs": []}, "a table without legs"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_their_place(name):
    change, message = FAULTS[name]
    data = {key: value for key, value in {**GOOD, **change}.items() if value is not ...}
    with pytest.raises(ValueError, match=message):
        from_json(Table, data)
