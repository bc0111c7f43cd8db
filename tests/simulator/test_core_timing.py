"""Profile own by hand: what a few instructions take. That the core takes the same is shown by tests/gateware."""

from __future__ import annotations

from dataclasses import replace

import pytest
from strategies import SMALL

from mpi_vta.errors import SimulationError
from mpi_vta.gateware.compute import LAST_STAGE
from mpi_vta.gateware.core import QUEUE_DEPTH
from mpi_vta.gateware.fetch import BURST_INSTRUCTIONS
from mpi_vta.gateware.reader import READS_IN_FLIGHT
from mpi_vta.isa.codec import Instruction, encode
from mpi_vta.isa.table import AluOpcode, MemoryType, Opcode
from mpi_vta.simulator.core_memory import FETCH_BURST_INSTRUCTIONS
from mpi_vta.simulator.timing import OWN, simulate

FINISH = Instruction(Opcode.FINISH)
ROWS = {"uop_bgn": 0, "uop_end": 1, "iter_out": 1, "iter_in": 10, "dst_factor_in": 1, "src_factor_in": 1}


def timed(*instructions: Instruction):
    return simulate(SMALL, encode(instructions, SMALL), OWN)


def immediate(opcode: AluOpcode, **fields: int) -> Instruction:
    return Instruction(Opcode.ALU, ROWS | {"alu_opcode": opcode, "use_imm": 1, "imm": 3} | fields)


def test_its_constants_are_the_core_s():
    assert OWN.pipeline_cycles == LAST_STAGE
    assert OWN.queue_depth == QUEUE_DEPTH
    assert OWN.requests_in_flight == READS_IN_FLIGHT
    assert FETCH_BURST_INSTRUCTIONS == BURST_INSTRUCTIONS


def test_finish_alone_takes_fetch_queue_and_pipeline():
    # asked for 1, at the memory 2, two beats 18 and 19, put together 20, seen 22, handed out 23, at the unit 25
    timing = timed(FINISH)
    assert timing.start_cycle.tolist() == [25]
    assert timing.cycles == 25 + LAST_STAGE
    slower = simulate(SMALL, encode([FINISH], SMALL), replace(OWN, memory_latency_cycles=26, beat_cycles=2))
    assert slower.cycles == timing.cycles + 10 + 1


@pytest.mark.parametrize(
    ("instruction", "slots"),
    [
        (Instruction(Opcode.GEMM, ROWS), 10),
        (Instruction(Opcode.GEMM, ROWS | {"iter_out": 3, "uop_end": 2}), 60),
        (Instruction(Opcode.GEMM, ROWS | {"reset": 1}), 5),
        (Instruction(Opcode.GEMM, ROWS | {"reset": 1, "iter_in": 9}), 5),
        (Instruction(Opcode.GEMM, ROWS | {"reset": 1, "dst_factor_in": 2}), 10),
        (Instruction(Opcode.ALU, ROWS | {"alu_opcode": AluOpcode.ADD}), 20),
        (immediate(AluOpcode.ADD), 10),
    ],
)
def test_a_pass_takes_a_slot_a_cycle_and_the_next_one_follows(instruction, slots):
    timing = timed(instruction, FINISH)
    begin = int(timing.start_cycle[0])
    assert int(timing.start_cycle[1]) == begin + slots + 1


@pytest.mark.parametrize(
    ("chain", "passes"),
    [
        ((AluOpcode.SHR, AluOpcode.MAX, AluOpcode.MIN), 1),
        ((AluOpcode.ADD, AluOpcode.SHR, AluOpcode.MAX, AluOpcode.MIN), 2),
        ((AluOpcode.MIN, AluOpcode.MAX, AluOpcode.MIN, AluOpcode.MAX), 2),
        ((AluOpcode.MAX, AluOpcode.ADD), 2),
    ],
)
def test_clips_join_the_pass_before_them(chain, passes):
    timing = timed(*map(immediate, chain), FINISH)
    assert 10 * passes < int(timing.start_cycle[-1] - timing.start_cycle[0]) < 10 * passes + 8


@pytest.mark.parametrize("fields", [{"imm": 3, "iter_in": 9}, {"pop_prev": 1}, {"uop_bgn": 1, "uop_end": 2}])
def test_what_differs_or_waits_has_a_pass_of_its_own(fields):
    gives = [Instruction(Opcode.LOAD, {"memory_type": MemoryType.INP, "push_next": 1})] if "pop_prev" in fields else []
    timing = timed(*gives, immediate(AluOpcode.SHR), immediate(AluOpcode.MAX, **fields), FINISH)
    assert int(timing.start_cycle[-1] - timing.start_cycle[-3]) >= 20


def test_a_deadlock_names_what_each_unit_waits_for():
    with pytest.raises(
        SimulationError, match=r"compute waits at instruction 0 .*'load to compute' that is never pushed"
    ):
        timed(Instruction(Opcode.FINISH, {"pop_prev": 1}))
