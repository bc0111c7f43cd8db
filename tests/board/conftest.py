"""The real pynq package on the chip; pynq is imported by the fixtures alone, so collection needs none."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from chip import ARM32, ARM64, bit_file, hwh_file

from mpi_vta.hw.board import Board
from mpi_vta.runtime.devices.protocol import DeviceSetup

PARTS = {ARM32: "7z020clg400", ARM64: "xczu3eg-sbva484-1-e"}
BOARDS = {ARM32: "pynq_z1", ARM64: "ultra96"}


@pytest.fixture(scope="session")
def fakes():
    """Import pynq, then the double, which pynq finds from then on."""
    os.environ.setdefault("XILINX_XRT", "/usr")
    with warnings.catch_warnings():
        # pynq and what it needs warn of their own Python syntax and of missing hardware
        warnings.simplefilter("ignore")
        import pynq
        from board import fake_device

        assert pynq.Device.devices == [fake_device.FakeZynq.the_board]
    return fake_device


@pytest.fixture
def fake(fakes, tmp_path, monkeypatch):
    """Give a Zynq-7000 that has just been powered up."""
    import pynq

    # pynq leaves a file where it is
    monkeypatch.chdir(tmp_path)
    device = fakes.FakeZynq.the_board
    device.power_up(ARM32)
    # Clocks keeps the registers of the first architecture that it meets
    if hasattr(pynq.Clocks, "_real_instance"):
        del pynq.Clocks._real_instance
    pynq.Clocks.device = device
    return device


def manifest(bit, config, **changes):
    """Write the manifest beside a bitstream."""
    part = "ZU3EG" if config.bus_bits == 128 else "XC7Z020"
    stated = {"config": config.to_dict(), "part": part, "clock_mhz": config.clock_mhz, "input_clock_mhz": 100.0}
    bit.with_suffix(".json").write_text(json.dumps({**stated, **changes}))
    return bit


@pytest.fixture
def make_bitstream(fake, tmp_path):
    """Write a bitstream with its manifest and, if wanted, its hardware description."""

    def make(config, arch=ARM32, *, registers="VIVADO", hwh=None, stated=None, **changes):
        bit = bit_file(tmp_path / f"{config.name}.bit", config, PARTS[arch], registers)
        manifest(bit, stated or config, **changes)
        if hwh is not None:
            hwh_file(bit.with_suffix(".hwh"), fake.chip.units, **hwh)
        return bit

    return make


@pytest.fixture
def open_board(fakes, fake, make_bitstream):
    """Open the device with a bitstream of some board's build; everything can be overridden."""
    from mpi_vta.runtime.devices.pynq import PynqDevice

    def open_one(arch=ARM32, *, board=None, bitstream: Path | None = None, timeout_s=0.2):
        if fake.arch != arch:
            fake.power_up(arch)
        board = board or Board.load(BOARDS[arch])
        bitstream = bitstream or make_bitstream(board.config, arch)
        return PynqDevice(DeviceSetup(board, str(bitstream)), timeout_s)

    return open_one


@pytest.fixture
def images_of():
    """Make random int8 images for a graph."""

    def make(graph, count, seed=7):
        shape = (count, *graph.values[graph.inputs[0]].shape[1:])
        return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)

    return make
