"""The driver on the chip, without pynq: caches, registers, and the end of a launch."""

from pathlib import Path

import numpy as np
import pytest
from chip import ARM32, ARM64, START, UNITS, VITIS, VIVADO, VIVADO_OUT, Chip, ChipAccess, bit_file

from mpi_vta.codegen.program import Binding, Program, Segment
from mpi_vta.errors import DeviceError, InputError
from mpi_vta.hw.board import Board
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.isa.assembly import assemble
from mpi_vta.runtime.devices.bitstream import Design, Facts
from mpi_vta.runtime.devices.driver import VtaDriver, pads_accumulators
from mpi_vta.runtime.devices.register_map import published_map, stated_map

PYNQ = Board.load("pynq_z1")
OLD = VTAConfig.load(find("vta_configs", "pynq_1x16_v001", ".json"))
# 64 bytes of int32 accumulators become 16 bytes of results by one addition; the wait at the end makes fetch end early
ADD_ONE = """
LOAD memory_type=UOP dram_base=0 y_size=1 x_size=1
LOAD memory_type=ACC dram_base=0 y_size=1 x_size=40 x_stride=40
ALU push_next uop_end=1 iter_out=40 iter_in=1 dst_factor_out=1 src_factor_out=1 alu_opcode=ADD use_imm imm=1
STORE pop_prev push_prev memory_type=OUT dram_base=0 y_size=1 x_size=40 x_stride=40
FINISH pop_next
"""


def program(config=PYNQ.config, text=ADD_ONE):
    sizes = {"uops": 64, "acc": 40 * config.acc_bytes, "out": 40 * config.out_bytes}
    segments = tuple(Segment(name, "scratch", size) for name, size in sizes.items())
    insns = assemble(text, config)
    which = np.full(len(insns), -1, np.int16)
    which[:2], which[3] = (0, 1), 2
    bindings = [Binding(name, name, (1, 1, 1, 1), 0, sizes[name]) for name in ("acc", "out")]
    layer = np.full(len(insns), -1, np.int16)
    return Program("add", config, insns, which, layer, segments, (bindings[0],), (bindings[1],), (), {})


def design(arch=ARM32, config=PYNQ.config, registers=None, port=None, **facts):
    part = "XC7Z020" if arch == ARM32 else "ZU3EG"
    held = Facts(config, part, 100.0, 100.0, **facts)
    registers = registers or published_map(part)
    window = 1 << (30 if arch == ARM32 else 31)
    return Design(Path("x.bit"), "", held, registers, port or ("acp" if arch == ARM32 else "hpc"), window, None)


def chip_with(tmp_path, arch=ARM32, config=PYNQ.config, registers="VIVADO", port=None):
    chip = Chip(arch, port=port)
    chip.load(bit_file(tmp_path / "x.bit", config, "7z020", registers).read_bytes())
    return chip


def results(driver, launches=3):
    loaded = driver.load(program(driver.design.config))
    for number in range(launches):
        given = np.random.default_rng(number).integers(-100, 100, 40 * 16 * driver.design.config.batch, dtype=np.int32)
        (found,) = loaded.run({"acc": given.view(np.uint8)}).values()
        yield number, found.view(np.int8), (given + 1).astype(np.int8)


@pytest.mark.parametrize(("arch", "port"), [(ARM32, "acp"), (ARM32, "hp"), (ARM64, "hpc"), (ARM64, "hp")])
def test_every_port_gives_right_bits_on_every_launch(tmp_path, arch, port):
    driver = VtaDriver(ChipAccess(chip_with(tmp_path, arch, port=port)), design(arch, port=port), 0.2)
    for number, found, wanted in results(driver):
        assert np.array_equal(found, wanted), number


@pytest.mark.parametrize(("arch", "stated", "real"), [(ARM32, "acp", "hp"), (ARM64, "acp", "hpc")])
def test_wrong_port_shows_on_the_chip(tmp_path, arch, stated, real):
    """The chip is a real check: caches that are kept for another port give other bits, or instructions never arrive."""
    driver = VtaDriver(ChipAccess(chip_with(tmp_path, arch, port=real)), design(arch, port=stated), 0.05)
    with pytest.raises((DeviceError, AssertionError)):
        assert all(np.array_equal(found, wanted) for _, found, wanted in results(driver))


@pytest.mark.parametrize(("name", "offsets"), [("VIVADO", VIVADO), ("VIVADO_OUT", VIVADO_OUT), ("VITIS", VITIS)])
def test_each_generation_s_registers_are_used_as_stated(tmp_path, name, offsets):
    registers = stated_map(UNITS[ARM32], offsets, "XC7Z020", "x.hwh")
    driver = VtaDriver(ChipAccess(chip_with(tmp_path, registers=name)), design(registers=registers), 0.2)
    assert all(np.array_equal(found, wanted) for _, found, wanted in results(driver))


@pytest.mark.parametrize("name", ["VIVADO_OUT", "VITIS"])
def test_registers_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(DeviceError, match=r"not where the published map puts them \(.* keep nothing\); put the \.hwh"):
        VtaDriver(ChipAccess(chip_with(tmp_path, registers=name)), design(), 0.2)


def test_missing_register_in_the_description_is_named():
    offsets = VIVADO | {"load": {"CTRL": 0, "inputs_V": 0x10}}
    with pytest.raises(DeviceError, match=r"x.hwh: no register for weights of the unit load; allowed: CTRL, inputs_V"):
        stated_map(UNITS[ARM32], offsets, "XC7Z020", "x.hwh")


def test_description_without_registers_leaves_the_published_offsets():
    registers = stated_map({"fetch": 1, "load": 2, "compute": 3, "store": 4}, {u: {} for u in VIVADO}, "XC7Z020", "x")
    published = published_map("XC7Z020")
    assert (registers.insns, registers.bases, registers.done) == (published.insns, published.bases, published.done)
    assert registers.units["compute"] == 3


def test_published_addresses_depend_on_the_family():
    assert published_map("XC7Z020").units["compute"] == 0x43C02000
    assert published_map("ZU7EV").units["compute"] == 0xA0002000


def test_launch_takes_time_and_the_units_are_stopped(tmp_path):
    chip = chip_with(tmp_path)
    driver = VtaDriver(ChipAccess(chip), design(), 0.2)
    loaded = driver.load(program())
    assert loaded.launch_ns is None
    loaded.run({"acc": np.zeros(40 * 64, np.uint8)})
    assert loaded.launch_ns > 0
    assert [chip.registers[unit, "CTRL"] for unit in ("load", "compute", "store")] == [0, 0, 0]


def test_hang_names_board_stage_and_unit_and_stops_the_units(tmp_path):
    chip = chip_with(tmp_path)
    loaded = VtaDriver(ChipAccess(chip), design(), 0.01).load(program())
    chip.faults.never_done = True
    with pytest.raises(DeviceError, match=r"the chip: stage add: VTA's fetch unit did not finish within 0.01 s; start"):
        loaded.run({"acc": np.zeros(40 * 64, np.uint8)})
    assert [chip.registers[unit, "CTRL"] for unit in ("load", "compute", "store")] == [0, 0, 0]
    assert chip.registers["fetch", "CTRL"] != START


def test_program_for_another_build_or_instruction_set_touches_no_register(tmp_path):
    chip = chip_with(tmp_path)
    driver = VtaDriver(ChipAccess(chip), design(), 0.2)
    touched = chip.touched
    with pytest.raises(DeviceError, match=r"compiled for HW_VER 0\.0\.1, the board executes 0\.0\.2; choose a --con"):
        driver.load(program(OLD))
    other = VTAConfig.load(find("vta_configs", "pynq_4x8", ".json"))
    with pytest.raises(DeviceError, match=r"compiled for pynq_4x8.*, the board holds pynq_1x16"):
        driver.load(program(other))
    assert chip.touched == touched


def test_older_instructions_run_on_the_older_build_alone(tmp_path):
    driver = VtaDriver(ChipAccess(chip_with(tmp_path, config=OLD)), design(config=OLD), 0.2)
    assert all(np.array_equal(found, wanted) for _, found, wanted in results(driver))
    # the chip is a real check: it does not understand the other encoding
    chip = chip_with(tmp_path, config=OLD)
    mistaken = VtaDriver(ChipAccess(chip), design(), 0.02)
    with pytest.raises((DeviceError, AssertionError)):
        assert all(np.array_equal(found, wanted) for _, found, wanted in results(mistaken))


def test_padded_accumulators_are_refused_where_the_bitstream_ignores_them(tmp_path):
    padded = program(text=ADD_ONE.replace("x_size=40 x_stride=40\nALU", "x_size=39 x_stride=39 x_pad_1=1\nALU"))
    assert (pads_accumulators(padded), pads_accumulators(program())) == (True, False)
    driver = VtaDriver(ChipAccess(chip_with(tmp_path)), design(ignores_acc_pads=True), 0.2)
    with pytest.raises(DeviceError, match="pads accumulators while loading them, which this bitstream ignores; use a"):
        driver.load(padded)


@pytest.mark.parametrize(("arch", "limit"), [(ARM32, "40000000"), (ARM64, "80000000")])
def test_memory_outside_the_window_is_refused(tmp_path, arch, limit):
    chip = chip_with(tmp_path, arch)
    driver = VtaDriver(ChipAccess(chip), design(arch), 0.2)
    chip.faults.high_memory = True
    with pytest.raises(DeviceError, match=f"a buffer lies at 0x81.*multiples of 4096 below 0x{limit}, which the"):
        driver.load(program())


def test_program_takes_the_memory_that_plans_count(tmp_path):
    chip = chip_with(tmp_path)
    driver, before = VtaDriver(ChipAccess(chip), design(), 0.2), chip.next_address
    loaded = driver.load(program())
    assert chip.next_address - before == loaded.program.contiguous_bytes == 4 * 8192
    chip.next_address = chip.first + chip.cma_bytes - loaded.program.contiguous_bytes
    driver.load(program())
    with pytest.raises(RuntimeError, match="BO allocation failed"):
        driver.load(program())


def test_input_of_a_wrong_size_is_refused(tmp_path):
    loaded = VtaDriver(ChipAccess(chip_with(tmp_path)), design(), 0.2).load(program())
    with pytest.raises(InputError, match="add: 3 bytes for input acc; allowed: 2560 bytes"):
        loaded.run({"acc": np.zeros(3, np.uint8)})
