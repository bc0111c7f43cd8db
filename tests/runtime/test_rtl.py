"""The driver of real boards over the Verilated core."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from summaries import only_model

from mpi_vta.errors import DeviceError
from mpi_vta.hw.board import Board
from mpi_vta.isa.table import Opcode
from mpi_vta.runtime.devices.protocol import DeviceSetup
from mpi_vta.runtime.devices.registry import open_device
from mpi_vta.runtime.devices.rtl import CoreAccess

pytestmark = pytest.mark.rtl
LAUNCHER = (str(Path(sys.executable).parent / "mpirun"), "-n", "5", sys.executable, "-m", "mpi_vta.pipeline")


@pytest.fixture(scope="module")
def device():
    return open_device("rtl", DeviceSetup(Board.load("pynq_z1")))


def test_a_job_gives_the_outputs_of_simulated_boards(tmp_path):
    found = {}
    for name in ("sim", "rtl"):
        options = ("--model", "digits", "--images", "5", "--device", name, "--output", str(tmp_path / name), "--json")
        done = subprocess.run([*LAUNCHER, *options, "--watchdog-s", "0"], capture_output=True, text=True, check=True)
        found[name] = only_model(done.stdout)["output_sha256"]
    assert found["rtl"] == found["sim"]


def test_the_selftest_passes():
    command = (sys.executable, "-m", "mpi_vta.doctor", "--selftest", "--device", "rtl", "--board", "pynq_z1")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "20 of 20 right" in done.stdout) == (0, True)


def test_an_illegal_instruction_is_named(device):
    insns = np.zeros((1, 2), np.uint64)
    insns[0, 0] = max(Opcode) + 1
    memory = device._driver.allocate(insns.nbytes)
    memory.data[:] = insns.view(np.uint8).reshape(-1)
    with pytest.raises(DeviceError, match="the Verilated core: instruction 0 is illegal: opcode"):
        device._driver.launcher.launch(memory.address, 1, "stage odd")


def test_memory_ends():
    class NoCore:
        def open(self, memory):
            return None

    access = CoreAccess(NoCore(), 3 * 4096, "board small")
    access.allocate(4096, cacheable=True)
    with pytest.raises(DeviceError, match="board small: no memory for 4097 bytes: 4096 of 12288 are left"):
        access.allocate(4097, cacheable=True)
