"""The real pynq package on a register-level board; pynq is imported by the fixtures alone, so collection needs none."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from mpi_vta.hw.board import Board
from mpi_vta.runtime.devices.protocol import DeviceSetup

PARTS = {"armv7l": "7z020clg400", "aarch64": "xczu3eg-sbva484-1-e"}
BOARDS = {"armv7l": "pynq_z1", "aarch64": "ultra96"}


@pytest.fixture(scope="session")
def fakes():
    """Import pynq, then the double, which pynq finds from then on."""
    with warnings.catch_warnings():
        # pynq and what it needs warn of their own Python syntax and of missing hardware
        warnings.simplefilter("ignore")
        import pynq
        from board import fake_device

        assert pynq.Device.devices == [fake_device.FakeZynq.the_board]
    return fake_device


@pytest.fixture
def fake(fakes):
    """Give a Zynq-7000 that has just been powered up."""
    import pynq

    device = fakes.FakeZynq.the_board
    device.power_up("armv7l")
    # Clocks keeps the registers of the first architecture that it meets
    if hasattr(pynq.Clocks, "_real_instance"):
        del pynq.Clocks._real_instance
    pynq.Clocks.device = device
    return device


@pytest.fixture
def open_board(fakes, fake, tmp_path):
    """Open the device with a bitstream of some board's build; everything can be overridden."""
    from mpi_vta.runtime.devices.pynq import PynqDevice

    def open_one(arch="armv7l", *, board=None, bitstream: Path | None = None, timeout_s=0.2):
        if fake.arch != arch:
            fake.power_up(arch)
        board = board or Board.load(BOARDS[arch])
        if bitstream is None:
            name = board.config.name.partition("_")[2]
            bitstream = fakes.bit_file(tmp_path / f"{name}.bit", board.config, PARTS[arch])
        return PynqDevice(DeviceSetup(board, str(bitstream)), timeout_s)

    return open_one


@pytest.fixture
def images_of():
    """Make random int8 images for a graph."""

    def make(graph, count, seed=7):
        shape = (count, *graph.values[graph.inputs[0]].shape[1:])
        return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)

    return make
