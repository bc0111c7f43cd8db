"""What a Zynq does to a driver, through the real pynq package: every test here is a fault that a board would show."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from chip import ARM32, ARM64, CLOCK_REGISTER, VITIS, VIVADO, VIVADO_OUT

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.errors import DeviceError
from mpi_vta.graph.layout import unpack_activation
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


def assert_runs(device, graph, images):
    config = device.board.config
    stage = BoardStage(compile_graph(graph, config), device)
    (name,) = graph.inputs
    wanted = execute(graph, {name: images})
    for number in range(0, len(images), config.batch):
        group = images[number : number + config.batch].reshape(-1).view(np.uint8)
        values = stage.run({name: group}, frozenset({name}))
        for key in graph.outputs:
            got = unpack_activation(values[key], graph.values[key].shape, config)
            assert np.array_equal(got, wanted[key][number : number + config.batch]), f"launch {number}"


def test_coherency_port_gives_right_bits_on_every_launch(open_board, digits, images_of):
    """VTA's results are dirty lines in L2: write-combined buffers miss them, and invalidating throws them away."""
    assert_runs(open_board(), digits, images_of(digits, 4))


@pytest.mark.parametrize(("arch", "port"), [(ARM32, "hp"), (ARM64, "hpc"), (ARM64, "hp")])
def test_ports_that_nobody_snoops_give_right_bits_on_every_launch(open_board, fake, digits, images_of, arch, port):
    fake.power_up(arch, port=port)
    board = replace(Board.load("pynq_z1" if arch == ARM32 else "ultra96"), port=port)
    assert_runs(open_board(arch, board=board), digits, images_of(digits, 4))


@pytest.mark.parametrize("arch", [ARM32, ARM64])
def test_clock_of_the_processing_system_is_left_alone(open_board, fake, arch):
    """It is the input of VTA's PLL, so writing VTA's clock there, or writing at all, costs the lock."""
    open_board(arch)
    assert fake.chip.clock_writes == 0
    assert fake.chip.design.locked


def test_input_clock_that_differs_is_set_before_the_download(open_board, fake):
    fake.chip.ps[CLOCK_REGISTER[ARM32]] = 20 << 8 | 1 << 20
    device = open_board()
    assert (fake.chip.clock_writes > 0, fake.chip.input_mhz, fake.chip.design.locked) == (True, 100.0, True)
    assert device.input_clock_mhz == 100.0


def test_launch_waits_for_its_own_end(open_board, fake, digits, images_of):
    """Done stays set from the launch before until the first GEMM or ALU, which fetch may not wait for."""
    assert_runs(open_board(), digits, images_of(digits, 2))
    assert fake.chip.launches == 2


@pytest.mark.parametrize("registers", ["VIVADO", "VIVADO_OUT", "VITIS"])
def test_registers_are_found_where_the_hwh_states_them(open_board, fake, make_bitstream, digits, images_of, registers):
    config = Board.load("pynq_z1").config
    offsets = {"VIVADO": VIVADO, "VIVADO_OUT": VIVADO_OUT, "VITIS": VITIS}[registers]
    bit = make_bitstream(config, registers=registers, hwh={"registers": offsets})
    assert_runs(open_board(bitstream=bit), digits, images_of(digits, 2))


@pytest.mark.parametrize("registers", ["VIVADO_OUT", "VITIS"])
def test_registers_elsewhere_than_assumed_are_refused_before_a_launch(open_board, fake, make_bitstream, registers):
    bit = make_bitstream(Board.load("pynq_z1").config, registers=registers)
    with pytest.raises(DeviceError, match=r"the registers are not where .* puts them .*put the \.hwh of this design"):
        open_board(bitstream=bit)
    assert fake.chip.launches == 0


def test_port_is_read_from_the_hwh(open_board, fake, make_bitstream, digits, images_of):
    fake.power_up(ARM32, port="hp")
    bit = make_bitstream(Board.load("pynq_z1").config, hwh={"registers": VIVADO, "port": "S_AXI_HP0"})
    device = open_board(board=replace(Board.load("pynq_z1"), port=""), bitstream=bit)
    assert_runs(device, digits, images_of(digits, 3))


def test_port_in_the_hwh_beats_the_board_file_in_one_line(open_board, make_bitstream):
    bit = make_bitstream(Board.load("pynq_z1").config, hwh={"registers": VIVADO, "port": "S_AXI_HP0"})
    with pytest.raises(DeviceError, match=r"the design uses the port hp, the board file says acp; write port = \"hp\""):
        open_board(bitstream=bit)


def test_port_that_nobody_states_is_one_line(open_board):
    with pytest.raises(DeviceError, match=r"the port to memory is not known; .*\.hwh .* or write port = "):
        open_board(board=replace(Board.load("pynq_z1"), port=""))


@pytest.mark.parametrize("arch", [ARM32, ARM64])
def test_memory_beyond_the_design_s_window_is_refused(open_board, fake, digits, arch):
    """1 GiB on Zynq, 2 GiB on UltraScale+: addresses above are below 4 GiB, and nobody answers there."""
    device = open_board(arch)
    fake.chip.faults.high_memory = True
    with pytest.raises(DeviceError, match=r"a buffer lies at 0x8.*multiples of 4096 below 0x[48]0000000"):
        device.load(compile_graph(digits, device.board.config))


def test_environment_of_xrt_is_set_where_a_login_shell_would(open_board, fake, monkeypatch, tmp_path):
    """Under ssh, Hydra, sudo and Open MPI's daemons no profile script has run."""
    import pynq

    monkeypatch.delenv("XILINX_XRT")
    monkeypatch.delattr(pynq.Device, "_devices")
    monkeypatch.delattr(pynq.Device, "_active_device", raising=False)
    monkeypatch.setattr("mpi_vta.runtime.devices.pynq.FPGA_MANAGER", tmp_path, raising=False)
    open_board()
    assert os.environ["XILINX_XRT"] == "/usr"


def test_pynq_offers_fpgas_under_a_bare_environment(tmp_path):
    """The same in a process of its own, as pynq looks when it is imported."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom mpi_vta.runtime.devices import pynq\n"
        f"pynq.FPGA_MANAGER = Path({str(tmp_path)!r})\npynq._import_pynq()\n"
        "assert 'pynq.pl_server.embedded_device' in sys.modules\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "XILINX_XRT"}
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", program], env=environ, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_nothing_is_left_in_the_current_folder(open_board, tmp_path):
    open_board()
    assert not (tmp_path / "loaded.xclbin").exists()


def test_older_instructions_run_on_the_older_build(open_board, make_bitstream, digits, images_of):
    config = VTAConfig.load(find("vta_configs", "pynq_4x8_v001", ".json"))
    device = open_board(board=Board.load("pynq_z1").with_config(config), bitstream=make_bitstream(config))
    assert_runs(device, digits, images_of(digits, 4))


def test_bitstream_of_another_instruction_set_is_refused(open_board, fake, make_bitstream):
    old = VTAConfig.load(find("vta_configs", "pynq_1x16_v001", ".json"))
    with pytest.raises(DeviceError, match=r"the bitstream executes HW_VER 0\.0\.1, the job is for 0\.0\.2; .*--config"):
        open_board(bitstream=make_bitstream(old))
    assert fake.chip.touched == 0


def test_program_of_another_instruction_set_is_refused_before_a_register_is_touched(open_board, fake, digits):
    device = open_board()
    touched = fake.chip.touched
    old = VTAConfig.load(find("vta_configs", "pynq_1x16_v001", ".json"))
    with pytest.raises(DeviceError, match=r"compiled for HW_VER 0\.0\.1, the board executes 0\.0\.2; .*--config"):
        device.load(compile_graph(digits, old))
    assert fake.chip.touched == touched


def test_unknown_bitstream_without_a_manifest_is_refused(open_board, make_bitstream):
    bit = make_bitstream(Board.load("pynq_z1").config)
    bit.with_suffix(".json").unlink()
    with pytest.raises(DeviceError, match=r"not one of the published bitstreams; allowed: a manifest .*\.json beside"):
        open_board(bitstream=bit)


def test_clock_that_the_design_does_not_have_is_refused(open_board):
    with pytest.raises(DeviceError, match="VTA runs at 100 MHz, the board file says 125; write clock_mhz = 100"):
        open_board(board=replace(Board.load("pynq_z1"), clock_mhz=125.0))


def test_memory_of_the_image_s_size_runs_out_in_one_line(open_board, fake, digits):
    device = open_board()
    fake.chip.next_address = fake.chip.first + fake.chip.cma_bytes - 8192
    with pytest.raises(DeviceError, match=r"no contiguous memory for [0-9]+ bytes .*; restart the board, raise cma="):
        device.load(compile_graph(digits, device.board.config))


def test_manifest_with_a_missing_key_says_which(open_board, make_bitstream):
    bit = make_bitstream(Board.load("pynq_z1").config)
    bit.with_suffix(".json").write_text(json.dumps({"config": Board.load("pynq_z1").config.to_dict()}))
    with pytest.raises(DeviceError, match=r"not a manifest \(part, clock_mhz, input_clock_mhz are missing\)"):
        open_board(bitstream=bit)
