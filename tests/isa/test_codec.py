from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import configs, instructions

from mpi_vta.errors import IsaError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.isa.codec import (
    Instruction,
    decode,
    decode_columns,
    decode_uops,
    encode,
    encode_uops,
    layout,
    uop_layout,
    with_dram_base,
)
from mpi_vta.isa.table import FORMAT_OF, FORMATS, AluOpcode, MemoryType, Opcode, Unit

DEFAULT = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))
OLD = replace(DEFAULT, hw_ver="0.0.1")

# least significant bit and width as VTA.md states them for the usual build
COMMON = {"opcode": (0, 3), "pop_prev": (3, 1), "pop_next": (4, 1), "push_prev": (5, 1), "push_next": (6, 1)}
LOOPS = {"reset": (7, 1), "uop_bgn": (8, 13), "uop_end": (21, 14), "iter_out": (35, 14), "iter_in": (49, 14)}
DOCUMENTED = {
    "MEMORY": COMMON | {
        "memory_type": (7, 3), "sram_base": (10, 16), "dram_base": (26, 32), "y_size": (64, 16), "x_size": (80, 16),
        "x_stride": (96, 16), "y_pad_0": (112, 4), "y_pad_1": (116, 4), "x_pad_0": (120, 4), "x_pad_1": (124, 4),
    },
    "GEMM": COMMON | LOOPS | {
        "dst_factor_out": (64, 11), "dst_factor_in": (75, 11), "src_factor_out": (86, 11), "src_factor_in": (97, 11),
        "wgt_factor_out": (108, 10), "wgt_factor_in": (118, 10),
    },
    "ALU": COMMON | LOOPS | {
        "dst_factor_out": (64, 11), "dst_factor_in": (75, 11), "src_factor_out": (86, 11), "src_factor_in": (97, 11),
        "alu_opcode": (108, 3), "use_imm": (111, 1), "imm": (112, 16),
    },
    "FINISH": COMMON,
}  # fmt: skip


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_usual_build_has_the_documented_bit_positions(form):
    placed = {bits.name: (bits.lsb, bits.width) for bits in layout(form, DEFAULT)}
    assert placed == DOCUMENTED[form.name]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_older_version_has_every_field_above_the_narrow_one_a_bit_lower(form):
    placed = {bits.name: (bits.lsb, bits.width) for bits in layout(form, OLD)}
    wanted = dict(DOCUMENTED[form.name])
    if form.name == "MEMORY":
        wanted |= {"memory_type": (7, 2), "sram_base": (9, 16), "dram_base": (25, 32)}
    elif form.name == "ALU":
        wanted |= {"alu_opcode": (108, 2), "use_imm": (110, 1), "imm": (111, 16)}
    assert placed == wanted


def test_older_version_stores_out_as_the_two_bits_that_are_left_of_it():
    store = Instruction(Opcode.STORE, {"memory_type": MemoryType.OUT, "sram_base": 3, "dram_base": 5, "x_size": 7})
    (words,) = encode([store], OLD)
    assert int(words[0]) == 1 | 0 << 7 | 3 << 9 | 5 << 25
    assert decode_columns(words[None], OLD)["memory_type"].tolist() == [MemoryType.OUT]
    (words,) = encode([store], DEFAULT)
    assert int(words[0]) == 1 | 4 << 7 | 3 << 10 | 5 << 26


def test_dram_bases_change_alone():
    program = [
        Instruction(Opcode.LOAD, {"memory_type": MemoryType.ACC, "sram_base": 0xFFFF, "dram_base": 9, "y_size": 2}),
        Instruction(Opcode.FINISH, {"pop_next": 1}),
    ]
    for config in (DEFAULT, OLD):
        changed = with_dram_base(encode(program, config), np.array([0]), np.array([0xFFFF_FFFF]), config)
        moved = Instruction(Opcode.LOAD, {**program[0].fields, "dram_base": 0xFFFF_FFFF})
        assert np.array_equal(changed, encode([moved, program[1]], config))
        with pytest.raises(IsaError, match=r"a dram_base leaves its field; allowed: 0\.\.4294967295"):
            with_dram_base(changed, np.array([0]), np.array([1 << 32]), config)


def test_opcodes_and_names_have_the_documented_values():
    assert {op.name: op.value for op in Opcode} == {"LOAD": 0, "STORE": 1, "GEMM": 2, "FINISH": 3, "ALU": 4}
    assert {m.name: m.value for m in MemoryType} == {"UOP": 0, "WGT": 1, "INP": 2, "ACC": 3, "OUT": 4}
    assert {a.name: a.value for a in AluOpcode} == {"MIN": 0, "MAX": 1, "ADD": 2, "SHR": 3}


@settings(deadline=None, max_examples=100)
@given(configs())
def test_no_field_overlaps_another_or_crosses_a_word(config):
    for form in FORMATS:
        used = 0
        for bits in layout(form, config):
            assert bits.lsb // 64 == (bits.lsb + bits.width - 1) // 64, bits
            mask = ((1 << bits.width) - 1) << bits.lsb
            assert not used & mask, bits
            used |= mask
        assert used < 1 << 128
    assert sum(bits.width for bits in uop_layout(config)) <= 32


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_instructions_survive_encoding(data):
    config = data.draw(configs())
    program = data.draw(st.lists(instructions(config), max_size=6))
    words = encode(program, config)
    assert words.shape == (len(program), 2)
    assert decode(words, config) == program


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_bits_outside_the_fields_are_ignored(data):
    config = data.draw(configs())
    program = data.draw(st.lists(instructions(config), min_size=1, max_size=4))
    words = encode(program, config)
    for row, instruction in enumerate(program):
        used = sum(((1 << b.width) - 1) << b.lsb for b in layout(FORMAT_OF[instruction.opcode], config))
        noise = data.draw(st.integers(0, (1 << 128) - 1)) & ~used
        words[row] |= np.array([noise & (1 << 64) - 1, noise >> 64], dtype=np.uint64)
    assert decode(words, config) == program


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_micro_ops_survive_encoding(data):
    config = data.draw(configs())
    limits = [bits.high for bits in uop_layout(config)]
    rows = data.draw(st.lists(st.tuples(*(st.integers(0, high) for high in limits)), max_size=8))
    columns = [np.array([row[i] for row in rows], dtype=np.int64) for i in range(3)]
    for got, want in zip(decode_uops(encode_uops(*columns, config), config), columns, strict=True):
        np.testing.assert_array_equal(got, want)


def test_usual_micro_op_packs_dst_src_wgt_from_bit_0():
    uop = encode_uops(np.array([3]), np.array([5]), np.array([7]), DEFAULT)
    assert int(uop[0]) == 3 | 5 << 11 | 7 << 22


def test_columns_agree_with_decoded_instructions():
    program = [
        Instruction(Opcode.LOAD, {"memory_type": MemoryType.WGT, "x_size": 5}),
        Instruction(Opcode.ALU, {"imm": -7, "use_imm": 1}),
        Instruction(Opcode.FINISH, {"pop_next": 1}),
    ]
    columns = decode_columns(encode(program, DEFAULT), DEFAULT)
    assert columns["imm"].tolist() == [0, -7, 0]
    assert columns["x_size"].tolist() == [5, 0, 0]
    assert columns["unit"].tolist() == [Unit.LOAD, Unit.COMPUTE, Unit.COMPUTE]


@pytest.mark.parametrize(
    ("memory_type", "unit"),
    [("UOP", Unit.COMPUTE), ("WGT", Unit.LOAD), ("INP", Unit.LOAD), ("ACC", Unit.COMPUTE)],
)
def test_loads_run_in_the_unit_that_owns_the_buffer(memory_type, unit):
    assert Instruction(Opcode.LOAD, {"memory_type": MemoryType[memory_type]}).unit == unit


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (
            Instruction(Opcode.GEMM, {"iter_in": 1 << 14}),
            r"instruction 0 \(GEMM\): iter_in is 16384; allowed: 0..16383",
        ),
        (Instruction(Opcode.ALU, {"imm": -40000}), r"imm is -40000; allowed: -32768..32767"),
        (
            Instruction(Opcode.FINISH, {"x_size": 1}),
            r"instruction 0 \(FINISH\): unknown field x_size; allowed: pop_prev",
        ),
    ],
)
def test_value_that_does_not_fit_is_refused(instruction, message):
    with pytest.raises(IsaError, match=message):
        encode([instruction], DEFAULT)


def test_micro_op_that_does_not_fit_is_refused():
    with pytest.raises(IsaError, match=r"micro-op dst is 2048; allowed: 0..2047"):
        encode_uops(np.array([2048]), np.array([0]), np.array([0]), DEFAULT)


def test_unknown_opcode_is_refused():
    with pytest.raises(IsaError, match=r"instruction 1: opcode 6; allowed: LOAD 0"):
        decode(np.array([[3, 0], [6, 0]], dtype=np.uint64), DEFAULT)
