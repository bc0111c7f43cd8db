from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DRAM_BYTES, OUT_BASE, SMALL, UOP_BASE, Case, base, fill, serial_programs, tiled_programs

from mpi_vta.errors import SimulationError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.isa.assembly import assemble
from mpi_vta.isa.codec import encode_uops
from mpi_vta.isa.table import AluOpcode, MemoryType, Opcode, Unit
from mpi_vta.simulator.checks import check_program
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.interpreter import Interpreter
from mpi_vta.simulator.sram import Sram
from mpi_vta.simulator.vectors import Vector

# those of `late` that only measure time leave no bytes
VECTORS = sorted(
    path
    for path in (Path(__file__).parent.parent / "data" / "vectors").rglob("*.npz")
    if path.stem.startswith(("fuzz_", "tiled_"))
)
DEFAULT = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))


def interpret(config, words, image):
    dram = bytearray(image.tobytes())
    Interpreter(config, dram).run([(int(low), int(high)) for low, high in words])
    return np.frombuffer(bytes(dram), dtype=np.uint8)


def assert_same_as_interpreter(case):
    image = case.image()
    expected = interpret(case.config, case.words(), image)
    Executable(case.config, case.words(), image).run(image)
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector_leaves_the_bytes_that_all_models_agreed_on(path):
    vector = Vector.load(path)
    image = vector.image()
    assert vector.mismatched_bytes(image) > 0, "the program must have something to do"
    Executable(vector.config, vector.insns, image).run(image)
    assert vector.mismatched_bytes(image) == 0


def test_all_shared_vectors_are_here():
    assert len(VECTORS) == 75


@settings(deadline=None, max_examples=150)
@given(serial_programs())
def test_any_gemm_and_alu_equals_the_interpreter(case):
    assert_same_as_interpreter(case)


@settings(deadline=None, max_examples=60)
@given(tiled_programs())
def test_overlapped_tiles_equal_the_interpreter(case):
    assert_same_as_interpreter(case)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_units_may_be_interleaved_in_any_way(data):
    case = data.draw(tiled_programs())
    expected = case.image()
    Executable(case.config, case.words(), expected).run(expected)
    *body, finish = case.instructions
    queues = [[ins for ins in body if ins.unit == unit] for unit in Unit]
    merged = []
    while any(queues):
        merged.append(data.draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    case.instructions = [*merged, finish]
    check_program(case.config, case.words(), case.image())
    assert_same_as_interpreter(case)
    image = case.image()
    Executable(case.config, case.words(), image).run(image)
    np.testing.assert_array_equal(image, expected)


def test_second_run_on_a_fresh_image_gives_the_same_bytes():
    vector = Vector.load(VECTORS[0])
    executable = Executable(vector.config, vector.insns, vector.image())
    first, second = vector.image(), vector.image()
    executable.run(first)
    executable.run(second)
    np.testing.assert_array_equal(first, second)


def reduction_case(config, taps, repeats):
    """`repeats` times: acc[0] += sum over `taps` of inp[t] . wgt[t]^T; then the four bytes of acc[0] one by one."""
    case = Case(config)
    case.uops = [(0, tap, tap) for tap in range(taps)] + [(0, 0, 0)]
    fill(case, MemoryType.UOP, UOP_BASE, taps + 1)
    fill(case, MemoryType.INP, 0x10_0000, taps)
    fill(case, MemoryType.WGT, 0x20_0000, taps, push_next=1)
    touch = {"uop_bgn": taps, "uop_end": taps + 1, "iter_out": 1, "iter_in": 1}
    case.add(Opcode.GEMM, **touch, reset=1, pop_prev=1)
    for _ in range(repeats):
        case.add(Opcode.GEMM, uop_bgn=0, uop_end=taps, iter_out=1, iter_in=1)
    for byte in range(4):
        shift = {"alu_opcode": AluOpcode.SHR, "use_imm": 1, "imm": 8 if byte else 0}
        case.add(Opcode.ALU, **touch, **shift, pop_next=int(byte > 0), push_next=1)
        out = base(config, MemoryType.OUT, 0x30_0000) + byte
        store = {"memory_type": MemoryType.OUT, "dram_base": out, "y_size": 1, "x_size": 1, "x_stride": 1}
        case.add(Opcode.STORE, **store, pop_prev=1, push_prev=1)
    case.add(Opcode.FINISH, pop_next=1)
    image = np.zeros(0x31_0000, dtype=np.uint8)
    image[0x10_0000 : 0x10_0000 + taps * config.inp_bytes] = 0x80
    image[0x20_0000 : 0x20_0000 + taps * config.wgt_bytes] = 0x80
    raw = encode_uops(*(np.array(column) for column in zip(*case.uops, strict=True)), config).view(np.uint8)
    image[UOP_BASE : UOP_BASE + raw.size] = raw
    return case, image


@pytest.mark.parametrize("taps", [1, 63, 64, 65, 512])
@pytest.mark.parametrize("repeats", [1, 17])
def test_longest_reductions_of_extreme_values_are_exact_and_wrap(taps, repeats):
    case, image = reduction_case(DEFAULT, taps, repeats)
    Executable(DEFAULT, case.words(), image).run(image)
    rows = image[0x30_0000 : 0x30_0000 + 4 * DEFAULT.out_bytes].reshape(4, -1)
    total = (repeats * taps * DEFAULT.block * 128 * 128 + (1 << 31)) % (1 << 32) - (1 << 31)
    expected = np.array([total >> 8 * byte & 0xFF for byte in range(4)], dtype=np.uint8)
    np.testing.assert_array_equal(rows, np.repeat(expected[:, None], DEFAULT.out_bytes, axis=1))


def test_extreme_sums_do_wrap_in_these_cases():
    assert 17 * 512 * DEFAULT.block * 128 * 128 > 1 << 31


@pytest.mark.parametrize("last_write", ["load", "reset"])
def test_store_after_a_load_or_reset_of_acc_gives_the_old_result(last_write):
    case = Case(SMALL)
    case.uops = [(i, i, i) for i in range(4)]
    body = {"uop_bgn": 0, "uop_end": 4, "iter_out": 1, "iter_in": 1}
    fill(case, MemoryType.UOP, UOP_BASE, 4)
    fill(case, MemoryType.ACC, 0x6000, 4)
    case.add(Opcode.ALU, **body, alu_opcode=AluOpcode.MIN, use_imm=1, imm=77)
    case.add(Opcode.ALU, **body, alu_opcode=AluOpcode.MAX, use_imm=1, imm=77)
    if last_write == "load":
        fill(case, MemoryType.ACC, 0x7000, 4, push_next=1)
    else:
        case.add(Opcode.GEMM, **body, reset=1, push_next=1)
    out = base(SMALL, MemoryType.OUT, OUT_BASE)
    store = {"memory_type": MemoryType.OUT, "dram_base": out, "y_size": 1, "x_size": 4, "x_stride": 4}
    case.add(Opcode.STORE, **store, pop_prev=1, push_prev=1)
    case.add(Opcode.FINISH, pop_next=1)
    assert_same_as_interpreter(case)
    image = case.image()
    Executable(SMALL, case.words(), image).run(image)
    assert (image[OUT_BASE : OUT_BASE + 4 * SMALL.out_bytes] == 77).all()


def test_buffers_can_be_shared_between_programs():
    filler, user = Case(SMALL), Case(SMALL)
    filler.uops = user.uops = [(i, i, 0) for i in range(3)]
    body = {"uop_bgn": 0, "uop_end": 3, "iter_out": 1, "iter_in": 1, "alu_opcode": AluOpcode.MIN, "use_imm": 1}
    fill(filler, MemoryType.UOP, UOP_BASE, 3)
    fill(filler, MemoryType.ACC, 0x6000, 3)
    filler.add(Opcode.ALU, **body, imm=-5)
    filler.add(Opcode.ALU, **(body | {"alu_opcode": AluOpcode.MAX}), imm=-5)
    filler.add(Opcode.FINISH)
    fill(user, MemoryType.UOP, UOP_BASE, 3)
    user.add(Opcode.ALU, **(body | {"alu_opcode": AluOpcode.ADD}), imm=2, push_next=1)
    out = base(SMALL, MemoryType.OUT, OUT_BASE)
    store = {"memory_type": MemoryType.OUT, "dram_base": out, "y_size": 1, "x_size": 3, "x_stride": 3}
    user.add(Opcode.STORE, **store, pop_prev=1, push_prev=1)
    user.add(Opcode.FINISH, pop_next=1)
    sram = Sram.zeros(SMALL)
    image = filler.image()
    Executable(SMALL, filler.words(), image, sram).run(image)
    Executable(SMALL, user.words(), image, sram).run(image)
    assert (image[OUT_BASE : OUT_BASE + 3 * SMALL.out_bytes].view(np.int8) == -3).all()


def test_micro_ops_are_counted():
    case, image = reduction_case(DEFAULT, 65, 3)
    executable = Executable(DEFAULT, case.words(), image)
    assert (executable.gemm_uops, executable.alu_uops) == (3 * 65 + 1, 4)


def test_image_smaller_than_the_program_reaches_is_refused():
    case, image = reduction_case(DEFAULT, 1, 1)
    executable = Executable(DEFAULT, case.words(), image)
    with pytest.raises(SimulationError, match=f"the DRAM image has 4096 bytes; allowed: at least {0x30_0000 + 4 * 16}"):
        executable.run(image[:4096])


@pytest.mark.parametrize("image", [np.zeros(64, dtype=np.int8), np.zeros((8, 8), dtype=np.uint8)])
def test_image_that_is_not_plain_bytes_is_refused(image):
    with pytest.raises(SimulationError, match="allowed: contiguous uint8, one dimension"):
        Executable(SMALL, assemble("FINISH", SMALL), image)


def test_register_shift_out_of_range_is_found_when_it_happens():
    case = Case(SMALL)
    case.uops = [(0, 1, 0)]
    fill(case, MemoryType.UOP, UOP_BASE, 1)
    fill(case, MemoryType.ACC, 0x6000, 2)
    case.add(Opcode.ALU, uop_end=1, iter_out=1, iter_in=1, alu_opcode=AluOpcode.SHR)
    case.add(Opcode.FINISH)
    image = np.zeros(DRAM_BYTES, dtype=np.uint8)
    image[UOP_BASE : UOP_BASE + 4] = case.image()[UOP_BASE : UOP_BASE + 4]
    executable = Executable(SMALL, case.words(), image)
    executable.run(image.copy())
    image[0x6000 + SMALL.acc_bytes] = 16
    with pytest.raises(
        SimulationError, match=r"instruction 2 \(ALU .*rule 1: SHR by a register that holds 0..16; allowed: 0..15"
    ):
        executable.run(image)
