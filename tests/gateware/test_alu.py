"""The tensor ALU in gates against the reference's arithmetic."""

from itertools import product

import numpy as np
import pytest
from gateware.simulation import run_comb

from mpi_vta.gateware.alu import OPERATIONS, Alu
from mpi_vta.hw.enumeration import config_of
from mpi_vta.isa.table import AluOpcode

CONFIG = config_of("pynq", 0, 2, 10, 8, 7, 7)
INT32 = np.iinfo(np.int32)


def expected(opcode, dst, operand):
    with np.errstate(over="ignore"):
        if opcode == AluOpcode.SHR:
            return np.where(operand < 0, dst << np.maximum(-operand, 0), dst >> np.maximum(operand, 0))
        return {AluOpcode.MIN: np.minimum, AluOpcode.MAX: np.maximum, AluOpcode.ADD: np.add}[opcode](dst, operand)


def test_every_operation_of_the_table_is_there():
    assert set(OPERATIONS) == set(AluOpcode)


@pytest.mark.parametrize("opcode", list(AluOpcode))
def test_results_wrap_and_keep_signs(opcode):
    random = np.random.default_rng(int(opcode))
    ends = np.array([INT32.min, INT32.min + 1, -1, 0, 1, INT32.max - 1, INT32.max])
    pairs = [*product(ends, ends), *random.integers(INT32.min, INT32.max, (250, 2), endpoint=True)]
    rows, wanted = [], []
    for use_imm in (0, 1):
        imms = [-15, -1, 0, 1, 15] if opcode == AluOpcode.SHR else [-32768, -1, 0, 5, 32767]
        for count, (dst, src) in enumerate(np.array(pairs, dtype=np.int64).astype(np.int32)):
            if opcode == AluOpcode.SHR:
                src &= 15
            imm = np.int32(imms[count % len(imms)])
            values = {name: int(value) for name, value in {"imm": imm, "dst": dst, "src": src}.items()}
            rows.append({"opcode": int(opcode), "use_imm": use_imm} | values)
            wanted.append(expected(opcode, dst, imm if use_imm else src))
    found = [result for (result,) in run_comb(Alu(CONFIG), rows, ("result",))]
    np.testing.assert_array_equal(np.array(found, dtype=np.uint32).view(np.int32), wanted)
