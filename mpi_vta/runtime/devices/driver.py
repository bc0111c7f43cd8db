"""The driver of VTA's HLS builds: buffers, caches, registers, launches; over any `BoardAccess`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import SEGMENT_ALIGN_BYTES, Binding, Program
from mpi_vta.errors import DeviceError
from mpi_vta.isa.codec import decode_columns
from mpi_vta.isa.table import MemoryType, Opcode
from mpi_vta.runtime.devices.bitstream import Design
from mpi_vta.runtime.devices.board_access import BoardAccess, BoardBuffer, RegisterBlock
from mpi_vta.runtime.devices.protocol import Buffers, input_of
from mpi_vta.runtime.devices.register_map import CONTROL, UNIT_SPAN_BYTES, RegisterMap

LAUNCH_TIMEOUT_S = 10.0
START = 0x01
AUTO_RESTART = 0x81
FETCH_DONE = 0x02
_SPINS_BEFORE_SLEEP = 50
_SLEEP_S = 50e-6


class UnitLauncher:
    """The four units' registers, and the launch sequence.

    Parameters
    ----------
    blocks : mapping of str to RegisterBlock
        By unit.
    registers : RegisterMap
        Where the registers lie in them.
    where : str
        The board, for messages.
    timeout_s : float
        Longest wait for a launch.
    timer : callable
        Nanoseconds by the board's own timer.
    """

    def __init__(
        self,
        blocks: Mapping[str, RegisterBlock],
        registers: RegisterMap,
        where: str,
        timeout_s: float,
        timer: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._blocks, self._map, self._where, self._timeout_s = blocks, registers, where, timeout_s
        self._timer = timer

    def launch(self, insn_address: int, insn_count: int, what: str) -> int:
        """Run the instructions in memory; return when FINISH has been executed, with the nanoseconds it took.

        Raises
        ------
        DeviceError
            If that takes longer than the limit; VTA has to be loaded anew then.
        """
        blocks, places = self._blocks, self._map
        # done still shows the launch before, until a GEMM or ALU clears it; its flag, which reading clears, does not
        blocks["compute"].read(places.done_flag)
        blocks["fetch"].write(places.insn_count, insn_count)
        for word, offset in enumerate(places.insns):
            blocks["fetch"].write(offset, insn_address >> 32 * word & 0xFFFF_FFFF)
        for unit, offset in places.bases:
            blocks[unit].write(offset, 0)
        started_ns = self._timer()
        blocks["fetch"].write(CONTROL, START)
        for unit in ("load", "compute", "store"):
            blocks[unit].write(CONTROL, AUTO_RESTART)
        try:
            self._wait_for_fetch(what)
            self._wait_for_compute(what)
            return self._timer() - started_ns
        finally:
            for unit in ("load", "compute", "store"):
                blocks[unit].write(CONTROL, 0)

    def _wait_for_fetch(self, what: str) -> None:
        wait = _Wait(self._timeout_s)
        while not self._blocks["fetch"].read(CONTROL) & FETCH_DONE:
            if wait.is_over():
                raise self._late("fetch", what)

    def _wait_for_compute(self, what: str) -> None:
        compute, wait = self._blocks["compute"], _Wait(self._timeout_s)
        written = False
        while True:
            # the flag first: a done that is read after it is this launch's
            written = written or bool(compute.read(self._map.done_flag) & 1)
            if written and compute.read(self._map.done) & 1:
                return
            if wait.is_over():
                raise self._late("compute", what)

    def _late(self, unit: str, what: str) -> DeviceError:
        return DeviceError(
            f"{what}: VTA's {unit} unit did not finish within {self._timeout_s:g} s",
            where=self._where,
            remedy="start again, which loads the bitstream anew; if it stays, run python -m mpi_vta.doctor --selftest",
        )


class _Wait:
    """A limit in time that polls a few times before it sleeps between polls."""

    def __init__(self, limit_s: float) -> None:
        self._end_s = time.monotonic() + limit_s
        self._spins = 0

    def is_over(self) -> bool:
        """Count a poll that found nothing; tell whether the time is up."""
        self._spins += 1
        if self._spins > _SPINS_BEFORE_SLEEP:
            if time.monotonic() > self._end_s:
                return True
            time.sleep(_SLEEP_S)
        return False


class DrivenProgram:
    """A program in a board's contiguous memory, relocated once to the physical addresses it got there.

    Attributes
    ----------
    launch_ns : int or None
        Measured time of the latest launch, from the first start bit to FINISH as seen by polling.
    """

    cycles = None
    profile = None

    def __init__(self, program: Program, driver: VtaDriver) -> None:
        self.program, self._driver = program, driver
        self.launch_ns: int | None = None
        self._buffers = {segment.name: driver.allocate(segment.size_bytes) for segment in program.segments}
        for name, buffer in self._buffers.items():
            content = program.data.get(name)
            buffer.data[:] = 0
            if content is not None:
                buffer.data[: content.size] = content
            # scratch too: a dirty line written back later would overwrite what VTA has stored
            driver.publish(buffer)
        insns = program.link({name: buffer.address for name, buffer in self._buffers.items()})
        self._count = len(insns)
        self._insns = driver.allocate(insns.nbytes)
        self._insns.data[: insns.nbytes] = np.ascontiguousarray(insns).view(np.uint8).reshape(-1)
        driver.publish(self._insns)

    def run(self, inputs: Buffers) -> dict[str, NDArray[np.uint8]]:
        """Launch once; see `LoadedProgram.run`."""
        for binding in self.program.inputs:
            given = input_of(self.program, binding, inputs)
            buffer = self._buffers[binding.segment]
            buffer.data[: binding.size_bytes] = given
            self._driver.publish(buffer)
        what = f"stage {self.program.name}"
        self.launch_ns = self._driver.launcher.launch(self._insns.address, self._count, what)
        return {binding.value: self._fetch(binding) for binding in self.program.outputs}

    def _fetch(self, binding: Binding) -> NDArray[np.uint8]:
        buffer = self._buffers[binding.segment]
        self._driver.refresh(buffer)
        return np.array(buffer.data[: binding.size_bytes], dtype=np.uint8, copy=True, subok=False)


class VtaDriver:
    """VTA on a board whose logic is loaded.

    Parameters
    ----------
    access : BoardAccess
        The way to the board.
    design : Design
        What is loaded there.
    timeout_s : float
        Longest wait for a launch.
    timer : callable
        Nanoseconds by the board's own timer.

    Raises
    ------
    DeviceError
        If the registers are not where the design has them.
    """

    def __init__(
        self,
        access: BoardAccess,
        design: Design,
        timeout_s: float = LAUNCH_TIMEOUT_S,
        timer: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._access, self.design = access, design
        places = design.registers
        blocks = {unit: access.registers(address, UNIT_SPAN_BYTES) for unit, address in places.units.items()}
        places.check(blocks, access.where)
        self.launcher = UnitLauncher(blocks, places, access.where, timeout_s, timer)

    def load(self, program: Program) -> DrivenProgram:
        """Place a program in contiguous memory.

        Raises
        ------
        DeviceError
            If it is for another build or instruction set than the loaded one, or memory runs out.
        """
        held, wanted = self.design.config, program.config
        if held.hw_ver != wanted.hw_ver:
            raise DeviceError(
                f"compiled for HW_VER {wanted.hw_ver}, the board executes {held.hw_ver}",
                where=f"{self._access.where}: stage {program.name}",
                remedy=f"choose a --config with HW_VER {held.hw_ver}",
            )
        if held != wanted:
            raise DeviceError(
                f"compiled for {wanted.name}, the board holds {held.name}",
                where=f"{self._access.where}: stage {program.name}",
                remedy="load the bitstream of this configuration, or choose another --config",
            )
        if self.design.facts.ignores_acc_pads and pads_accumulators(program):
            raise DeviceError(
                "it pads accumulators while loading them, which this bitstream ignores",
                where=f"{self._access.where}: stage {program.name}",
                remedy="use a bitstream that was built from a later source",
            )
        return DrivenProgram(program, self)

    def allocate(self, size_bytes: int) -> BoardBuffer:
        """Return memory that VTA reaches; cacheable, as reading past the caches is slow."""
        buffer = self._access.allocate(size_bytes, cacheable=True)
        address, window = buffer.address, self.design.address_window_bytes
        if address % SEGMENT_ALIGN_BYTES or address + size_bytes > window:
            raise DeviceError(
                f"a buffer lies at 0x{address:x}",
                where=self._access.where,
                allowed=f"multiples of {SEGMENT_ALIGN_BYTES} below 0x{window:x}, which the design maps to memory",
                remedy="keep the kernel's contiguous memory low: cma=SIZE@0-WINDOW on its command line",
            )
        return buffer

    def publish(self, buffer: BoardBuffer) -> None:
        """Make what the processor wrote visible to VTA."""
        if not self.design.coherent:
            buffer.flush()

    def refresh(self, buffer: BoardBuffer) -> None:
        """Make what VTA wrote visible to the processor."""
        if not self.design.coherent:
            buffer.invalidate()


def pads_accumulators(program: Program) -> bool:
    """Tell whether a program loads accumulators with padding."""
    columns = decode_columns(program.insns, program.config)
    rows = (columns["opcode"] == Opcode.LOAD) & (columns["memory_type"] == MemoryType.ACC)
    pads = [columns[name][rows] for name in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")]
    return bool(np.any(pads))
