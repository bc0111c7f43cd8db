from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import OUT_BASE, tiled_programs

from mpi_vta.errors import SimulationError
from mpi_vta.simulator.replay import make_vector, replay
from mpi_vta.simulator.timing import HLS
from mpi_vta.simulator.vectors import Extent, Vector

VECTORS = sorted((Path(__file__).parent.parent / "data" / "vectors").glob("*.npz"))


def test_summary_of_a_good_vector():
    vector = Vector.load(VECTORS[0])
    assert replay(vector, check=False).summary() == {
        "match": True,
        "mismatched_bytes": 0,
        "cycles": vector.rtl_cycles,
        "expected_cycles": vector.rtl_cycles,
    }


def test_wrong_bytes_are_counted():
    vector = Vector.load(VECTORS[0])
    content = vector.expected[0].content.copy()
    content[:3] ^= 0x10
    result = replay(Vector(vector.config, vector.insns, vector.initial, (Extent(vector.expected[0].address, content),)))
    assert (result.match, result.mismatched_bytes, result.expected_cycles) == (False, 3, -1)


def test_check_is_made_on_demand():
    hazardous = Vector.load(VECTORS[0])
    with pytest.raises(SimulationError, match="rule 7"):
        replay(hazardous, check=True)
    assert replay(Vector.load(VECTORS[-1]), check=True).match


def test_profile_is_used():
    vector = Vector.load(VECTORS[-1])
    assert replay(vector, profile=HLS).timing.profile is HLS


@settings(deadline=None, max_examples=20)
@given(tiled_programs())
def test_made_vector_replays(case):
    image = case.image()
    vector = make_vector(case.config, case.words(), [Extent(0, image)], [(OUT_BASE, 64), (0x100, 4)])
    assert [extent.address for extent in vector.expected] == [OUT_BASE, 0x100]
    np.testing.assert_array_equal(vector.expected[1].content, image[0x100:0x104])
    result = replay(vector, check=True)
    assert result.match
    assert vector.agreed == "mpi_vta"
