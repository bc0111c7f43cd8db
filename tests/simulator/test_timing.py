from pathlib import Path

import numpy as np
import pytest

from mpi_vta.simulator.timing import simulate
from mpi_vta.simulator.vectors import Vector

VECTORS = sorted((Path(__file__).parent.parent / "data" / "vectors").glob("*.npz"))
TIMED = [path for path in VECTORS if Vector.load(path).rtl_cycles >= 0]


@pytest.mark.parametrize("path", TIMED, ids=lambda path: path.stem)
def test_cycles_equal_those_of_the_rtl(path):
    vector = Vector.load(path)
    assert simulate(vector.config, vector.insns).cycles == vector.rtl_cycles


def test_most_vectors_come_with_cycles():
    assert len(TIMED) == 46


@pytest.mark.parametrize("path", VECTORS[::7], ids=lambda path: path.stem)
def test_instructions_of_a_unit_follow_each_other_with_one_idle_cycle(path):
    vector = Vector.load(path)
    timing = simulate(vector.config, vector.insns)
    for unit in range(3):
        rows = timing.unit == unit
        starts, ends = timing.start_cycle[rows], timing.end_cycle[rows]
        assert (ends >= starts + 1).all()
        assert (starts[1:] >= ends[:-1] + 1).all()
    taken = timing.producer >= 0
    pushed = np.where(taken, timing.end_cycle[timing.producer], -1)
    assert (timing.start_cycle[:, None] > pushed).all()
