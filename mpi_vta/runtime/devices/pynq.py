"""A real VTA behind PYNQ: bitstream, clock, contiguous buffers, registers. The only module that imports pynq."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import SEGMENT_ALIGN_BYTES, Binding, Program
from mpi_vta.errors import DeviceError, InputError
from mpi_vta.hw.board import Board
from mpi_vta.runtime.devices.bitstream import UNIT_SPAN_BYTES, BitstreamFile
from mpi_vta.runtime.devices.protocol import Buffers, DeviceSetup

LAUNCH_TIMEOUT_S = 10.0
CLOCK_TOLERANCE = 0.01
_SPINS_BEFORE_SLEEP = 50
_SLEEP_S = 50e-6

CONTROL = 0x00
START = 0x01
AUTO_RESTART = 0x81
FETCH_DONE = 0x02
INSN_COUNT = 0x10
INSN_ADDRESS = 0x18
COMPUTE_DONE = 0x18
# (unit, register) of every base that VTA adds to dram_base; ours are absolute, so all are 0
BASE_REGISTERS = (("load", 0x10), ("load", 0x18), ("compute", 0x20), ("compute", 0x28), ("store", 0x10))


class Registers:
    """The four units' registers, and the launch sequence of VTA's HLS builds.

    Parameters
    ----------
    units : mapping of str to MMIO
        By unit, an object with ``read(offset)`` and ``write(offset, value)``.
    where : str
        The board, for messages.
    timeout_s : float
        Longest wait for a launch.
    """

    def __init__(self, units: Mapping[str, Any], where: str, timeout_s: float) -> None:
        self._units, self._where, self._timeout_s = units, where, timeout_s

    def launch(self, insn_address: int, insn_count: int, what: str) -> None:
        """Run the instructions in memory and return when FINISH has been executed.

        Raises
        ------
        DeviceError
            If that takes longer than the limit; VTA has to be loaded anew then.
        """
        units = self._units
        units["fetch"].write(INSN_COUNT, insn_count)
        units["fetch"].write(INSN_ADDRESS, insn_address)
        for unit, register in BASE_REGISTERS:
            units[unit].write(register, 0)
        units["fetch"].write(CONTROL, START)
        for unit in ("load", "compute", "store"):
            units[unit].write(CONTROL, AUTO_RESTART)
        deadline = time.monotonic() + self._timeout_s
        try:
            # fetch first: until compute takes its first instruction it still shows the launch before as done
            self._wait("fetch", CONTROL, FETCH_DONE, deadline, what)
            self._wait("compute", COMPUTE_DONE, 1, deadline, what)
        finally:
            for unit in ("load", "compute", "store"):
                units[unit].write(CONTROL, 0)

    def _wait(self, unit: str, register: int, bit: int, deadline: float, what: str) -> None:
        read: Callable[[int], int] = self._units[unit].read
        spins = 0
        while not read(register) & bit:
            spins += 1
            if spins > _SPINS_BEFORE_SLEEP:
                if time.monotonic() > deadline:
                    raise DeviceError(
                        f"{what}: VTA's {unit} unit did not finish within {self._timeout_s:g} s",
                        where=self._where,
                        remedy="start again, which loads the bitstream anew; if it stays, check clock_mhz of the "
                        "board file and that bitstream and --config are the same build",
                    )
                time.sleep(_SLEEP_S)


class PynqProgram:
    """A program in the board's contiguous memory, relocated once to the physical addresses it got there.

    Parameters
    ----------
    program : Program
        The stage.
    registers : Registers
        Of the board.
    allocate : callable
        Bytes wanted to a pynq buffer of uint8.
    """

    cycles = None
    profile = None

    def __init__(self, program: Program, registers: Registers, allocate: Callable[[int], Any]) -> None:
        self.program, self._registers = program, registers
        self._buffers = {segment.name: allocate(segment.size_bytes) for segment in program.segments}
        for name, buffer in self._buffers.items():
            content = program.data.get(name)
            buffer[:] = 0
            if content is not None:
                buffer[: content.size] = content
            # scratch too: a dirty line written back later would overwrite what VTA has stored
            buffer.flush()
        insns = program.link({name: int(buffer.device_address) for name, buffer in self._buffers.items()})
        self._count = len(insns)
        self._insns = allocate(insns.nbytes)
        self._insns[: insns.nbytes] = np.ascontiguousarray(insns).view(np.uint8).reshape(-1)
        self._insns.flush()

    def run(self, inputs: Buffers) -> dict[str, NDArray[np.uint8]]:
        """Launch once; see `LoadedProgram.run`."""
        for binding in self.program.inputs:
            given = inputs[binding.value]
            if given.size != binding.size_bytes:
                raise InputError(
                    f"{given.size} bytes for input {binding.value}",
                    where=self.program.name,
                    allowed=f"{binding.size_bytes} bytes",
                )
            buffer = self._buffers[binding.segment]
            buffer[: binding.size_bytes] = given
            buffer.flush()
        self._registers.launch(int(self._insns.device_address), self._count, f"stage {self.program.name}")
        return {binding.value: self._fetch(binding) for binding in self.program.outputs}

    def _fetch(self, binding: Binding) -> NDArray[np.uint8]:
        buffer = self._buffers[binding.segment]
        buffer.invalidate()
        return np.array(buffer[: binding.size_bytes], dtype=np.uint8, copy=True, subok=False)


class PynqDevice:
    """The VTA of this board.

    Opening it loads the bitstream, which also clears buffers and tokens that an earlier program left, and sets
    the clock.

    Parameters
    ----------
    setup : DeviceSetup
        The board and its bitstream.
    timeout_s : float
        Longest wait for a launch.

    Attributes
    ----------
    board : Board
        As given.
    bitstream : BitstreamFile
        What was loaded.
    clock_mhz : float
        The clock that was set.

    Raises
    ------
    DeviceError
        If pynq or the board is missing, or the bitstream does not suit it.
    """

    name = "pynq"
    carries_data = True
    simulated = False

    def __init__(self, setup: DeviceSetup, timeout_s: float = LAUNCH_TIMEOUT_S) -> None:
        board = setup.board
        if board is None:
            raise DeviceError("no board description", where="--device pynq", remedy="name a --cluster")
        self.board = board
        self._where = f"board {board.name} on {platform.node()}"
        file = _named_bitstream(setup, board)
        self._pynq = _import_pynq()
        self._require_device()
        self.bitstream = BitstreamFile.check(file, board)
        self._load_bitstream()
        self.clock_mhz = self._set_clock(board.clock_mhz)
        units = {unit: self._pynq.MMIO(address, UNIT_SPAN_BYTES) for unit, address in self.bitstream.units.items()}
        self._registers = Registers(units, self._where, timeout_s)

    def load(self, program: Program) -> PynqProgram:
        """Place a program in contiguous memory."""
        return PynqProgram(program, self._registers, self._allocate)

    def _require_device(self) -> None:
        with warnings.catch_warnings():
            # pynq's own warning says less than the error below
            warnings.simplefilter("ignore", UserWarning)
            found = self._pynq.Device.devices
        if not found:
            raise DeviceError(
                "pynq finds no FPGA on this host",
                where="--device pynq",
                remedy="run this rank on a PYNQ board, as root with XRT's environment (source /etc/profile), "
                "or choose --device sim",
            )

    def _load_bitstream(self) -> None:
        path = str(self.bitstream.path.resolve())
        try:
            bitstream = self._pynq.Bitstream(path)
            # with the description pynq also sets the widths of the processor's ports
            parser = bitstream.device.get_bitfile_metadata(path) if self.bitstream.hwh else None
            bitstream.download(parser)
        except (OSError, RuntimeError) as fault:
            raise DeviceError(
                f"cannot load the bitstream {path} ({fault})", where=self._where, remedy="run as root on the board"
            ) from fault

    def _set_clock(self, clock_mhz: float) -> float:
        clocks = self._pynq.Clocks
        with warnings.catch_warnings():
            # pynq warns of a clock that it cannot make; the comparison below refuses it
            warnings.simplefilter("ignore", UserWarning)
            clocks.fclk0_mhz = clock_mhz
        found = float(clocks.fclk0_mhz)
        if abs(found - clock_mhz) > CLOCK_TOLERANCE * clock_mhz:
            raise DeviceError(
                f"the clock can be set to {found:g} MHz, not to {clock_mhz:g}",
                where=self._where,
                remedy=f"write clock_mhz = {found:g} into the board file",
            )
        return found

    def _allocate(self, size_bytes: int) -> Any:
        try:
            buffer = self._pynq.allocate(shape=(size_bytes,), dtype=np.uint8)
        except (RuntimeError, MemoryError, OSError) as fault:
            raise DeviceError(
                f"no contiguous memory for {size_bytes} bytes ({fault})",
                where=self._where,
                remedy="restart the board, raise cma= of its kernel, or use more boards",
            ) from fault
        address = int(buffer.device_address)
        if address % SEGMENT_ALIGN_BYTES or address + size_bytes > 1 << 32:
            raise DeviceError(
                f"a buffer lies at 0x{address:x}",
                where=self._where,
                allowed=f"multiples of {SEGMENT_ALIGN_BYTES} below 4 GiB: VTA's address registers have 32 bits",
            )
        return buffer


def logic_clock_mhz() -> float:
    """Return the clock of this board's programmable logic.

    Raises
    ------
    DeviceError
        If pynq cannot be imported, or cannot read it.
    """
    clocks = _import_pynq().Clocks
    try:
        return float(clocks.fclk0_mhz)
    except (RuntimeError, OSError) as fault:
        raise DeviceError(f"the clock cannot be read ({fault})", where="pynq", remedy="run as root") from fault


def _named_bitstream(setup: DeviceSetup, board: Board) -> Path:
    named = setup.bitstream or board.bitstream
    if not named:
        raise DeviceError(
            "no bitstream named",
            where="--device pynq",
            remedy='give --bitstream FILE, or write bitstream = "FILE" into the board file',
        )
    return Path(named)


def _import_pynq() -> ModuleType:
    try:
        import pynq
    except ImportError as fault:
        raise DeviceError(
            f"pynq cannot be imported ({fault})",
            where="--device pynq",
            remedy="run this rank on a PYNQ image, in its Python environment (docs/boards.md), or choose --device sim",
        ) from fault
    module: ModuleType = pynq
    return module
