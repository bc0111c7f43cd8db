"""The Verilated core: the generated Verilog as a compiled model, with an AXI memory of stated latency and bandwidth."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import cache_directory, sources_hash
from mpi_vta.errors import DeviceError, InputError
from mpi_vta.gateware import registers
from mpi_vta.gateware.buffers import BURST_BEATS
from mpi_vta.gateware.core import Core, check_core
from mpi_vta.gateware.decoder import InstructionFault
from mpi_vta.gateware.verilog import TOP, core_verilog, require_tools
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.multipliers import Multipliers

BENCH = Path(__file__).with_name("bench.cpp")
PAGE_BYTES = 4096
_POLL_CYCLES = 2048
_ROOMS = ("gateware", "isa", "hw/config.py", "hw/multipliers.py")
_VERILATE = "verilator --cc -O3 --x-assign fast --x-initial fast --noassert -Wno-fatal -Wno-lint -Wno-UNOPTFLAT"
_COMPILE = "g++ -std=c++17 -fPIC -w"
# what runs once, at the start, is not worth the compiler's time
_OPTIMISED, _PLAIN, _SLOW = "-O1", "-O0", "Slow.cpp"
_COMMANDS = (_VERILATE, _COMPILE, _OPTIMISED, _PLAIN)
_VIOLATIONS = {1: "a burst that AXI4 forbids", 2: "an address outside the memory", 4: "write data without its address"}


@dataclass(frozen=True)
class Memory:
    """An AXI memory that is always ready.

    Attributes
    ----------
    latency_cycles : int
        From the cycle in which a read burst is taken to that of its first beat, if no other burst is before it.
    beat_cycles : int
        Cycles per beat, of reads and of writes, which do not disturb each other.
    write_latency_cycles : int
        From a write burst's last beat to its answer.
    """

    latency_cycles: int = 16
    beat_cycles: int = 1
    write_latency_cycles: int = 16


@dataclass(frozen=True)
class CoreRun:
    """What came of a program.

    Attributes
    ----------
    cycles : int
        From the start to FINISH, as the core counts them.
    fault : InstructionFault
        Why the core has refused an instruction; NONE if it has not.
    fault_index : int
        Which one.
    """

    cycles: int
    fault: InstructionFault = InstructionFault.NONE
    fault_index: int = 0


class Board:
    """A running core with its memory, register by register.

    Parameters
    ----------
    library : CDLL
        The compiled model.
    image : ndarray of uint8
        The memory, index = byte address; read and written in place while the clock runs.
    memory : Memory
        How it behaves.
    """

    def __init__(self, library: ctypes.CDLL, image: NDArray[np.uint8], memory: Memory) -> None:
        if image.dtype != np.uint8 or image.ndim != 1 or not image.flags.c_contiguous or not image.flags.writeable:
            raise InputError("not a memory", where="the core's memory", allowed="writeable contiguous uint8")
        self._library, self._image = library, image
        self._handle: int | None = library.core_open(
            image.ctypes.data, image.size, memory.latency_cycles, memory.beat_cycles, memory.write_latency_cycles
        )

    def close(self) -> None:
        """Free the model."""
        if self._handle is not None:
            self._library.core_close(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.close()

    @property
    def cycle(self) -> int:
        """Cycles since power-on."""
        return int(self._library.core_cycle(self._handle))

    def write(self, address: int, value: int) -> None:
        """Write a register over AXI-Lite."""
        self._library.core_write(self._handle, address, value)

    def read(self, address: int) -> int:
        """Read a register over AXI-Lite."""
        return int(self._library.core_read(self._handle, address))

    def step(self, cycles: int) -> None:
        """Run the clock.

        Raises
        ------
        DeviceError
            If the core did what its memory port does not allow.
        """
        self._library.core_step(self._handle, cycles)
        broken = int(self._library.core_violations(self._handle))
        if broken:
            what = ", ".join(text for bit, text in _VIOLATIONS.items() if broken & bit)
            raise DeviceError(f"the core's memory port: {what}", where="the Verilated core")

    def launch(self, insn_address: int, insn_count: int, most_cycles: int) -> CoreRun:
        """Run a program that lies in memory, with the base registers as they are.

        Raises
        ------
        DeviceError
            If it takes longer than `most_cycles`.
        """
        self.write(registers.INSN_ADDRESS, insn_address)
        self.write(registers.INSN_COUNT, insn_count)
        self.write(registers.FETCH + registers.CONTROL, registers.START)
        begin = self.cycle
        while not self.read(registers.COMPUTE_DONE) & 1:
            fault = self.read(registers.FAULT)
            if fault:
                return CoreRun(self._counted(), InstructionFault(fault), self.read(registers.FAULT_INDEX))
            if self.cycle - begin > most_cycles:
                raise DeviceError(f"the core has not finished after {most_cycles} cycles", where="the Verilated core")
            self.step(_POLL_CYCLES)
        return CoreRun(self._counted())

    def _counted(self) -> int:
        return self.read(registers.CYCLES_LOW) | self.read(registers.CYCLES_HIGH) << 32


class VerilatedCore:
    """A compiled model of one core, from the cache if it was built before.

    Parameters
    ----------
    config : VTAConfig
        The build.
    bus_bits : int, optional
        Width of the memory port (default: that of the configuration's target).
    multipliers : Multipliers, optional
        How the GEMM core's products are made.
    burst_beats : int, optional
        Longest burst of the memory port.

    Raises
    ------
    InputError
        If yosys, verilator or g++ are missing or fail.
    """

    def __init__(
        self,
        config: VTAConfig,
        bus_bits: int | None = None,
        multipliers: Multipliers | None = None,
        burst_beats: int = BURST_BEATS,
    ) -> None:
        self.config = config
        self.bus_bits = check_core(config, bus_bits, multipliers)
        self.multipliers, self.burst_beats = multipliers, burst_beats

    @cached_property
    def library(self) -> ctypes.CDLL:
        """The model; built when first asked for."""
        path = self.path
        if not path.is_file():
            self._build(path)
        library = ctypes.CDLL(str(path))
        library.core_open.restype = ctypes.c_void_p
        handle, number, word = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
        library.core_open.argtypes = [handle, number, number, number, number]
        library.core_step.argtypes = [handle, number]
        library.core_write.argtypes = [handle, word, word]
        library.core_read.argtypes = [handle, word]
        for name in ("core_close", "core_cycle", "core_violations"):
            getattr(library, name).argtypes = [handle]
        library.core_read.restype = library.core_violations.restype = word
        library.core_cycle.restype = number
        return library

    @property
    def path(self) -> Path:
        """Where the model is kept: by the content of all that it is made of. Targets of one bus are one core."""
        parameters = {key: value for key, value in self.config.to_dict().items() if key.startswith("LOG_")}
        made_of = (sources_hash(_ROOMS), BENCH.read_text(), parameters)
        parts = (*made_of, self.bus_bits, self.multipliers, self.burst_beats, *_COMMANDS)
        key = hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()
        return cache_directory() / key[:2] / f"{key[2:]}.core"

    def open(self, image: NDArray[np.uint8], memory: Memory | None = None) -> Board:
        """Return the core with a memory, after a reset."""
        return Board(self.library, image, memory or Memory())

    def run(
        self,
        insns: NDArray[np.uint64],
        image: NDArray[np.uint8],
        memory: Memory | None = None,
        most_cycles: int = 1 << 26,
    ) -> CoreRun:
        """Run a program on a core fresh from reset.

        Parameters
        ----------
        insns : ndarray of uint64, shape (n, 2)
            Instructions with absolute ``dram_base``.
        image : ndarray of uint8, shape (bytes,)
            The memory, index = byte address, changed in place; the instructions lie behind it.
        memory : Memory, optional
            How it behaves.
        most_cycles : int
            When to give up.
        """
        begin = -(-image.size // PAGE_BYTES) * PAGE_BYTES
        whole = np.zeros(begin + -(-insns.nbytes // PAGE_BYTES) * PAGE_BYTES, np.uint8)
        whole[: image.size] = image
        whole[begin : begin + insns.nbytes] = np.ascontiguousarray(insns).view(np.uint8).reshape(-1)
        board = self.open(whole, memory)
        try:
            run = board.launch(begin, len(insns), most_cycles)
        finally:
            board.close()
        image[:] = whole[: image.size]
        return run

    def _build(self, path: Path) -> None:
        require_tools(["yosys", "verilator", "g++"], "the Verilated core")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as name:
            folder = Path(name)
            core = Core(self.config, self.bus_bits, self.multipliers, self.burst_beats)
            (folder / "core.v").write_text(core_verilog(core))
            _run([*_VERILATE.split(), "--top-module", TOP, "--prefix", f"V{TOP}", "--Mdir", ".", "core.v"], folder)
            include = _verilator_root() / "include"
            flags = ["-I.", f"-I{include}", f"-I{include / 'vltstd'}", f"-DBUS_BITS={self.bus_bits}"]
            runtime = [include / "verilated.cpp", include / "verilated_threads.cpp"]
            sources = [*sorted(folder.glob("*.cpp")), BENCH, *runtime]

            def compiled(source: Path) -> str:
                level = _PLAIN if source.name.endswith(_SLOW) else _OPTIMISED
                _run([*_COMPILE.split(), level, *flags, "-c", str(source), "-o", f"{source.stem}.o"], folder)
                return f"{source.stem}.o"

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = list(pool.map(compiled, sources))
            _run([*_COMPILE.split(), "-shared", *objects, "-o", "core.so", "-lpthread"], folder)
            # whole or not at all, whoever else builds the same
            os.replace(folder / "core.so", path)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        text = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InputError(f"{command[0]} failed: {text[0] if text else done.returncode}", where="the Verilated core")


def _verilator_root() -> Path:
    program = shutil.which("verilator") or "verilator"
    done = subprocess.run([program, "--getenv", "VERILATOR_ROOT"], capture_output=True, text=True, check=False)
    return Path(done.stdout.strip() or "/usr/share/verilator")
