from pathlib import Path

import numpy as np
import pytest

from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.vectors import Vector

VECTORS = sorted((Path(__file__).parent.parent / "data" / "vectors").glob("*.npz"))


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector_leaves_the_bytes_that_all_models_agreed_on(path):
    vector = Vector.load(path)
    image = vector.image()
    assert vector.mismatched_bytes(image) > 0, "the program must have something to do"
    Executable(vector.config, vector.insns, image).run(image)
    assert vector.mismatched_bytes(image) == 0


def test_second_run_on_a_fresh_image_gives_the_same_bytes():
    vector = Vector.load(VECTORS[0])
    executable = Executable(vector.config, vector.insns, vector.image())
    first, second = vector.image(), vector.image()
    executable.run(first)
    executable.run(second)
    np.testing.assert_array_equal(first, second)


def test_all_shared_vectors_are_here():
    assert len(VECTORS) == 70
