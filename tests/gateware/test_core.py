"""The whole core, Verilated: the simulator's bytes and profile own's cycles, every one of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from codegen.execution import config_named
from gateware.programs import RandomProgram

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.errors import ConfigError, InputError
from mpi_vta.gateware import registers
from mpi_vta.gateware.buffers import BURST_BEATS
from mpi_vta.gateware.core import AXI3_BURST_BEATS, check_core
from mpi_vta.gateware.decoder import InstructionFault
from mpi_vta.gateware.model import Memory, VerilatedCore
from mpi_vta.gateware.verilog import require_tools
from mpi_vta.hw.enumeration import config_of
from mpi_vta.hw.multipliers import multipliers_for
from mpi_vta.isa.codec import Instruction, encode
from mpi_vta.isa.table import Opcode
from mpi_vta.job.ready_model import ready_model
from mpi_vta.quantize.options import QuantizeOptions
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.timing import OWN, simulate
from mpi_vta.simulator.vectors import Vector

VECTORS = sorted((Path(__file__).parent.parent / "data" / "vectors").glob("*.npz"))
# a core takes most of a minute to compile, a large one more; the two of UltraScale+ are one core
SLOW_BUILDS = ("pynq_2x16", "pynq_4x8", "pynq_1x32")
BUILDS = (
    *("pynq_1x16", "ultra96_1x16", "zcu104_1x16"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_BUILDS),
)
# small ones: sizes as for `config_of`, bus, DSP slices, longest burst
SMALL = {
    "1x4": ((0, 2, 10, 8, 7, 8), 64, 220, BURST_BEATS),
    "1x4 on a wide bus": ((0, 2, 10, 8, 7, 8), 128, 220, BURST_BEATS),
    "2x4, most products in tables, AXI3": ((1, 2, 10, 8, 7, 8), 64, 5, AXI3_BURST_BEATS),
}
MEMORIES = (Memory(), Memory(3, 1, 5), Memory(40, 1, 30), Memory(16, 2, 16))
PROGRAMS_PER_BUILD = 12


@cache
def core_of(config):
    return VerilatedCore(config)


def assert_exact(config, insns, image, memory=None):
    """Run a program on core and simulator; every byte of memory and every cycle is the same. Return the cycles."""
    memory = memory or Memory()
    wanted = image.copy()
    Executable(config, insns, wanted).run(wanted)
    run = core_of(config).run(insns, image, memory)
    profile = replace(
        OWN,
        memory_latency_cycles=memory.latency_cycles,
        beat_cycles=memory.beat_cycles,
        write_latency_cycles=memory.write_latency_cycles,
    )
    assert run.fault == InstructionFault.NONE
    assert np.count_nonzero(image != wanted) == 0
    assert run.cycles == simulate(config, insns, profile).cycles
    return run.cycles


def assert_network_is_exact(model, build):
    config = config_named(build)
    options = QuantizeOptions(fast_slopes=True)  # of which docs/simulator.md states the cycles
    program = compile_graph(ready_model(model, seed=0, weights=None, options=options).graph, config)
    image, rng = program.dram_image(), np.random.default_rng(0)
    for binding in program.inputs:
        base = program.default_bases[binding.segment]
        image[base : base + binding.size_bytes] = rng.integers(0, 256, binding.size_bytes, dtype=np.uint8)
    return assert_exact(config, program.link(program.default_bases), image)


def marks_of(path):
    return pytest.mark.slow if any(name in path.stem for name in SLOW_BUILDS) else ()


@pytest.mark.rtl
@pytest.mark.parametrize("path", [pytest.param(path, marks=marks_of(path), id=path.stem) for path in VECTORS])
def test_every_recorded_vector_is_exact(path):
    vector = Vector.load(path)
    for memory in MEMORIES:
        image = vector.image()
        assert_exact(vector.config, vector.insns, image, memory)
        assert vector.mismatched_bytes(image) == 0


@pytest.mark.rtl
@pytest.mark.parametrize("build", BUILDS)
def test_random_programs_are_exact(build):
    config = config_named(build)
    for seed in range(PROGRAMS_PER_BUILD):
        program = RandomProgram(config, seed)
        assert_exact(config, program.insns, program.image, MEMORIES[seed % len(MEMORIES)])


# of 1x4 an element is narrower than the bus and takes a beat of its own
@pytest.mark.rtl
@pytest.mark.parametrize(("sizes", "bus_bits", "dsp", "burst_beats"), SMALL.values(), ids=SMALL)
def test_random_programs_are_exact_on_small_cores(sizes, bus_bits, dsp, burst_beats):
    config = config_of("pynq", *sizes)
    core = VerilatedCore(config, bus_bits, multipliers_for(config, dsp), burst_beats)
    profile = replace(OWN, bus_bits=bus_bits, burst_beats=burst_beats)
    for seed in range(PROGRAMS_PER_BUILD):
        program = RandomProgram(config, seed)
        wanted = program.image.copy()
        Executable(config, program.insns, wanted).run(wanted)
        run = core.run(program.insns, program.image)
        assert np.count_nonzero(program.image != wanted) == 0
        assert run.cycles == simulate(config, program.insns, profile).cycles


@pytest.mark.rtl
@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("model", ["digits", "depthwise", "shapes"])
def test_small_networks_are_exact(model, build):
    assert_network_is_exact(model, build)


# the cycles that the core was built for: of a launch, which is one image, or two on 2x16
@pytest.mark.rtl
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "build", "most_cycles"),
    [
        ("resnet18", "pynq_1x16", 8_100_000),
        ("resnet18", "pynq_2x16", 2 * 4_100_000),
        ("yolo", "pynq_1x16", 13_800_000),
        ("yolo", "pynq_2x16", 2 * 6_800_000),
    ],
)
def test_large_networks_are_exact_and_fast(model, build, most_cycles):
    assert assert_network_is_exact(model, build) < most_cycles


@pytest.mark.rtl
def test_buffers_keep_their_contents_and_counters_start_anew_from_launch_to_launch():
    config = config_named("pynq_1x16")
    insns = encode([Instruction(Opcode.FINISH)], config)
    memory = np.zeros(8192, np.uint8)
    memory[4096 : 4096 + insns.nbytes] = insns.view(np.uint8).reshape(-1)
    board = core_of(config).open(memory)
    assert board.read(registers.IDENTITY) == registers.MAGIC
    assert board.read(registers.CONFIGURATION) == registers.configuration_word(config)
    assert board.read(registers.BUS_BITS) == 64
    runs = [board.launch(4096, 1, 10_000) for _ in range(3)]
    assert len(set(runs)) == 1
    assert board.read(registers.COMPUTE_DONE) == 1
    board.write(registers.FETCH + registers.CONTROL, registers.START)
    assert board.read(registers.COMPUTE_DONE) == 0
    board.close()


@pytest.mark.rtl
def test_an_illegal_instruction_is_named_and_not_executed():
    config = config_named("pynq_1x16")
    insns = encode(
        [
            Instruction(Opcode.LOAD),
            Instruction(Opcode.STORE, {"memory_type": 4, "x_size": 1}),
            Instruction(Opcode.FINISH),
        ],
        config,
    )
    run = core_of(config).run(insns, np.zeros(4096, np.uint8))
    assert run.fault == InstructionFault.EMPTY_MOVE
    assert run.fault_index == 1


def test_a_bus_of_another_width_is_refused():
    with pytest.raises(ConfigError, match=r"a memory bus of 32 bits.*64 or 128"):
        VerilatedCore(config_named("pynq_1x16"), bus_bits=32)


@pytest.mark.parametrize(
    ("sizes", "bus_bits", "message"),
    [
        ((0, 1, 10, 8, 7, 7), 64, r"a GEMM core of block 2; allowed: 4 and up"),
        ((0, 7, 10, 8, 7, 7), 64, r"a wgt element of 2,048 bus words; allowed: up to 512"),
        ((0, 2, 1, 8, 7, 7), 128, r"a buffer of 2 micro-ops on a bus of 128 bits; allowed: 4 and up"),
    ],
)
def test_what_the_core_cannot_do_is_refused(sizes, bus_bits, message):
    config = config_of("pynq", *sizes)
    assert not config.legality_faults()
    with pytest.raises(ConfigError, match=message):
        check_core(config, bus_bits)


def test_missing_tools_are_named_with_their_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match=r"yosys, verilator is not installed.*apt-get install yosys verilator"):
        require_tools(["yosys", "verilator"], "the core")
