"""The driver and the real pynq package on a register-level VTA: right bits, and every fault a clear line."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.errors import DeviceError, InputError
from mpi_vta.graph.layout import pack_activation, unpack_activation
from mpi_vta.graph.reference import execute
from mpi_vta.hw.board import Board
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.job.ready_model import ready_model
from mpi_vta.runtime.stage import BoardStage

pytestmark = pytest.mark.board


@pytest.fixture(scope="module")
def digits():
    return ready_model("digits", seed=0, weights=None).graph


def run(device, graph, images):
    """Return what a board gives for images, by graph output."""
    config = Board.load("pynq_z1").config if device is None else device.board.config
    stage = BoardStage(compile_graph(graph, config), device)
    (name,) = graph.inputs
    found = []
    for first in range(0, len(images), config.batch):
        group = images[first : first + config.batch].reshape(-1).view(np.uint8)
        values = stage.run({name: group}, frozenset({name}))
        found.append({key: unpack_activation(data, graph.values[key].shape, config) for key, data in values.items()})
    return {key: np.concatenate([part[key] for part in found]) for key in graph.outputs}


def assert_reference(found, graph, images):
    wanted = execute(graph, {graph.inputs[0]: images})
    for name in graph.outputs:
        assert np.array_equal(found[name], wanted[name])


@pytest.mark.parametrize("arch", ["armv7l", "aarch64"])
def test_digits_on_the_board_equals_the_reference(open_board, fake, digits, images_of, arch):
    images = images_of(digits, 3)
    device = open_board(arch)
    assert_reference(run(device, digits, images), digits, images)
    assert fake.launches == 3
    assert fake.hung is None
    assert fake.parser_given is None


def test_clock_is_set_from_the_board_file(open_board, fake):
    device = open_board(board=replace(Board.load("pynq_z1"), clock_mhz=125.0))
    assert device.clock_mhz == 125.0
    assert (fake.registers[0xF8000170] >> 8 & 63) * (fake.registers[0xF8000170] >> 20 & 63) == 8


def test_addresses_come_from_the_hwh(open_board, fakes, fake, digits, images_of, tmp_path):
    config = Board.load("pynq_z1").config
    moved = {"fetch": 0x4000_0000, "load": 0x4001_0000, "compute": 0x4002_0000, "store": 0x4003_0000}
    fake.units = moved
    bit = fakes.bit_file(tmp_path / "1x16_i8w8a32_15_15_18_17.bit", config, "7z020clg400")
    ranges = "".join(
        f'<MEMRANGE INSTANCE="{unit}_0" MEMTYPE="REGISTER" BASEVALUE="{base:#x}"/>' for unit, base in moved.items()
    )
    bit.with_suffix(".hwh").write_text(f"<EDKSYSTEM>{ranges}</EDKSYSTEM>")
    images = images_of(digits, 1)
    assert_reference(run(open_board(bitstream=bit), digits, images), digits, images)
    assert fake.parser_given == {"metadata of": str(bit)}


def test_two_programs_share_the_board(open_board, digits, images_of):
    images = images_of(digits, 2)
    device = open_board()
    program = compile_graph(digits, device.board.config)
    (name,) = digits.inputs
    stages = [BoardStage(program, device) for _ in range(2)]
    for image in images:
        for stage in stages:
            (output,) = stage.run({name: image.reshape(-1).view(np.uint8)}, frozenset({name})).values()
            shape = digits.values[digits.outputs[0]].shape
            assert_reference(
                {digits.outputs[0]: unpack_activation(output, shape, device.board.config)}, digits, image[None]
            )


def test_launch_that_never_ends_names_board_and_stage(open_board, fake, digits, images_of):
    device = open_board()
    fake.faults.never_done = True
    with pytest.raises(
        DeviceError,
        match=r"board pynq_z1 on .*: stage digits.*: VTA's fetch unit did not finish within 0.2 s; start again",
    ):
        run(device, digits, images_of(digits, 1))
    assert [fake.registers[fake.units[unit]] for unit in ("load", "compute", "store")] == [0, 0, 0]


def test_writes_without_flush_do_not_reach_the_hardware(open_board, fake, digits, images_of):
    """The double is a real check of flush: without it the stream in memory is garbage and VTA hangs."""
    fake.faults.no_flush = True
    with pytest.raises(DeviceError, match="did not finish"):
        run(open_board(), digits, images_of(digits, 1))
    assert fake.hung is not None


def test_reads_without_invalidate_are_stale(open_board, fake, digits, images_of):
    """The double is a real check of invalidate: without it the processor sees its own old bytes."""
    device = open_board()
    fake.faults.no_invalidate = True
    images = images_of(digits, 1)
    found = run(device, digits, images)
    assert not np.array_equal(found[digits.outputs[0]], execute(digits, {digits.inputs[0]: images})[digits.outputs[0]])


def test_bitstream_of_another_build_is_refused_by_name(open_board, fakes, tmp_path):
    other = VTAConfig.load(find("vta_configs", "pynq_4x8", ".json"))
    bit = fakes.bit_file(tmp_path / f"{other.name.partition('_')[2]}.bit", other, "7z020clg400")
    with pytest.raises(DeviceError, match="does not say that it holds pynq_1x16_i8w8a32_15_15_18_17; allowed: 1x16"):
        open_board(bitstream=bit)


def test_bitstream_of_another_build_is_refused_by_manifest(open_board, fakes, tmp_path):
    other = VTAConfig.load(find("vta_configs", "pynq_4x8", ".json"))
    bit = fakes.bit_file(tmp_path / "ours.bit", other, "7z020clg400")
    bit.with_suffix(".json").write_text(json.dumps({"config": other.to_dict()}))
    with pytest.raises(DeviceError, match=r"the bitstream holds pynq_4x8.*, the job is for pynq_1x16"):
        open_board(bitstream=bit)


def test_bitstream_that_does_not_load_is_one_line(open_board, tmp_path):
    bad = tmp_path / "1x16_i8w8a32_15_15_18_17.bin"
    bad.write_bytes(b"nothing")
    with pytest.raises(DeviceError, match=r"cannot load the bitstream .*\(the fabric does not start\); run as root"):
        open_board(bitstream=bad)


def test_no_device_is_one_line(open_board, monkeypatch):
    import pynq

    monkeypatch.setattr(pynq.Device, "_devices", [])
    with pytest.raises(DeviceError, match="--device pynq: pynq finds no FPGA on this host; run this rank on a PYNQ"):
        open_board()


def test_clock_that_cannot_be_made_is_refused(open_board, fake):
    fake.faults.stuck_clock = True
    board = replace(Board.load("pynq_z1"), clock_mhz=142.0)
    with pytest.raises(DeviceError, match="the clock can be set to 100 MHz, not to 142; write clock_mhz = 100 into"):
        open_board(board=board)


def test_memory_that_runs_out_is_one_line(open_board, fake, digits):
    device = open_board()
    fake.faults.no_memory = True
    with pytest.raises(DeviceError, match=r"no contiguous memory for [0-9]+ bytes .*; restart the board, raise cma="):
        device.load(compile_graph(digits, device.board.config))


def test_memory_that_vta_cannot_address_is_refused(open_board, fake, digits):
    device = open_board()
    fake.faults.high_memory = True
    with pytest.raises(DeviceError, match=r"a buffer lies at 0x10.*below 4 GiB"):
        device.load(compile_graph(digits, device.board.config))


def test_input_of_a_wrong_size_is_refused(open_board, digits):
    device = open_board()
    loaded = device.load(compile_graph(digits, device.board.config))
    (binding,) = loaded.program.inputs
    with pytest.raises(InputError, match=f"3 bytes for input {binding.value}; allowed: {binding.size_bytes} bytes"):
        loaded.run({binding.value: np.zeros(3, np.uint8)})


def test_batches_are_packed_as_on_every_device(open_board, fakes, digits, images_of, tmp_path):
    config = VTAConfig.load(find("vta_configs", "pynq_2x16", ".json"))
    board = Board.load("pynq_z1").with_config(config)
    images = images_of(digits, 4)
    assert_reference(run(open_board(board=board), digits, images), digits, images)
    assert pack_activation(images[:2, :, :4, :4], config).size == config.inp_bytes * 16


@pytest.mark.slow
def test_whole_resnet18_equals_the_reference(open_board, fake, images_of):
    graph = ready_model("resnet18", seed=0, weights=None).graph
    images = images_of(graph, 1)
    assert_reference(run(open_board(), graph, images), graph, images)
    assert fake.launches == 1
