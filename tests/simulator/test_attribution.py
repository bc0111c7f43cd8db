from pathlib import Path

import numpy as np
import pytest

from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.isa.assembly import assemble
from mpi_vta.simulator.attribution import CATEGORIES, attribute
from mpi_vta.simulator.timing import simulate
from mpi_vta.simulator.vectors import Vector

VECTORS = sorted((Path(__file__).parent.parent / "data" / "vectors").glob("*.npz"))
PYNQ = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))
PROGRAM = """\
LOAD memory_type=UOP y_size=1 x_size=2
LOAD memory_type=INP y_size=1 x_size=100
LOAD push_next memory_type=WGT y_size=1 x_size=10
LOAD memory_type=ACC y_size=1 x_size=4
GEMM pop_prev uop_end=2 iter_out=1 iter_in=50
ALU push_next uop_end=1 iter_out=1 iter_in=30 use_imm
STORE pop_prev push_prev memory_type=OUT y_size=1 x_size=10
FINISH pop_next
"""


@pytest.mark.parametrize("path", VECTORS[::5], ids=lambda path: path.stem)
def test_every_cycle_is_attributed_once(path):
    vector = Vector.load(path)
    timing = simulate(vector.config, vector.insns)
    table = attribute(vector.config, vector.insns, timing)
    assert table.layers == ("all",)
    assert (table.cycles >= 0).all()
    assert table.cycles.sum() == timing.cycles


def by_name(row):
    return dict(zip(CATEGORIES, row.tolist(), strict=True))


def test_work_and_waits_are_told_apart():
    words = assemble(PROGRAM, PYNQ)
    timing = simulate(PYNQ, words)
    row = by_name(attribute(PYNQ, words, timing).cycles[0])
    assert (row["gemm"], row["alu"]) == (2 * 50 + 6, 30 + 6)
    assert row["load_uop"] == timing.end_cycle[0] - timing.start_cycle[0]
    assert row["load_acc"] == timing.end_cycle[3] - timing.start_cycle[3]
    assert row["fetch"] == timing.start_cycle[0]
    assert row["wait_load"] == timing.start_cycle[4] - timing.end_cycle[3] - 1
    assert row["wait_store"] == timing.end_cycle[6] - timing.end_cycle[5]
    # four idle cycles between five compute instructions, and FINISH itself
    assert row["other"] == 4 + 1


def test_cycles_go_to_the_layers_of_the_instructions():
    words = assemble(PROGRAM, PYNQ)
    timing = simulate(PYNQ, words)
    layers = np.array([0, 0, 0, 0, 1, 1, 1, -1])
    table = attribute(PYNQ, words, timing, layers, ["first", "second"])
    first, second = (by_name(row) for row in table.cycles)
    assert (first["gemm"], second["gemm"]) == (0, 106)
    assert (first["load_acc"] > 0, second["load_acc"]) == (True, 0)
    assert first["fetch"] > 0
    assert second["wait_store"] > 0
    assert table.cycles.sum() == timing.cycles


def test_table_has_a_line_per_layer_and_a_total():
    words = assemble(PROGRAM, PYNQ)
    timing = simulate(PYNQ, words)
    lines = attribute(PYNQ, words, timing, np.zeros(8, dtype=int), ["conv"]).lines()
    assert [line.split()[0] for line in lines] == ["layer", "conv", "total"]
    assert lines[0].split()[2:] == list(CATEGORIES)
    assert lines[1].split()[1] == str(timing.cycles)
