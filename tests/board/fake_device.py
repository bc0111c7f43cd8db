"""A Zynq behind pynq's own device hook: registers, physical memory and a VTA that is our simulator.

The processor's view of a buffer and the physical memory behind it are two arrays: only flush and invalidate
copy between them, as with a cache that nobody snoops. The bitstream file holds the build as JSON, so what is
"loaded" decides what the hardware can run. Whatever real hardware would hang on leaves it not done.
"""

import ctypes
import json
from dataclasses import dataclass, field

import numpy as np
from pynq import Device
from pynq.buffer import PynqBuffer

from mpi_vta.errors import MpiVtaError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.sram import Sram

MEMORY_BYTES = 1 << 28
FIRST_BUFFER = 0x0010_0000
PAGE = 4096
MARK = b"FAKE"
START, AUTO_RESTART = 0x01, 0x81
POLLS_UNTIL_DONE = 3
ZYNQ_UNITS = {"fetch": 0x43C0_0000, "load": 0x43C0_1000, "compute": 0x43C0_2000, "store": 0x43C0_3000}
ULTRASCALE_UNITS = {"fetch": 0xA000_0000, "load": 0xA000_1000, "compute": 0xA000_2000, "store": 0xA000_3000}
# registers of the processing system that pynq's Clocks reads: PLLs of 1000 MHz, their output divided by 10
ZYNQ_CLOCKS = {0xF800_0108: 20 << 12, 0xF800_0170: 10 << 8 | 1 << 20}
ULTRASCALE_CLOCKS = {0xFF5E_0020: 1 << 16 | 60 << 8, 0xFF5E_00C0: 10 << 8 | 1 << 16}


@dataclass
class Faults:
    """What is broken."""

    never_done: bool = False
    no_flush: bool = False
    no_invalidate: bool = False
    no_memory: bool = False
    high_memory: bool = False
    stuck_clock: bool = False


def bit_file(path, config, part):
    """Write a bitstream that the fake hardware understands, with Vivado's header."""
    preamble = b"\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00"
    fields = b"".join(
        letter + len(text).to_bytes(2, "big") + text
        for letter, text in ((b"a", b"vta;Version=2020.1\0"), (b"b", part.encode() + b"\0"))
    )
    content = MARK + json.dumps(config.to_dict()).encode()
    path.write_bytes(
        len(preamble).to_bytes(2, "big")
        + preamble
        + b"\x00\x01"
        + fields
        + b"e"
        + len(content).to_bytes(4, "big")
        + content
    )
    return path


@dataclass
class Vta:
    """The programmable logic after a bitstream was loaded."""

    config: VTAConfig
    sram: Sram = field(init=False)

    def __post_init__(self):
        self.sram = Sram.zeros(self.config)

    def run(self, memory, insns):
        """Execute a stream on physical memory; return why it hung, or None."""
        try:
            Executable(self.config, insns, memory, self.sram).run(memory)
        except MpiVtaError as fault:
            return str(fault)
        return None


class FakeZynq(Device):
    """One board; `pynq.Device` finds it by probing."""

    _probe_priority_ = 1
    the_board = None

    @classmethod
    def _probe_(cls):
        cls.the_board = cls("fake_zynq")
        return [cls.the_board]

    def __init__(self, tag):
        super().__init__(tag)
        self.name = "fake"
        self.capabilities = {"REGISTER_RW": True}
        self.power_up("armv7l")

    def power_up(self, arch):
        """Start anew as a Zynq-7000 (``armv7l``) or UltraScale+ (``aarch64``), without faults."""
        self.arch = arch
        self.faults = Faults()
        self.units = dict(ZYNQ_UNITS if arch == "armv7l" else ULTRASCALE_UNITS)
        self.registers = dict(ZYNQ_CLOCKS if arch == "armv7l" else ULTRASCALE_CLOCKS)
        self.memory = np.zeros(MEMORY_BYTES, np.uint8)
        self.next_address = FIRST_BUFFER
        self.buffers = []
        self.vta = None
        self.hung = None
        self.launches = 0
        self.parser_given = None
        self._polls = 0

    # bitstream

    def get_bitfile_metadata(self, bitfile_name):
        return {"metadata of": bitfile_name}

    def download(self, bitstream, parser=None):
        with open(bitstream.bitfile_name, "rb") as file:
            content = file.read()
        if MARK not in content:
            raise RuntimeError("the fabric does not start")
        self.vta = Vta(VTAConfig.from_dict(json.loads(content[content.index(MARK) + len(MARK) :])))
        self.parser_given = parser

    # memory

    def allocate(self, shape, dtype, **kwargs):
        if self.faults.no_memory:
            raise RuntimeError("Failed to allocate buffer")
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = self.next_address
        self.next_address += -(-size // PAGE) * PAGE
        assert self.next_address <= MEMORY_BYTES, "the fake board's memory is too small for this test"
        self.memory[address : address + size] = 0xA5
        shown = address + (1 << 32 if self.faults.high_memory else 0)
        buffer = PynqBuffer(shape, dtype, device=self, device_address=shown, bo=address, coherent=False)
        buffer[...] = 0x5A
        self.buffers.append((address, size))
        return buffer

    def flush(self, bo, offset, virtual_address, size):
        if not self.faults.no_flush:
            self.memory[bo + offset : bo + offset + size] = _bytes_at(virtual_address, size)

    def invalidate(self, bo, offset, virtual_address, size):
        if not self.faults.no_invalidate:
            _bytes_at(virtual_address, size)[:] = self.memory[bo + offset : bo + offset + size]

    # registers

    def read_registers(self, address, length):
        assert length == 4
        value = self.registers.get(address, 0)
        if address == self.units["fetch"] or address == self.units["compute"] + 0x18:
            self._polls += 1
            value = value if self._polls > POLLS_UNTIL_DONE else 0
            if address == self.units["fetch"] and value & 0x02:
                self.registers[address] = value & ~0x02
        return value.to_bytes(4, "little")

    def write_registers(self, address, data):
        value = int.from_bytes(bytes(data), "little")
        if self.faults.stuck_clock and address in (0xF800_0170, 0xFF5E_00C0):
            return
        self.registers[address] = value
        started = [self.registers.get(base, 0) for unit, base in self.units.items() if unit != "fetch"]
        fetching = self.registers.get(self.units["fetch"]) == START
        if address in self.units.values() and fetching and started == [AUTO_RESTART] * 3:
            self._launch()

    def _launch(self):
        assert self.vta is not None, "registers of an empty fabric"
        fetch, compute = self.units["fetch"], self.units["compute"]
        bases = [self.registers[self.units[unit] + at] for unit, at in BASES]
        assert bases == [0] * len(BASES), "dram_base is absolute, so every base register has to be 0"
        self.launches += 1
        self._polls = 0
        self.registers[fetch] = 0
        self.registers[compute + 0x18] = 0
        count, address = self.registers[fetch + 0x10], self.registers[fetch + 0x18]
        assert address % PAGE == 0, "the instruction buffer must be page aligned"
        insns = self.memory[address : address + 16 * count].view(np.uint64).reshape(count, 2).copy()
        self.hung = "broken" if self.faults.never_done else self.vta.run(self.memory, insns)
        if self.hung is None:
            self.registers[fetch] = 0x0E
            self.registers[compute + 0x18] = 1


BASES = (("load", 0x10), ("load", 0x18), ("compute", 0x20), ("compute", 0x28), ("store", 0x10))


def _bytes_at(virtual_address, size):
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(virtual_address))
