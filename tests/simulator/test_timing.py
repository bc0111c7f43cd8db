from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import SMALL, serial_programs, tiled_programs

from mpi_vta.errors import SimulationError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.isa.assembly import assemble
from mpi_vta.isa.table import Unit
from mpi_vta.simulator import timing as timing_module
from mpi_vta.simulator.channel import ReadChannel
from mpi_vta.simulator.timing import HLS, RTL, Cause, simulate
from mpi_vta.simulator.vectors import Vector

VECTORS = sorted((Path(__file__).parent.parent / "data" / "vectors").rglob("*.npz"))
TIMED = [path for path in VECTORS if Vector.load(path).rtl_cycles >= 0]
PYNQ = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))
ULTRA96 = VTAConfig.load(find("vta_configs", "ultra96_1x16", ".json"))


@pytest.mark.parametrize("path", TIMED, ids=lambda path: path.stem)
def test_cycles_equal_those_of_the_rtl(path):
    vector = Vector.load(path)
    assert simulate(vector.config, vector.insns).cycles == vector.rtl_cycles


def test_most_vectors_come_with_cycles():
    assert len(TIMED) == 61


def durations(config, *lines, profile=RTL):
    result = simulate(config, assemble("\n".join([*lines, "FINISH"]), config), profile)
    return (result.end_cycle - result.start_cycle).tolist()[: len(lines)]


LATENCY = 16
LOAD = "LOAD memory_type={} dram_base={} y_size={} x_size={} x_stride={}"


@pytest.mark.parametrize(
    ("line", "cycles"),
    [
        ("GEMM uop_end=5 iter_out=3 iter_in=7", 5 * 3 * 7 + 6),
        ("GEMM reset uop_end=5 iter_out=3 iter_in=7", 5 * 3 * 7 + 6),
        ("ALU uop_end=5 iter_out=3 iter_in=7 use_imm", 5 * 3 * 7 + 6),
        ("ALU uop_end=5 iter_out=3 iter_in=7", 2 * 5 * 3 * 7 + 6),
        ("LOAD memory_type=INP", 1),
        ("STORE", 1),
        (LOAD.format("INP", 0, 4, 3, 9), LATENCY + 6 + 4 * 3 * 2),
        (LOAD.format("WGT", 0, 4, 1, 9), LATENCY + 6 + 4 * 32),
        (LOAD.format("ACC", 0, 2, 3, 9), LATENCY + 6 + 2 * 3 * 8),
        (LOAD.format("ACC", 0, 2, 3, 9) + " y_pad_0=2", LATENCY + 6 + 2 + 2 * 3 * 8),
        (LOAD.format("INP", 0, 4, 5, 5) + " y_pad_0=2 y_pad_1=2 x_pad_1=2", 4 * 5 * 2 + (8 * 7 - 4 * 5) + 2),
        ("LOAD memory_type=UOP y_size=1 x_size=6", LATENCY + 5 + 3),
        ("LOAD memory_type=UOP dram_base=1 y_size=1 x_size=6", LATENCY + 5 + 4),
        ("STORE memory_type=OUT y_size=1 x_size=7", 14 + 7 + 3),
        ("STORE memory_type=OUT y_size=3 x_size=2 x_stride=5", 3 * (4 + 2 + 3)),
        # below alone: after one more walk over the data rows, in cycles without a write; 16 fit before the data
        (LOAD.format("ACC", 0, 5, 11, 11) + " y_pad_1=2", LATENCY + 4 + 5 * 11 * 8 + (22 - (LATENCY + 4 - 5)) + 2),
        # above and below: 12 cycles before the data, then the walk over four rows, then 12 more
        (LOAD.format("ACC", 0, 4, 6, 6) + " y_pad_0=2 y_pad_1=2", LATENCY + 6 + 4 * 6 * 8 + 8),
        # a row across a 2 KiB boundary is two bursts
        ("STORE memory_type=OUT dram_base=127 y_size=1 x_size=2", 2 * (2 + 1 + 3)),
    ],
)
def test_duration_on_a_64_bit_bus(line, cycles):
    assert durations(PYNQ, line) == [cycles]


@pytest.mark.parametrize(
    ("line", "cycles"),
    [
        (LOAD.format("INP", 0, 4, 3, 9), LATENCY + 5 + 4 * 3),
        (LOAD.format("ACC", 0, 2, 3, 9), LATENCY + 6 + 2 * 3 * 4),
        ("LOAD memory_type=UOP dram_base=3 y_size=1 x_size=6", LATENCY + 5 + 3),
        ("STORE memory_type=OUT y_size=3 x_size=2 x_stride=5", 3 * (2 + 4)),
        ("STORE memory_type=OUT dram_base=255 y_size=1 x_size=2", 2 * (1 + 4)),
    ],
)
def test_duration_on_a_128_bit_bus(line, cycles):
    assert durations(ULTRA96, line) == [cycles]


@pytest.mark.parametrize(("config", "first"), [(PYNQ, 22 + 2 * 3), (ULTRA96, 25 + 3)])
def test_first_instruction_starts_after_the_fetch(config, first):
    result = simulate(config, assemble("LOAD\nLOAD memory_type=INP\nFINISH", config))
    assert result.start_cycle.tolist() == [first, first + 1, first + 2]
    assert result.cycles == first + 3
    assert result.cause.tolist() == [Cause.FETCH, Cause.FETCH, Cause.UNIT]


def test_token_starts_its_taker_one_cycle_after_the_end_of_its_giver():
    load = LOAD.format("INP", 0, 1, 4, 4)
    result = simulate(PYNQ, assemble(f"{load} push_next\nLOAD pop_prev\nFINISH", PYNQ))
    assert result.start_cycle[1] == result.end_cycle[0] + 1
    assert result.cause[1] == Cause.LOAD_TOKEN


def test_token_that_comes_with_the_end_of_the_unit_s_own_work_is_not_the_cause():
    lines = ["GEMM uop_end=1 iter_out=1 iter_in=2", *["LOAD memory_type=INP"] * 3, "LOAD memory_type=INP push_next"]
    result = simulate(PYNQ, assemble("\n".join([*lines, "LOAD pop_prev", "FINISH"]), PYNQ))
    assert result.end_cycle[0] == result.end_cycle[4]
    assert result.start_cycle[5] == result.end_cycle[0] + 1
    assert result.cause[5] == Cause.UNIT


@pytest.mark.parametrize(("config", "size", "restart"), [(PYNQ, 128, 2), (ULTRA96, 256, 2)])
def test_every_fetch_after_the_first_restarts_alike(config, size, restart):
    starts = simulate(config, assemble("LOAD\nLOAD memory_type=INP\nSTORE\n" * size + "FINISH", config)).start_cycle
    beats = size * 128 // config.bus_bits
    tail = 4 if config is PYNQ else 7
    # last dispatch, restart, latency and one, the beats, tail: then the first of the next burst is handed out
    gap = restart + LATENCY + 1 + beats + tail - 1
    assert [int(starts[k * size] - starts[k * size - 1]) for k in (1, 2)] == [gap, gap]


def test_next_fetch_overlaps_execution():
    short, long = "LOAD\n" * 127, "GEMM uop_end=1 iter_out=100 iter_in=100\n"
    idle = simulate(PYNQ, assemble(short + "LOAD\n" + "LOAD\nFINISH", PYNQ))
    busy = simulate(PYNQ, assemble(short + long + "LOAD\nFINISH", PYNQ))
    # 128 instructions arrive after 22 + 256 cycles and leave one per cycle; two more take 22 + 2 * 2 to arrive
    assert idle.start_cycle[127] == 22 + 256 + 2 * 127
    assert idle.start_cycle[128] == idle.end_cycle[127] + 1
    assert busy.start_cycle[128] == busy.end_cycle[127] + 1
    waiting = simulate(PYNQ, assemble("LOAD memory_type=INP\nLOAD\nSTORE\n" * 43 + "FINISH", PYNQ))
    assert waiting.start_cycle[128] > waiting.start_cycle[127] + 20
    assert waiting.cause[128] == Cause.FETCH


# counts and cycles as the RTL took them
@pytest.mark.parametrize(("count", "cycles"), [(200, 624), (255, 789), (1000, 2328)])
def test_fetch_on_a_128_bit_bus_reads_256_instructions_at_a_time(count, cycles):
    assert simulate(ULTRA96, assemble("LOAD\n" * (count - 1) + "FINISH", ULTRA96)).cycles == cycles


def test_latency_and_bandwidth_are_parameters():
    line = LOAD.format("INP", 0, 4, 8, 9)
    assert durations(PYNQ, line, profile=replace(RTL, memory_latency_cycles=50)) == [50 + 6 + 64]
    assert durations(PYNQ, line, profile=replace(RTL, beat_cycles=2.0)) == [16 + 6 + 128]
    assert durations(PYNQ, line, profile=replace(RTL, bus_bits=128)) == [16 + 5 + 32]


def test_queue_that_is_full_holds_back_the_fetch():
    text = "GEMM uop_end=1 iter_out=10 iter_in=100\n" + "LOAD\n" * 5 + "STORE\nFINISH"
    assert simulate(PYNQ, assemble(text, PYNQ)).start_cycle[6] < 100
    held = simulate(PYNQ, assemble(text, PYNQ), replace(RTL, queue_depth=4))
    # the fourth behind the GEMM is handed out when the GEMM has ended, the fifth when the first has, the store after it
    assert held.start_cycle[6] == held.end_cycle[1] + 3 == held.end_cycle[0] + 5


def test_program_that_fills_a_queue_ahead_of_its_token_deadlocks():
    text = "LOAD pop_prev\n" + "LOAD\n" * 4 + LOAD.format("INP", 0, 1, 1, 1) + " push_next\nFINISH"
    simulate(PYNQ, assemble(text, PYNQ), replace(RTL, queue_depth=5))
    with pytest.raises(SimulationError, match=r"deadlocks: load waits at instruction 5 .* for its dispatch"):
        simulate(PYNQ, assemble(text, PYNQ), replace(RTL, queue_depth=4))


def test_missing_token_deadlocks():
    with pytest.raises(SimulationError, match=r"compute waits at instruction 0 .* 'store to compute' that is never"):
        simulate(PYNQ, assemble("FINISH pop_next", PYNQ))


def test_reads_share_one_channel_and_inputs_go_before_accumulators():
    acc, inp = LOAD.format("ACC", 0, 60, 4, 300), LOAD.format("INP", 0, 40, 8, 300)
    both = simulate(PYNQ, assemble(f"{acc}\n{inp}\nFINISH", PYNQ))
    alone_acc, alone_inp = durations(PYNQ, acc)[0], durations(PYNQ, inp)[0]
    took = both.end_cycle - both.start_cycle
    assert took[0] > alone_acc
    assert alone_inp < took[1] < took[0]
    assert abs(int(both.end_cycle.max() - both.start_cycle.min()) - (60 * 32 + 40 * 16)) < 50


@pytest.mark.parametrize("path", VECTORS[::7], ids=lambda path: path.stem)
def test_instructions_of_a_unit_follow_each_other_with_one_idle_cycle(path):
    vector = Vector.load(path)
    result = simulate(vector.config, vector.insns)
    for unit in Unit:
        rows = result.unit == unit
        starts, ends = result.start_cycle[rows], result.end_cycle[rows]
        assert (ends >= starts + 1).all()
        assert (starts[1:] >= ends[:-1] + 1).all()
        assert result.busy_cycles(unit) == (ends - starts).sum()
    taken = result.producer >= 0
    pushed = np.where(taken, result.end_cycle[result.producer], -1)
    assert (result.start_cycle[:, None] > pushed).all()


class OneAtATime(ReadChannel):
    """The channel with every request arbitrated by itself, as the definition has it."""

    def accept_run(self, wanted, beats, begin, end, horizon):
        return begin, wanted, -1


def assert_same_when_arbitrated_one_by_one(config, words):
    quick = simulate(config, words)
    original = timing_module.ReadChannel
    timing_module.ReadChannel = OneAtATime
    try:
        slow = simulate(config, words)
    finally:
        timing_module.ReadChannel = original
    np.testing.assert_array_equal(quick.start_cycle, slow.start_cycle)
    np.testing.assert_array_equal(quick.end_cycle, slow.end_cycle)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_runs_of_requests_equal_single_ones_on_vectors(path):
    vector = Vector.load(path)
    assert_same_when_arbitrated_one_by_one(vector.config, vector.insns)


@settings(deadline=None, max_examples=60)
@given(tiled_programs() | serial_programs())
def test_runs_of_requests_equal_single_ones(case):
    assert_same_when_arbitrated_one_by_one(case.config, case.words())


def test_hls_alu_takes_two_cycles_per_micro_op():
    assert durations(PYNQ, "ALU uop_end=5 iter_out=3 iter_in=7 use_imm", profile=HLS) == [2 * 105 + 6]
    assert durations(PYNQ, "ALU uop_end=5 iter_out=3 iter_in=7", profile=HLS) == [2 * 105 + 6]


def test_hls_moves_pay_for_every_row():
    apart, together = LOAD.format("INP", 0, 9, 4, 20), LOAD.format("INP", 0, 1, 36, 36)
    profile = replace(HLS, row_setup_cycles=25.0, port_bytes_per_cycle=8.0, move_setup_cycles=10)
    assert durations(PYNQ, together, profile=profile) == [10 + 25 + 36 * 16 // 8]
    assert durations(PYNQ, apart, profile=profile) == [10 + 9 * 25 + 36 * 16 // 8]


def test_small_build_runs_too():
    assert durations(SMALL, "LOAD memory_type=INP y_size=1 x_size=4") == [16 + 5 + 4]
