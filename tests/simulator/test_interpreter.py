from pathlib import Path

import pytest

from mpi_vta.errors import SimulationError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.isa.assembly import assemble
from mpi_vta.simulator.interpreter import Interpreter
from mpi_vta.simulator.vectors import Vector

VECTORS = sorted((Path(__file__).parent.parent / "data" / "vectors").glob("*.npz"))
# one serial and one overlapped program of each build
SMALL = [path for path in VECTORS if path.stem.endswith(("1012", "2001", "3002", "4003", "5003", "6003"))]


def pairs(words):
    return [(int(low), int(high)) for low, high in words]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_vector_leaves_the_agreed_bytes(path):
    vector = Vector.load(path)
    dram = bytearray(vector.image().tobytes())
    Interpreter(vector.config, dram).run(pairs(vector.insns))
    for extent in vector.expected:
        assert dram[extent.address : extent.end] == extent.content.tobytes()


def test_missing_token_is_reported():
    config = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))
    with pytest.raises(SimulationError, match="no unit can go on"):
        Interpreter(config, bytearray(64)).run(pairs(assemble("FINISH pop_next", config)))
