import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SMALL, tiled_programs

from mpi_vta.errors import SimulationError
from mpi_vta.isa.assembly import assemble
from mpi_vta.isa.codec import Instruction, encode
from mpi_vta.isa.table import Opcode
from mpi_vta.simulator.decoding import decode_program
from mpi_vta.simulator.races import check_races, order_clocks

IMAGE = np.zeros(1 << 16, dtype=np.uint8)
LOAD_INP = "LOAD memory_type=INP dram_base=1024 y_size=1 x_size=8"
LOAD_WGT = "LOAD memory_type=WGT dram_base=1024 y_size=1 x_size=1"
GEMM = "GEMM uop_end=1 iter_out=1 iter_in=4 dst_factor_in=1 src_factor_in=1"
ALU = "ALU uop_end=1 iter_out=1 iter_in=4 dst_factor_in=1 src_factor_in=1 alu_opcode=MAX use_imm"
STORE = "STORE memory_type=OUT dram_base=4096 y_size=1 x_size=4"


def decoded(*lines):
    return decode_program(SMALL, assemble("\n".join(lines), SMALL), IMAGE)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([LOAD_INP, GEMM, "FINISH"], r"instruction 1 \(GEMM .*: race: inp read here is written by instruction 0 "),
        ([LOAD_WGT, GEMM, "FINISH"], r"instruction 1 \(GEMM .*: race: wgt read here is written by instruction 0 "),
        ([GEMM, LOAD_INP, "FINISH"], r"instruction 1 \(LOAD .*: race: inp written here is read by instruction 0 "),
        ([ALU, STORE, "FINISH"], r"instruction 1 \(STORE .*: race: out read here is written by instruction 0 \(ALU"),
        ([STORE, ALU, "FINISH"], r"instruction 1 \(ALU .*: race: out written here is read by instruction 0 \(STORE"),
        (
            [STORE, LOAD_INP.replace("1024", "4099"), "FINISH"],
            r"instruction 1 \(LOAD .*: race: DRAM read here is written by instruction 0 \(STORE",
        ),
        (
            [LOAD_INP.replace("1024", "4099"), STORE, "FINISH"],
            r"instruction 1 \(STORE .*: race: DRAM written here is read by instruction 0 \(LOAD",
        ),
        (
            [STORE, "LOAD memory_type=ACC dram_base=1024 y_size=1 x_size=1", "FINISH"],
            r"instruction 1 \(LOAD memory_type=ACC .*: race: DRAM read here is written by instruction 0 \(STORE",
        ),
    ],
)  # fmt: skip
def test_unordered_accesses_are_found(lines, message):
    with pytest.raises(SimulationError, match=message):
        check_races(decoded(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        [LOAD_INP.replace("LOAD", "LOAD push_next"), GEMM.replace("GEMM", "GEMM pop_prev"), "FINISH"],
        [ALU.replace("ALU", "ALU push_next"), STORE.replace("STORE", "STORE pop_prev"), "FINISH"],
        # in order from store to load by way of the compute unit
        [
            STORE.replace("STORE", "STORE push_prev"),
            "LOAD pop_next push_prev",
            LOAD_INP.replace("LOAD", "LOAD pop_next").replace("1024", "4099"),
            "FINISH",
        ],
        # neighbours in DRAM, not the same bytes
        [STORE, LOAD_INP.replace("1024", "4100"), "FINISH"],
        [STORE, LOAD_INP.replace("1024", "4088"), "FINISH"],
        [
            STORE.replace("y_size=1 x_size=4", "y_size=2 x_size=1 x_stride=16"),
            LOAD_INP.replace("1024", "4097"),
            "FINISH",
        ],
        # other rows of the buffer
        [ALU, STORE.replace("STORE", "STORE sram_base=4"), "FINISH"],
        # an ACC load leaves out alone
        ["LOAD memory_type=ACC dram_base=768 y_size=1 x_size=4", STORE, "FINISH"],
        # a reset reads no inputs and leaves out alone
        [LOAD_INP, GEMM.replace("GEMM", "GEMM reset"), STORE, "FINISH"],
    ],
)
def test_ordered_or_separate_accesses_pass(lines):
    check_races(decoded(*lines))


def test_clocks_count_what_is_surely_over():
    program = decoded(
        "LOAD push_next memory_type=INP y_size=1 x_size=1",
        "LOAD memory_type=INP y_size=1 x_size=1",
        "LOAD pop_prev push_next",
        "STORE pop_prev push_prev",
        "FINISH pop_next",
    )
    assert order_clocks(program).tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]


# producer, its flag, consumer, its flag: the queues of the tiled programs
QUEUES = [
    (Opcode.LOAD, "push_next", Opcode.GEMM, "pop_prev"),
    (Opcode.GEMM, "push_prev", Opcode.LOAD, "pop_next"),
    (Opcode.ALU, "push_next", Opcode.STORE, "pop_prev"),
    (Opcode.STORE, "push_prev", Opcode.GEMM, "pop_next"),
]


def pushes_and_pops(program, queue):
    """Indices of the instructions that push to a queue, and of those that work and pop from it."""
    producer, push, consumer, pop = queue
    return (
        [i for i, ins in enumerate(program) if ins.opcode == producer and ins[push]],
        [i for i, ins in enumerate(program) if ins.opcode == consumer and ins[pop] and ins["x_size"] | ins["reset"]],
    )


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_program_without_one_of_its_token_pairs_races(data):
    case = data.draw(tiled_programs())
    program = case.instructions
    queue = data.draw(st.sampled_from([queue for queue in QUEUES if all(pushes_and_pops(program, queue))]))
    push, pop = pushes_and_pops(program, queue)
    # drop the last pop of the queue and the push that it takes
    edited = list(program)
    for index, flag in ((pop[-1], queue[3]), (push[len(pop) - 1], queue[1])):
        edited[index] = Instruction(edited[index].opcode, {**edited[index].fields, flag: 0})
    words = encode(edited, case.config)
    with pytest.raises(SimulationError, match="race: "):
        check_races(decode_program(case.config, words, case.image()))
