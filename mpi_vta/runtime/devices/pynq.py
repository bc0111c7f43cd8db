"""A real VTA behind PYNQ: environment, bitstream, clock, contiguous memory. The only module that imports pynq."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.errors import DeviceError
from mpi_vta.hw.board import Board
from mpi_vta.runtime.devices.bitstream import Design
from mpi_vta.runtime.devices.board_access import RegisterBlock
from mpi_vta.runtime.devices.driver import LAUNCH_TIMEOUT_S, DrivenProgram, VtaDriver
from mpi_vta.runtime.devices.protocol import DeviceSetup

CLOCK_TOLERANCE = 0.01
FPGA_MANAGER = Path("/sys/class/fpga_manager/fpga0")
# what the images set in a profile script of login shells, which ssh, Hydra, sudo and Open MPI's daemons do not read
XRT_VARIABLE, XRT_FOLDER = "XILINX_XRT", "/usr"


class PynqBuffer:
    """Memory from pynq's allocator."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        self.address = int(buffer.device_address)

    @property
    def data(self) -> NDArray[np.uint8]:
        """The bytes as the processor sees them, shape (bytes,)."""
        view: NDArray[np.uint8] = self._buffer
        return view

    def flush(self) -> None:
        """Write the processor's cache lines back."""
        self._buffer.flush()

    def invalidate(self) -> None:
        """Drop the processor's cache lines."""
        self._buffer.invalidate()


class PynqAccess:
    """Registers and memory of this board.

    Parameters
    ----------
    pynq : module
        The package.
    where : str
        The board, for messages.
    """

    def __init__(self, pynq: ModuleType, where: str) -> None:
        self._pynq, self.where = pynq, where

    def registers(self, address: int, size_bytes: int) -> RegisterBlock:
        """Return the registers from a physical address on."""
        block: RegisterBlock = self._pynq.MMIO(address, size_bytes)
        return block

    def allocate(self, size_bytes: int, *, cacheable: bool) -> PynqBuffer:
        """Return new contiguous memory."""
        try:
            return PynqBuffer(self._pynq.allocate(shape=(size_bytes,), dtype=np.uint8, cacheable=int(cacheable)))
        except (RuntimeError, MemoryError, OSError) as fault:
            raise DeviceError(
                f"no contiguous memory for {size_bytes} bytes ({fault})",
                where=self.where,
                remedy="restart the board, raise cma= of its kernel, or use more boards",
            ) from fault


class PynqDevice:
    """The VTA of this board.

    Opening it loads the bitstream, which also clears buffers and tokens that an earlier program left, and gives the
    design's PLL the clock that it was made for.

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
    design : Design
        What was loaded.
    input_clock_mhz : float
        PS clock 0, from which the design makes VTA's clock.

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
        self.design = Design.check(file, board)
        self.input_clock_mhz = self._set_input_clock(self.design.facts.input_clock_mhz)
        self._load_bitstream()
        self._driver = VtaDriver(PynqAccess(self._pynq, self._where), self.design, timeout_s)

    def load(self, program: Program) -> DrivenProgram:
        """Place a program in contiguous memory."""
        return self._driver.load(program)

    def _require_device(self) -> None:
        with warnings.catch_warnings():
            # pynq's own warning says less than the error below
            warnings.simplefilter("ignore", UserWarning)
            found = self._pynq.Device.devices
        if not found:
            raise DeviceError(
                "pynq finds no FPGA on this host",
                where="--device pynq",
                remedy=f"run this rank on a PYNQ board, as root ({FPGA_MANAGER} must be there), or choose --device sim",
            )

    def _load_bitstream(self) -> None:
        path = str(self.design.path.resolve())
        try:
            bitstream = self._pynq.Bitstream(path)
            # with the description pynq also sets the widths of the processor's ports
            parser = bitstream.device.get_bitfile_metadata(path) if self.design.hwh else None
            with _elsewhere():
                bitstream.download(parser)
        except (OSError, RuntimeError) as fault:
            raise DeviceError(
                f"cannot load the bitstream {path} ({fault})", where=self._where, remedy="run as root on the board"
            ) from fault

    def _set_input_clock(self, clock_mhz: float) -> float:
        """Set PS clock 0 if it is another; only before the download, whose reset lets the PLL lock again."""
        clocks = self._pynq.Clocks
        found = float(clocks.fclk0_mhz)
        if _close(found, clock_mhz):
            return found
        with warnings.catch_warnings():
            # pynq warns of a clock that it cannot make; the comparison below refuses it
            warnings.simplefilter("ignore", UserWarning)
            clocks.fclk0_mhz = clock_mhz
        found = float(clocks.fclk0_mhz)
        if not _close(found, clock_mhz):
            raise DeviceError(
                f"PS clock 0 can be set to {found:g} MHz, the design's PLL was made for {clock_mhz:g}",
                where=self._where,
                remedy="use a bitstream that was made for this board",
            )
        return found


def _close(found_mhz: float, wanted_mhz: float) -> bool:
    return abs(found_mhz - wanted_mhz) <= CLOCK_TOLERANCE * wanted_mhz


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """Work in a folder that vanishes: pynq 3.1 and later write ``loaded.xclbin`` into the current one."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="mpi_vta_") as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def logic_clock_mhz() -> float:
    """Return PS clock 0 of this board, which VTA's clock is made of.

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
    if FPGA_MANAGER.exists():
        # pynq looks for it when it is imported, and again when it looks for devices
        os.environ.setdefault(XRT_VARIABLE, XRT_FOLDER)
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
