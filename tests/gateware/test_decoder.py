"""The decoder in gates against `isa.codec`, `isa.table` and the rules of the simulator."""

import numpy as np
import pytest
from amaranth import Signal, signed
from gateware.simulation import run_comb

from mpi_vta.errors import SimulationError
from mpi_vta.gateware.decoder import Decoder, InstructionFault, instruction_layout, uop_layout
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.enumeration import config_of
from mpi_vta.hw.paths import find
from mpi_vta.isa.codec import Instruction, decode_columns, encode, layout
from mpi_vta.isa.codec import uop_layout as placed_uop
from mpi_vta.isa.table import FORMAT_OF, FORMATS, AluOpcode, MemoryType, Opcode
from mpi_vta.simulator.rules import check_instructions, is_nop

PYNQ = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))
SMALL = config_of("pynq", 2, 2, 10, 8, 7, 7)
FINISH = Instruction(Opcode.FINISH)


def value_of(words):
    return int(words[0]) | int(words[1]) << 64


def decoded(config, words):
    rows = run_comb(Decoder(config), [{"insn": value_of(row)} for row in words], ("unit", "nop", "error"))
    return np.array(rows)


def any_instructions(config, count, seed):
    """Instructions of every format; fields are often 0, 1 or the largest, so that rules are met and broken."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        form = FORMATS[random.integers(len(FORMATS))]
        opcode = form.opcodes[random.integers(len(form.opcodes))]
        fields = {}
        for bits in layout(form, config)[1:]:
            choice = random.integers(4)
            ends = (0, min(1, bits.high), int(random.integers(bits.low, bits.high + 1)), bits.high)
            fields[bits.name] = ends[choice] if bits.width > 4 or random.integers(6) == 0 else 0
        if "memory_type" in fields:
            fields["memory_type"] = int(random.integers(6))
        if "alu_opcode" in fields:
            fields |= {"alu_opcode": int(random.integers(5)), "use_imm": int(random.integers(2))}
            fields["imm"] = int(random.choice([-17, -16, -15, -1, 0, 15, 16, 17]))
        if "iter_in" in fields:
            fields["uop_end"] = fields["uop_bgn"] + int(random.integers(-1, 2)) & (1 << 8) - 1
        found.append(Instruction(opcode, fields))
    return found


def refused(config, instruction):
    program = [instruction] if instruction.opcode == Opcode.FINISH else [instruction, FINISH]
    try:
        check_instructions(decode_columns(encode(program, config), config))
    except SimulationError:
        return True
    return False


@pytest.mark.parametrize("config", [PYNQ, SMALL], ids=lambda config: config.name)
def test_units_nops_and_faults_are_those_of_the_simulator(config):
    instructions = any_instructions(config, 600, seed=3)
    words = encode(instructions, config)
    columns = decode_columns(words, config)
    found = decoded(config, words)
    assert found[:, 0].tolist() == columns["unit"].tolist()
    assert found[:, 1].astype(bool).tolist() == is_nop(columns).tolist()
    wanted = [refused(config, instruction) for instruction in instructions]
    assert (found[:, 2] != 0).tolist() == wanted
    assert 120 < sum(wanted) < 480


@pytest.mark.parametrize("config", [PYNQ, SMALL], ids=lambda config: config.name)
def test_every_field_stands_where_the_codec_puts_it(config):
    for form in FORMATS:
        view = instruction_layout(form, config)
        assert view.size == 128
        assert {name: (field.offset, field.width) for name, field in view} == {
            bits.name: (bits.lsb, bits.width) for bits in layout(form, config)
        }
    assert uop_layout(config).size == 32
    assert {name: (field.offset, field.width) for name, field in uop_layout(config)} == {
        bits.name: (bits.lsb, bits.width) for bits in placed_uop(config)
    }


def test_a_signed_field_keeps_its_sign():
    imm = instruction_layout(FORMAT_OF[Opcode.ALU], PYNQ)(Signal(128)).imm
    assert imm.shape() == signed(16)


MOVE = {"y_size": 1, "x_size": 2, "x_stride": 2}
LOOPS = {"uop_end": 1, "iter_out": 1, "iter_in": 1}
FAULTS = [
    (Opcode.ALU, LOOPS | {"alu_opcode": AluOpcode.SHR, "use_imm": 1, "imm": -16}, InstructionFault.SHIFT),
    (Opcode.LOAD, MOVE | {"memory_type": MemoryType.WGT, "x_pad_0": 1}, InstructionFault.WGT_PADS),
    (Opcode.STORE, MOVE | {"memory_type": MemoryType.OUT, "y_pad_1": 1}, InstructionFault.STORE_PADS),
    (Opcode.LOAD, MOVE | {"memory_type": MemoryType.UOP, "y_size": 2}, InstructionFault.UOP_ROWS),
    (Opcode.STORE, MOVE | {"memory_type": MemoryType.ACC}, InstructionFault.STORE_MEMORY),
    (Opcode.LOAD, MOVE | {"memory_type": 5}, InstructionFault.LOAD_MEMORY),
    (Opcode.ALU, LOOPS | {"alu_opcode": 4}, InstructionFault.ALU_OPCODE),
    (Opcode.LOAD, MOVE | {"memory_type": MemoryType.INP, "x_size": 0}, InstructionFault.EMPTY_MOVE),
    (Opcode.GEMM, LOOPS | {"iter_in": 0}, InstructionFault.EMPTY_LOOP),
    (Opcode.LOAD, MOVE | {"memory_type": MemoryType.INP, "push_prev": 1}, InstructionFault.TOKEN_FLAG),
    (Opcode.STORE, MOVE | {"memory_type": MemoryType.OUT, "pop_next": 1}, InstructionFault.TOKEN_FLAG),
    (Opcode.GEMM, LOOPS, InstructionFault.NONE),
    (Opcode.LOAD, {}, InstructionFault.NONE),
]


def test_each_fault_is_named():
    words = encode([Instruction(opcode, fields) for opcode, fields, _ in FAULTS], PYNQ)
    assert [InstructionFault(code) for code in decoded(PYNQ, words)[:, 2]] == [fault for *_, fault in FAULTS]


@pytest.mark.parametrize("opcode", [5, 6, 7])
def test_an_unknown_opcode_is_named(opcode):
    words = np.array([[opcode | 0xFFFF_FFFF_FFFF_FFF8, 0xFFFF_FFFF_FFFF_FFFF]], dtype=np.uint64)
    assert decoded(PYNQ, words)[0, 2] == InstructionFault.OPCODE
