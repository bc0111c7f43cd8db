import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import configs, instructions

from mpi_vta.errors import IsaError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.isa.assembly import assemble, disassemble
from mpi_vta.isa.codec import encode

DEFAULT = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_assembly_of_the_disassembly_is_the_program(data):
    config = data.draw(configs())
    words = encode(data.draw(st.lists(instructions(config), max_size=6)), config)
    np.testing.assert_array_equal(assemble(disassemble(words, config), config), words)


def test_text_names_flags_symbols_and_non_zero_fields():
    text = "LOAD pop_next memory_type=INP dram_base=65536 y_size=1 x_size=300 x_stride=300\n"
    assert disassemble(assemble(text, DEFAULT), DEFAULT) == text


def test_symbol_with_value_0_is_written():
    assert disassemble(assemble("ALU iter_in=1\nLOAD x_size=2", DEFAULT), DEFAULT) == (
        "ALU iter_in=1 alu_opcode=MIN\nLOAD memory_type=UOP x_size=2\n"
    )


def test_numbers_may_be_hexadecimal_and_comments_and_blank_lines_are_skipped():
    text = "# header\n\n  LOAD memory_type=2 dram_base=0x10000  # inputs\n"
    np.testing.assert_array_equal(assemble(text, DEFAULT), assemble("LOAD memory_type=INP dram_base=65536", DEFAULT))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LOAD\nJUMP", r"line 2: unknown opcode 'JUMP'; allowed: LOAD, STORE, GEMM, FINISH, ALU"),
        ("FINISH x_size=1", r"line 1: FINISH has no field 'x_size'; allowed: pop_prev"),
        ("LOAD x_size=1 x_size=2", "line 1: x_size is given twice"),
        ("LOAD x_size", "line 1: x_size has no value; allowed: x_size=NUMBER"),
        ("LOAD x_size=many", "line 1: x_size is 'many'; allowed: a number"),
        ("LOAD memory_type=L2", "line 1: memory_type is 'L2'; allowed: a number or UOP, WGT, INP, ACC, OUT"),
        ("LOAD y_pad_0=16", r"instruction 0 \(LOAD\): y_pad_0 is 16; allowed: 0..15"),
    ],
)
def test_faulty_text_is_refused(text, message):
    with pytest.raises(IsaError, match=message):
        assemble(text, DEFAULT)
