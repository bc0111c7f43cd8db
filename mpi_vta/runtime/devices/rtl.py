"""Our own core, Verilated, behind the driver of real boards: every register access and every byte goes over its AXI."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import SEGMENT_ALIGN_BYTES, Program
from mpi_vta.errors import DeviceError
from mpi_vta.gateware import registers
from mpi_vta.gateware.decoder import InstructionFault
from mpi_vta.gateware.model import Board as RunningCore
from mpi_vta.gateware.model import VerilatedCore
from mpi_vta.hw.config import VTAConfig
from mpi_vta.runtime.devices.bitstream import Design, Facts
from mpi_vta.runtime.devices.board_access import RegisterBlock
from mpi_vta.runtime.devices.driver import DrivenProgram, VtaDriver
from mpi_vta.runtime.devices.protocol import DeviceSetup
from mpi_vta.runtime.devices.register_map import RegisterMap

# the model runs at a ten-thousandth of a board's speed, so a launch may take minutes
LAUNCH_TIMEOUT_S = 3600.0
# the clock goes on while the driver polls
POLL_CYCLES = 64
_POLLED = (registers.FETCH + registers.CONTROL, registers.COMPUTE_DONE)


class CoreRegisters:
    """The registers of one unit of a running core.

    Parameters
    ----------
    core : Board
        The core.
    base : int
        Address of the unit's block.
    """

    def __init__(self, core: RunningCore, base: int) -> None:
        self._core, self._base = core, base

    def read(self, offset: int) -> int:
        """Return the word at an offset; a status that is polled lets the clock run before.

        Raises
        ------
        DeviceError
            If the core has refused an instruction.
        """
        address = self._base + offset
        if address in _POLLED:
            self._core.step(POLL_CYCLES)
            if fault := self._core.read(registers.FAULT):
                raise DeviceError(
                    f"instruction {self._core.read(registers.FAULT_INDEX)} is illegal: "
                    f"{InstructionFault(fault).name.lower().replace('_', ' ')}",
                    where="the Verilated core",
                )
        return self._core.read(address)

    def write(self, offset: int, value: int) -> None:
        """Write the word at an offset."""
        self._core.write(self._base + offset, value)


class CoreMemory:
    """A piece of the memory that core and processor share without caches between them."""

    def __init__(self, data: NDArray[np.uint8], address: int) -> None:
        self.data, self.address = data, address

    def flush(self) -> None:
        """Do nothing: there is no cache."""

    def invalidate(self) -> None:
        """Do nothing: there is no cache."""


class CoreAccess:
    """The way to a Verilated core: its registers from address 0 on, and a memory of a board's size.

    Parameters
    ----------
    core : VerilatedCore
        The model.
    memory_bytes : int
        Memory that it reaches.
    where : str
        The board, for messages.
    """

    def __init__(self, core: VerilatedCore, memory_bytes: int, where: str) -> None:
        self.where = where
        self._memory = np.zeros(memory_bytes, np.uint8)
        self._free = SEGMENT_ALIGN_BYTES
        self.running = core.open(self._memory)

    def registers(self, address: int, size_bytes: int) -> RegisterBlock:
        """Return the registers from an address on."""
        return CoreRegisters(self.running, address)

    def allocate(self, size_bytes: int, *, cacheable: bool) -> CoreMemory:
        """Return new memory, at whole pages."""
        begin = self._free
        end = begin + -(-size_bytes // SEGMENT_ALIGN_BYTES) * SEGMENT_ALIGN_BYTES
        if end > self._memory.size:
            raise DeviceError(
                f"no memory for {size_bytes} bytes: {self._memory.size - begin} of {self._memory.size} are left",
                where=self.where,
                remedy="use more boards, or a board with more memory",
            )
        self._free = end
        return CoreMemory(self._memory[begin : begin + size_bytes], begin)


class RtlDevice:
    """A board that holds our own core.

    Parameters
    ----------
    setup : DeviceSetup
        The board; it has no bitstream.

    Raises
    ------
    DeviceError
        If there is no board description.
    InputError
        If the tools that make the model are missing.
    """

    name = "rtl"
    carries_data = True
    simulated = True

    def __init__(self, setup: DeviceSetup) -> None:
        board = setup.board
        if board is None:
            raise DeviceError("no board description", where="--device rtl", remedy="name a --cluster")
        access = CoreAccess(VerilatedCore(board.config), board.memory_bytes, f"board {board.name}")
        facts = Facts(board.config, board.part, board.clock_mhz, board.clock_mhz)
        design = Design(Path("core.v"), "", facts, core_map(), "acp", board.memory_bytes, None)
        clock_khz = round(board.clock_mhz * 1000)
        self._driver = VtaDriver(
            access, design, LAUNCH_TIMEOUT_S, lambda: access.running.cycle * 1_000_000 // clock_khz
        )

    @classmethod
    def make_ready(cls, configs: Iterable[VTAConfig], tell: Callable[[str], None]) -> None:
        """Build the models of some configurations, so that ranks find them in the cache."""
        for config in configs:
            core = VerilatedCore(config)
            if not core.path.is_file():
                tell(f"compiling the core of {config.name}")
            _ = core.library

    def load(self, program: Program) -> DrivenProgram:
        """Place a program in the core's memory."""
        return self._driver.load(program)


def core_map() -> RegisterMap:
    """Return where our own core has its registers; its ``done`` is cleared by the next start, so it needs no flag."""
    blocks = {
        "fetch": registers.FETCH,
        "load": registers.LOAD,
        "compute": registers.COMPUTE,
        "store": registers.STORE,
    }
    bases = (
        ("load", registers.INP_BASE),
        ("load", registers.WGT_BASE),
        ("compute", registers.UOP_BASE),
        ("compute", registers.ACC_BASE),
        ("store", registers.OUT_BASE),
    )
    done = registers.COMPUTE_DONE - registers.COMPUTE
    return RegisterMap(
        units=blocks,
        insn_count=registers.INSN_COUNT - registers.FETCH,
        insns=(registers.INSN_ADDRESS - registers.FETCH,),
        bases=tuple((unit, address - blocks[unit]) for unit, address in bases),
        done=done,
        done_flag=done,
        source="the core's map",
    )
