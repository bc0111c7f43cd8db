"""The driver and the real pynq package on a register-level VTA: right bits, and every fault a clear line."""

import numpy as np
import pytest
from board.conftest import manifest
from chip import ARM32, CLOCK_REGISTER

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
    assert fake.chip.launches == 3
    assert fake.chip.hung is None
    assert fake.parser_given is None


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
    fake.chip.faults.never_done = True
    with pytest.raises(
        DeviceError,
        match=r"board pynq_z1 on .*: stage digits.*: VTA's fetch unit did not finish within 0.2 s; start again",
    ):
        run(device, digits, images_of(digits, 1))
    assert [fake.chip.registers[unit, "CTRL"] for unit in ("load", "compute", "store")] == [0, 0, 0]


def test_bitstream_that_does_not_load_is_one_line(open_board, tmp_path):
    bad = manifest(tmp_path / "bad.bin", Board.load("pynq_z1").config)
    bad.write_bytes(b"nothing")
    with pytest.raises(DeviceError, match=r"cannot load the bitstream .*\(the fabric does not start\); run as root"):
        open_board(bitstream=bad)


def test_input_clock_that_cannot_be_made_is_refused(open_board, fake):
    fake.chip.ps[CLOCK_REGISTER[ARM32]] = 20 << 8 | 1 << 20
    fake.chip.faults.stuck_clock = True
    with pytest.raises(DeviceError, match="PS clock 0 can be set to 50 MHz, the design's PLL was made for 100; use a"):
        open_board()


def test_no_device_is_one_line(open_board, monkeypatch):
    import pynq

    monkeypatch.setattr(pynq.Device, "_devices", [])
    with pytest.raises(DeviceError, match="--device pynq: pynq finds no FPGA on this host; run this rank on a PYNQ"):
        open_board()


def test_memory_that_runs_out_is_one_line(open_board, fake, digits):
    device = open_board()
    fake.chip.faults.no_memory = True
    with pytest.raises(DeviceError, match=r"no contiguous memory for [0-9]+ bytes .*; restart the board, raise cma="):
        device.load(compile_graph(digits, device.board.config))


def test_input_of_a_wrong_size_is_refused(open_board, digits):
    device = open_board()
    loaded = device.load(compile_graph(digits, device.board.config))
    (binding,) = loaded.program.inputs
    with pytest.raises(InputError, match=f"3 bytes for input {binding.value}; allowed: {binding.size_bytes} bytes"):
        loaded.run({binding.value: np.zeros(3, np.uint8)})


def test_batches_are_packed_as_on_every_device(open_board, digits, images_of):
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
    assert fake.chip.launches == 1
