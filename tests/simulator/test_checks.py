from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DRAM_BYTES, SMALL, UOP_BASE, serial_programs, tiled_programs

from mpi_vta.errors import IsaError, SimulationError
from mpi_vta.isa.assembly import assemble, disassemble
from mpi_vta.isa.codec import Instruction, encode_uops
from mpi_vta.isa.table import MemoryType, Opcode
from mpi_vta.simulator.checks import check_program
from mpi_vta.simulator.vectors import Vector

VECTORS = sorted((Path(__file__).parent.parent / "data" / "vectors").rglob("*.npz"))

# two tiles' worth of a legal program; the faulty ones below are edits of it
UOPS = [(0, 0, 0), (4, 4, 1), (8, 8, 2), (0, 8, 0)]
LEGAL = """\
LOAD memory_type=UOP dram_base=1024 y_size=1 x_size=4
LOAD memory_type=INP dram_base=1024 y_size=1 x_size=20
LOAD push_next memory_type=WGT dram_base=1024 y_size=1 x_size=8
LOAD memory_type=ACC dram_base=768 y_size=1 x_size=16
GEMM pop_prev push_prev uop_end=3 iter_out=1 iter_in=4 dst_factor_in=1 src_factor_in=1
ALU push_next uop_end=3 iter_out=1 iter_in=4 dst_factor_in=1 src_factor_in=1 alu_opcode=SHR use_imm imm=3
STORE pop_prev push_prev memory_type=OUT dram_base=4096 y_size=1 x_size=12 x_stride=12
LOAD pop_next memory_type=INP sram_base=20 dram_base=1100 y_size=2 x_size=3 x_stride=5 x_pad_0=1
LOAD push_next memory_type=WGT sram_base=8 dram_base=1040 y_size=1 x_size=2 x_stride=2
GEMM pop_prev pop_next uop_end=3 iter_out=2 iter_in=2 dst_factor_out=2 dst_factor_in=1 src_factor_in=4 wgt_factor_out=3
ALU push_next uop_end=3 iter_out=1 iter_in=4 dst_factor_in=1 src_factor_in=1 alu_opcode=MIN use_imm imm=9
STORE pop_prev push_prev memory_type=OUT dram_base=4200 y_size=1 x_size=12 x_stride=12
FINISH pop_next
"""


def image_with(uops):
    image = np.random.default_rng(3).integers(0, 256, DRAM_BYTES, dtype=np.uint8)
    raw = encode_uops(*(np.array(column) for column in zip(*uops, strict=True)), SMALL).view(np.uint8)
    image[UOP_BASE : UOP_BASE + raw.size] = raw
    return image


def check(text, uops=UOPS):
    check_program(SMALL, assemble(text, SMALL), image_with(uops))


def edited(*edits):
    """Return LEGAL with the first occurrence of each text replaced."""
    text = LEGAL
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def test_unedited_program_is_legal():
    check(LEGAL)


GEMM_2 = (
    "GEMM pop_prev pop_next uop_end=3 iter_out=2 iter_in=2 "
    "dst_factor_out=2 dst_factor_in=1 src_factor_in=4 wgt_factor_out=3"
)
FAULTS = {
    "shift by 16": (
        [("imm=3", "imm=16")],
        r"instruction 5 \(ALU .*\): rule 1: SHR by an immediate beyond 15 bits; allowed: -15..15",
    ),
    "register shift by what the data says": (
        [("alu_opcode=SHR use_imm imm=3", "alu_opcode=SHR")],
        r"instruction 5 \(ALU .*\): rule 1: SHR by a register that holds .*; allowed: 0..15",
    ),
    "immediate with other src step": (
        [("dst_factor_in=1 src_factor_in=1 alu_opcode=SHR", "dst_factor_in=1 src_factor_in=2 alu_opcode=SHR")],
        r"instruction 5 \(ALU .*\): rule 2: .*src other than dst",
    ),
    "pad on WGT": (
        [("x_size=8", "x_size=8 x_pad_1=1")],
        r"instruction 2 \(LOAD .*\): rule 3: padding on a WGT load; allowed: no pads",
    ),
    "pad on STORE": (
        [("x_size=12 x_stride=12", "x_size=12 x_stride=12 y_pad_0=1")],
        r"instruction 6 \(STORE .*\): rule 3: padding on a STORE",
    ),
    "UOP in two rows": (
        [("y_size=1 x_size=4", "y_size=2 x_size=2")],
        r"instruction 0 \(LOAD .*\): rule 3: a UOP load of other than one plain row",
    ),
    "STORE of acc": (
        [("memory_type=OUT", "memory_type=ACC")],
        r"instruction 6 \(STORE .*\): rule 3: a STORE of another buffer than OUT",
    ),
    "LOAD of out": (
        [("memory_type=ACC", "memory_type=OUT")],
        r"instruction 3 \(LOAD memory_type=OUT .*\): rule 10: a LOAD into this buffer; allowed: UOP, WGT, INP, ACC",
    ),
    "LOAD of 8-bit acc": (
        [("memory_type=ACC", "memory_type=5")],
        r"instruction 3 \(LOAD memory_type=5 .*\): rule 10: a LOAD into this buffer",
    ),
    "multiplication": (
        [("alu_opcode=SHR", "alu_opcode=4")],
        r"instruction 5 \(ALU .*\): rule 10: an ALU operation that not all builds have; allowed: MIN, MAX, ADD, SHR",
    ),
    "no rows": (
        [("y_size=1 x_size=20", "y_size=0 x_size=20")],
        r"instruction 1 \(LOAD .*\): rule 4: an empty move",
    ),
    "pads alone": (
        [("y_size=1 x_size=20", "y_pad_0=1")],
        r"instruction 1 \(LOAD .*\): rule 4: an empty move",
    ),
    "no iterations": (
        [("uop_end=3 iter_out=1", "uop_end=3 iter_out=0")],
        r"instruction 4 \(GEMM .*\): rule 4: a loop without iterations",
    ),
    "no micro-ops": (
        [("uop_end=3", "uop_bgn=3 uop_end=3")],
        r"instruction 4 \(GEMM .*\): rule 4: a loop without iterations",
    ),
    "store of a loaded row": (
        [("y_size=1 x_size=12 x_stride=12", "y_size=1 x_size=13 x_stride=13")],
        r"instruction 6 \(STORE .*\): rule 5: it stores row 12, which was not last written by a GEMM or ALU",
    ),
    "store of a reset row": (
        [(GEMM_2, GEMM_2.replace("uop_end", "reset push_next uop_end")),
         ("ALU push_next uop_end=3 iter_out=1 iter_in=4 dst_factor_in=1 src_factor_in=1 alu_opcode=MIN", "#")],
        r"instruction 10 \(STORE .*\): rule 5: it stores row 0",
    ),
    "dst past acc": (
        [("dst_factor_in=1 src_factor_in=1", "dst_factor_in=20 src_factor_in=1")],
        r"instruction 4 \(GEMM .*\): rule 6: dst reaches 68; allowed: 0..63",
    ),
    "src past inp": (
        [("dst_factor_in=1 src_factor_in=1", "dst_factor_in=1 src_factor_in=30")],
        r"instruction 4 \(GEMM .*\): rule 6: src reaches 98; allowed: 0..63",
    ),
    "wgt past its buffer": (
        [("wgt_factor_out=3", "wgt_factor_out=31")],
        r"instruction 9 \(GEMM .*\): rule 6: wgt reaches 33; allowed: 0..31",
    ),
    "micro-ops past their buffer": (
        [("uop_end=3", "uop_end=129")],
        r"instruction 4 \(GEMM .*\): rule 6: it runs past the uop buffer; allowed: <= 128",
    ),
    "move past the buffer": (
        [("memory_type=INP sram_base=20", "memory_type=INP sram_base=60")],
        r"instruction 7 \(LOAD .*\): rule 6: it touches 8 elements past the end of the buffer; "
        r"allowed: sram_base \+ elements <= 64",
    ),
    "move past DRAM": (
        [("memory_type=INP dram_base=1024", "memory_type=INP dram_base=8190")],
        r"instruction 1 \(LOAD .*\): it reaches DRAM byte 65680; allowed: below 65536",
    ),
    "reduction innermost": (
        [("iter_in=4 dst_factor_in=1 src_factor_in=1", "iter_in=4 src_factor_in=1"), ("uop_end=3", "uop_end=1")],
        r"instruction 4 \(GEMM .*\): rule 7: an accumulator is used again after 1 micro-op; allowed: at least 3",
    ),
    "reduction every second": (
        [("iter_in=4 dst_factor_in=1 src_factor_in=1", "iter_in=4 src_factor_in=1"), ("uop_end=3", "uop_end=2")],
        r"instruction 4 \(GEMM .*\): rule 7: an accumulator is used again after 2 micro-ops",
    ),
    "src is a fresh dst": (
        [("ALU push_next uop_end=3 iter_out=1 iter_in=4 dst_factor_in=1 src_factor_in=1 alu_opcode=SHR use_imm imm=3",
          "ALU push_next uop_bgn=2 uop_end=4 iter_out=1 iter_in=1 alu_opcode=ADD")],
        r"instruction 5 \(ALU .*\): rule 7: an accumulator is used again after 1 micro-op;",
    ),
    "FINISH in the middle": (
        [("LOAD pop_next memory_type=INP", "FINISH\nLOAD pop_next memory_type=INP")],
        r"instruction 7 \(FINISH\): rule 8: FINISH is not the last instruction",
    ),
    "no FINISH": (
        [("FINISH pop_next\n", "")],
        r"instruction 11 \(STORE .*\): rule 8: the program ends without FINISH",
    ),
    "token left over": (
        [("GEMM pop_prev pop_next uop_end", "GEMM pop_prev pop_next push_prev uop_end")],
        r"instruction 9 \(GEMM .*\): rule 8: its token 'compute to load' is never taken",
    ),
    "FINISH before the last store": (
        [("GEMM pop_prev pop_next", "GEMM pop_prev")],
        r"instruction 11 \(STORE .*\): rule 8: its token 'store to compute' is never taken",
    ),
    "FINISH that does not wait for a load": (
        [("FINISH", "LOAD memory_type=INP sram_base=40 dram_base=1024 y_size=1 x_size=1\nFINISH")],
        r"instruction 13 \(FINISH pop_next\): rule 8: it does not wait for instruction 12 of the load unit",
    ),
    "queue that load does not have": (
        [("LOAD push_next memory_type=WGT", "LOAD push_prev memory_type=WGT")],
        r"instruction 2 \(LOAD .*\): a token flag for a queue that does not exist; "
        "allowed: pop_next and push_next on the load unit",
    ),
    "queue that store does not have": (
        [("STORE pop_prev push_prev", "STORE pop_prev push_prev push_next")],
        r"instruction 6 \(STORE .*\): a token flag for a queue that does not exist; "
        "allowed: pop_prev and push_prev on the store unit",
    ),
    "micro-ops never loaded": (
        [("y_size=1 x_size=4\n", "y_size=1 x_size=2\n")],
        r"instruction 4 \(GEMM .*\): it reads uop\[2\], which nothing in the program has written",
    ),
    "inputs never loaded": (
        [("y_size=1 x_size=20", "y_size=1 x_size=11")],
        r"instruction 4 \(GEMM .*\): it reads inp\[11\], which nothing",
    ),
    "weights never loaded": (
        [("y_size=1 x_size=8", "y_size=1 x_size=1")],
        r"instruction 4 \(GEMM .*\): it reads wgt\[1\], which nothing",
    ),
    "accumulators never set": (
        [("y_size=1 x_size=16", "y_size=1 x_size=5")],
        r"instruction 4 \(GEMM .*\): it reads acc\[5\], which nothing",
    ),
    "micro-ops overwritten": (
        [("memory_type=OUT dram_base=4096", "memory_type=OUT dram_base=512")],
        r"instruction 6 \(STORE .*\): it overwrites micro-ops in DRAM",
    ),
    "race on inputs": (
        [("GEMM pop_prev push_prev", "GEMM pop_prev"),
         ("LOAD pop_next memory_type=INP sram_base=20", "LOAD memory_type=INP sram_base=0")],
        r"instruction 7 \(LOAD .*\): race: inp written here is read by instruction 4 \(GEMM .*\), "
        "and no chain of tokens orders the two; make one wait",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_breach_is_named_with_instruction_rule_and_remedy(name):
    edits, message = FAULTS[name]
    with pytest.raises(SimulationError, match=message):
        check(edited(*edits))


def test_rules_1_to_8_and_10_have_a_case_each():
    text = " ".join(message for _, message in FAULTS.values())
    assert {rule for rule in range(1, 11) if f"rule {rule}:" in text} == {1, 2, 3, 4, 5, 6, 7, 8, 10}


def test_immediate_micro_op_with_other_src_breaks_rule_2():
    with pytest.raises(SimulationError, match=r"instruction 5 .*rule 2"):
        check(LEGAL, [(0, 0, 0), (4, 4, 1), (8, 9, 2), (0, 8, 0)])


def test_unknown_opcode_is_refused():
    words = assemble(LEGAL, SMALL)
    words[5, 0] |= np.uint64(7)
    with pytest.raises(IsaError, match="instruction 5: opcode 7"):
        check_program(SMALL, words, image_with(UOPS))


def test_empty_program_is_refused():
    with pytest.raises(SimulationError, match="the program is empty; allowed: at least a FINISH"):
        check_program(SMALL, np.zeros((0, 2), dtype=np.uint64), np.zeros(64, dtype=np.uint8))


def test_256_waiting_tokens_break_rule_9():
    def pushes(count):
        load = "LOAD push_next memory_type=INP dram_base=1024 y_size=1 x_size=1\n"
        return load * count + "LOAD pop_prev\n" * count + "FINISH\n"

    check(pushes(255))
    with pytest.raises(
        SimulationError,
        match=r"instruction 255 \(LOAD .*\): rule 9: 256 tokens can be waiting in 'load to compute'; allowed: 255",
    ):
        check(pushes(256))


def test_513_instructions_ahead_of_their_token_break_rule_9():
    def ahead(count):
        # the compute unit's first instruction waits for a load that comes after `count` of its instructions
        return (
            "LOAD pop_prev\n" + "LOAD\n" * (count - 1)
            + "LOAD push_next memory_type=INP dram_base=1024 y_size=1 x_size=1\nFINISH\n"
        )  # fmt: skip

    check(ahead(512))
    with pytest.raises(
        SimulationError,
        match=r"deadlocks: load waits at instruction 513 \(LOAD .*\) for its dispatch, .*queue of 512, "
        r"compute waits at instruction 0 \(LOAD pop_prev .*\) for the token 'load to compute' of instruction 513, "
        "store has finished",
    ):
        check(ahead(513))


@settings(deadline=None, max_examples=40)
@given(tiled_programs())
def test_tiles_made_to_be_legal_pass(case):
    check_program(case.config, case.words(), case.image())


@settings(deadline=None, max_examples=40)
@given(serial_programs())
def test_serial_programs_made_to_be_legal_pass_but_for_hazards(case):
    check_program(case.config, case.words(), case.image(), pipeline_hazards=False)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vectors_are_portable_but_for_pipeline_hazards(path):
    vector = Vector.load(path)
    check_program(vector.config, vector.insns, vector.image(), pipeline_hazards=False)


@pytest.mark.parametrize("path", [p for p in VECTORS if p.stem.startswith("tiled")], ids=lambda path: path.stem)
def test_overlapped_vectors_are_wholly_portable(path):
    vector = Vector.load(path)
    check_program(vector.config, vector.insns, vector.image())


def test_image_is_left_as_it_is():
    image = image_with(UOPS)
    before = image.copy()
    check_program(SMALL, assemble(LEGAL, SMALL), image)
    np.testing.assert_array_equal(image, before)


def test_legal_text_survives_the_round_trip():
    words = assemble(LEGAL, SMALL)
    np.testing.assert_array_equal(assemble(disassemble(words, SMALL), SMALL), words)


def is_reduction(instruction):
    return instruction.opcode == Opcode.GEMM and not instruction["reset"]


# rule -> which instructions of a tiled program can break it, and the fields that do
MUTATIONS = {
    1: (lambda ins: ins.opcode == Opcode.ALU, st.integers(16, 1000).map(lambda amount: {"imm": amount})),
    2: (lambda ins: ins.opcode == Opcode.ALU, st.integers(2, 5).map(lambda step: {"src_factor_out": step})),
    3: (
        lambda ins: ins["memory_type"] in (MemoryType.WGT, MemoryType.OUT),
        st.sampled_from([{"x_pad_0": 1}, {"x_pad_1": 3}, {"y_pad_0": 2}, {"y_pad_1": 1}]),
    ),
    4: (
        lambda ins: ins.opcode in (Opcode.GEMM, Opcode.ALU),
        st.sampled_from([{"iter_out": 0}, {"iter_in": 0}, {"uop_end": 0}]),
    ),
    5: (lambda ins: ins.opcode == Opcode.STORE, st.integers(5, 9).map(lambda rows: {"x_size": rows})),
    6: (is_reduction, st.sampled_from([{"dst_factor_out": 63}, {"src_factor_out": 63}, {"wgt_factor_out": 31}])),
    7: (is_reduction, st.just({"dst_factor_out": 0})),
    8: (lambda ins: ins.opcode == Opcode.FINISH, st.just({"pop_next": 0})),
    10: (lambda ins: ins.opcode == Opcode.ALU, st.integers(4, 7).map(lambda opcode: {"alu_opcode": opcode})),
}


@pytest.mark.parametrize("rule", MUTATIONS)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_any_legal_program_mutated_breaks_the_rule(rule, data):
    case = data.draw(tiled_programs())
    applies, change = MUTATIONS[rule]
    index = data.draw(st.sampled_from([i for i, ins in enumerate(case.instructions) if applies(ins)]))
    old = case.instructions[index]
    case.instructions[index] = Instruction(old.opcode, {**old.fields, **data.draw(change)})
    with pytest.raises(SimulationError, match=f"rule {rule}: "):
        check_program(case.config, case.words(), case.image())
