"""A Zynq as its manuals and VTA's hardware sources describe it: memory, L2, ports, PLL, registers; no pynq needed.

What the chip does, whether a driver expects it or not:

- a write-combined buffer is DRAM itself; a cacheable one is lines of L2, as the processor sees it;
- VTA behind the coherency port (ACP) reads L2 before DRAM and leaves what it stores as dirty lines in L2, of which
  only some are written back by themselves; behind HP or HPC it sees DRAM alone, and lines that were dirty when it
  started are written back over its results;
- ``invalidate`` drops lines, dirty or not, ``flush`` writes them back;
- PS clock 0 feeds a PLL that locks when the bitstream is loaded, and loses lock when that clock is written later;
  without lock no register answers;
- compute's ``done`` is set by FINISH and cleared by the first GEMM or ALU alone; its flag is cleared by reading;
- the registers lie where the generation of HLS put them, and instructions are those of the design's version.
"""

import json
from dataclasses import dataclass, field

import numpy as np

from mpi_vta.errors import MpiVtaError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import decode_columns
from mpi_vta.isa.table import MemoryType, Opcode
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.sram import Sram
from mpi_vta.simulator.timing import simulate

LINE = 32
PAGE = 4096
LEAST_BUFFER = 8192  # XRT makes none smaller
MIB = 1 << 20
MARK = b"FAKE"
START, AUTO_RESTART, FETCH_DONE = 0x01, 0x81, 0x0E
ARM32, ARM64 = "armv7l", "aarch64"
UNITS = {
    ARM32: {"fetch": 0x43C0_0000, "load": 0x43C0_1000, "compute": 0x43C0_2000, "store": 0x43C0_3000},
    ARM64: {"fetch": 0xA000_0000, "load": 0xA000_1000, "compute": 0xA000_2000, "store": 0xA000_3000},
}
# registers of the processing system that pynq's Clocks reads: PLLs of 1000 MHz, their output divided by 10
CLOCK_REGISTER = {ARM32: 0xF800_0170, ARM64: 0xFF5E_00C0}
PS_REGISTERS = {
    ARM32: {0xF800_0108: 20 << 12, 0xF800_0170: 10 << 8 | 1 << 20},
    ARM64: {0xFF5E_0020: 1 << 16 | 60 << 8, 0xFF5E_00C0: 10 << 8 | 1 << 16},
}
PORT = {ARM32: "acp", ARM64: "hpc"}
CMA_MIB = {ARM32: 128, ARM64: 128}
PLL_INPUT_MHZ = (60.0, 120.0)  # what keeps its oscillator in range
# polls after which fetch has handed out the last instruction, compute has taken its first, FINISH is done
FETCH_ENDS, FIRST_COMPUTE, FINISHED = 3, 6, 9

# unit -> register -> offset, as the HLS generations lay the map out; names as their .hwh files give them
VIVADO = {
    "fetch": {"CTRL": 0x00, "insn_count": 0x10, "insns_V": 0x18},
    "load": {"CTRL": 0x00, "inputs_V": 0x10, "weights_V": 0x18},
    "compute": {
        "CTRL": 0x00,
        "done_i": 0x10,
        "done_o": 0x18,
        "done_o_ctrl": 0x1C,
        "uops_V": 0x20,
        "biases_V": 0x28,
    },
    "store": {"CTRL": 0x00, "outputs_V": 0x10},
}
VIVADO_OUT = VIVADO | {"compute": {"CTRL": 0x00, "done": 0x10, "done_ctrl": 0x14, "uops_V": 0x18, "biases_V": 0x20}}
VITIS = {
    "fetch": {"CTRL": 0x00, "insn_count": 0x10, "insns_1": 0x18, "insns_2": 0x1C},
    "load": {"CTRL": 0x00, "inputs_1": 0x10, "inputs_2": 0x14, "weights_1": 0x1C, "weights_2": 0x20},
    "compute": {
        "CTRL": 0x00,
        "done": 0x10,
        "done_ctrl": 0x14,
        "uops_1": 0x20,
        "uops_2": 0x24,
        "biases_1": 0x2C,
        "biases_2": 0x30,
    },
    "store": {"CTRL": 0x00, "outputs_1": 0x10, "outputs_2": 0x14},
}


class BusHang(RuntimeError):
    """The interconnect waits for ever: on a board nothing answers any more until power is cut."""


@dataclass
class Faults:
    """What is broken."""

    never_done: bool = False
    no_memory: bool = False
    high_memory: bool = False
    stuck_clock: bool = False
    no_snooping: bool = False  # the port is not coherent, whatever its name
    ignores_acc_pads: bool = False


@dataclass
class Design:
    """The programmable logic after a bitstream was loaded."""

    config: VTAConfig
    registers: dict
    locked: bool
    sram: Sram = field(init=False)

    def __post_init__(self):
        self.sram = Sram.zeros(self.config)


@dataclass
class Launch:
    """One start of the units."""

    polls: int = 0
    cleared: bool = False
    started_ns: int = 0
    lasts_ns: int = 0
    ended: bool = False


def bit_file(path, config, part, registers="VIVADO"):
    """Write a bitstream that this chip understands, with Vivado's header."""
    preamble = b"\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00"
    fields = b"".join(
        letter + len(text).to_bytes(2, "big") + text
        for letter, text in ((b"a", b"vta;Version=2020.1\0"), (b"b", part.encode() + b"\0"))
    )
    content = MARK + json.dumps({"config": config.to_dict(), "registers": registers}).encode()
    head = len(preamble).to_bytes(2, "big") + preamble + b"\x00\x01" + fields
    path.write_bytes(head + b"e" + len(content).to_bytes(4, "big") + content)
    return path


def hwh_file(path, units, registers, port="S_AXI_ACP", window=1 << 30, pads=""):
    """Write the hardware description that Vivado writes for a design, as far as a driver reads it."""
    modules, ranges = [], []
    for unit, base in units.items():
        listed = "".join(
            f'<REGISTER NAME="{name}"><PROPERTY NAME="ADDRESS_OFFSET" VALUE="{offset:#x}"/></REGISTER>'
            for name, offset in registers[unit].items()
        )
        modules.append(
            f'<MODULE INSTANCE="{unit}_0" MODTYPE="{unit}"><ADDRESSBLOCKS><ADDRESSBLOCK><REGISTERS>{listed}</REGISTERS>'
            "</ADDRESSBLOCK></ADDRESSBLOCKS><MEMORYMAP>"
            f'<MEMRANGE BASEVALUE="0x0" HIGHVALUE="{window - 1:#x}" INSTANCE="ps" MEMTYPE="MEMORY" '
            f'SLAVEBUSINTERFACE="{port}"/></MEMORYMAP></MODULE>'
        )
        ranges.append(f'<MEMRANGE INSTANCE="{unit}_0" MEMTYPE="REGISTER" BASEVALUE="{base:#x}"/>')
    ps = f'<MODULE INSTANCE="ps" MODTYPE="processing_system7"><MEMORYMAP>{"".join(ranges)}</MEMORYMAP></MODULE>'
    path.write_text(f"<EDKSYSTEM><MODULES>{''.join(modules)}{ps}{pads}</MODULES></EDKSYSTEM>")
    return path


class Chip:
    """One board that has just been powered up."""

    def __init__(self, arch=ARM32, *, port=None, cma_mib=None):
        self.arch = arch
        self.port = port or PORT[arch]
        self.cma_bytes = (cma_mib or CMA_MIB[arch]) * MIB
        self.faults = Faults()
        self.units = dict(UNITS[arch])
        self.ps = dict(PS_REGISTERS[arch])
        self.first = 16 * MIB
        size = self.first + self.cma_bytes
        self.dram, self.l2, self._bus = (np.zeros(size, np.uint8) for _ in range(3))
        self.cached = np.zeros(size // LINE, bool)
        self.buffers = []
        self.next_address = self.first
        self.design = None
        self.registers = {}
        self.launch = Launch(ended=True)
        self.hung = None
        self.launches = 0
        self.touched = 0
        self.clock_writes = 0
        self.vta_mhz = None  # with a clock launches take their modelled time on the chip's own timer
        self.now_ns = 0

    # bitstream and clock

    @property
    def input_mhz(self):
        """Return PS clock 0."""
        value = self.ps[CLOCK_REGISTER[self.arch]]
        second = value >> 20 if self.arch == ARM32 else value >> 16
        return 1000 / max(value >> 8 & 63, 1) / max(second & 63, 1)

    def load(self, content):
        """Take a bitstream; the PLL starts from reset."""
        if MARK not in content:
            raise RuntimeError("the fabric does not start")
        held = json.loads(content[content.index(MARK) + len(MARK) :])
        registers = {"VIVADO": VIVADO, "VIVADO_OUT": VIVADO_OUT, "VITIS": VITIS}[held["registers"]]
        low, high = PLL_INPUT_MHZ
        self.design = Design(VTAConfig.from_dict(held["config"]), registers, low <= self.input_mhz <= high)
        self.registers = {}
        self.launch = Launch(ended=True)

    # memory

    def allocate(self, size, cacheable):
        """Return the address and the processor's view of a new buffer."""
        taken = -(-max(size, LEAST_BUFFER) // PAGE) * PAGE
        if self.faults.no_memory or self.next_address + taken > self.first + self.cma_bytes:
            raise RuntimeError("BO allocation failed")
        address = self.next_address
        self.next_address += taken
        # what earlier users left
        self.dram[address : address + taken] = 0xA5
        self.l2[address : address + taken] = 0x5A
        self.cached[address // LINE : (address + taken) // LINE] = cacheable
        self.buffers.append((address, taken, cacheable))
        shown = address + (0x8000_0000 if self.faults.high_memory else 0)
        view = self.l2 if cacheable else self.dram
        return shown, address, view[address : address + size]

    def flush(self, address, size):
        """Write the lines of a range back."""
        for lines in self._lines(address, size):
            self.dram[lines] = self.l2[lines]

    def invalidate(self, address, size):
        """Drop the lines of a range; the processor reads DRAM next."""
        for lines in self._lines(address, size):
            self.l2[lines] = self.dram[lines]
        if not self._cacheable(address):
            self.cached[address // LINE : -(-(address + size) // LINE)] = False

    def _lines(self, address, size):
        """Return the cached lines of a range, as slices of memory."""
        first, last = address // LINE, -(-(address + size) // LINE)
        found = np.flatnonzero(self.cached[first:last]) + first
        runs = np.split(found, np.flatnonzero(np.diff(found) != 1) + 1) if found.size else []
        return [slice(int(run[0]) * LINE, (int(run[-1]) + 1) * LINE) for run in runs]

    def _cacheable(self, address):
        return any(cacheable and first <= address < first + size for first, size, cacheable in self.buffers)

    # registers

    def read(self, address):
        """Read a word from the bus."""
        if address in self.ps:
            return self.ps[address]
        unit, name = self._register(address)
        self._advance()
        value = self.registers.get((unit, name), 0)
        cleared_by_reading = name in ("done_o_ctrl", "done_ctrl") or (unit, name) == ("fetch", "CTRL")
        if cleared_by_reading:
            self.registers[unit, name] = 0
        return value

    def write(self, address, value):
        """Write a word to the bus."""
        if address >= 0xF000_0000:
            if address == CLOCK_REGISTER[self.arch]:
                if self.faults.stuck_clock:
                    return
                self.clock_writes += 1
                # two dividers, one after the other, and no reset of the PLL
                if self.design:
                    self.design.locked = False
            self.ps[address] = value
            return
        unit, name = self._register(address)
        self.touched += 1
        if name is None or name in ("done_o", "done_o_ctrl", "done", "done_ctrl"):
            return
        if name == "CTRL" and value == 0 and not self.launch.ended:
            # the units stop where they are
            self.launch.ended = True
        self.registers[unit, name] = value
        started = [self.registers.get((unit, "CTRL"), 0) for unit in ("load", "compute", "store")]
        if name == "CTRL" and self.registers.get(("fetch", "CTRL")) == START and started == [AUTO_RESTART] * 3:
            self.registers["fetch", "CTRL"] = 0
            self.launches += 1
            self.launch = Launch(started_ns=self.now_ns)
            if self.vta_mhz and self._decodes():
                self.launch.lasts_ns = round(simulate(self.design.config, self._insns()).cycles * 1000 / self.vta_mhz)

    def _register(self, address):
        if self.design is None:
            raise BusHang("registers of an empty fabric")
        if not self.design.locked:
            raise BusHang("VTA has no clock: its PLL is not locked")
        for unit, base in self.units.items():
            if base <= address < base + 0x1000:
                names = {offset: name for name, offset in self.design.registers[unit].items()}
                return unit, names.get(address - base)
        raise BusHang(f"nobody answers at {address:#x}")

    def _set_done(self, value):
        done = "done_o" if "done_o" in self.design.registers["compute"] else "done"
        self.registers["compute", done] = value
        self.registers["compute", f"{done}_ctrl"] = 1

    def _named(self, unit, name):
        """Return the low word of a register by its argument's name."""
        return next(
            self.registers.get((unit, known), 0)
            for known in self.design.registers[unit]
            if known in (name, f"{name}_V", f"{name}_1")
        )

    def _advance(self):
        launch = self.launch
        if launch.ended or self.faults.never_done:
            return
        launch.polls += 1
        self.now_ns += max(1000, launch.lasts_ns // 40)
        if launch.polls == FETCH_ENDS:
            self.registers["fetch", "CTRL"] = FETCH_DONE
        if launch.polls >= FIRST_COMPUTE and not launch.cleared:
            launch.cleared = True
            opcodes = decode_columns(self._insns(), self.design.config)["opcode"] if self._decodes() else []
            if np.isin(opcodes, [Opcode.GEMM, Opcode.ALU]).any():
                self._set_done(0)
        if launch.polls >= FINISHED and self.now_ns - launch.started_ns >= launch.lasts_ns:
            launch.ended = True
            self.hung = self._run()
            if self.hung is None:
                self._set_done(1)

    def _decodes(self):
        try:
            decode_columns(self._insns(), self.design.config)
        except MpiVtaError:
            return False
        return True

    # VTA

    def _insns(self):
        count, address = self._named("fetch", "insn_count"), self._named("fetch", "insns")
        assert address % PAGE == 0, "the instruction buffer must be page aligned"
        image = self._seen(address, 16 * count)
        return image.view(np.uint64).reshape(count, 2).copy()

    @property
    def _snoops(self):
        return self.port == "acp" and not self.faults.no_snooping

    def _seen(self, address, size):
        """Return memory as VTA's port shows it."""
        found = self.dram[address : address + size].copy()
        if self._snoops:
            for lines in self._lines(address, size):
                low, high = max(lines.start, address), min(lines.stop, address + size)
                found[low - address : high - address] = self.l2[low:high]
        return found

    def _run(self):
        """Execute; return why it hung, or None."""
        bases = [("load", "inputs"), ("load", "weights"), ("compute", "uops"), ("compute", "biases")]
        for unit, name in [*bases, ("store", "outputs")]:
            if self._named(unit, name):
                return f"the base of {name} is not 0"
            if self.registers.get((unit, f"{name}_2"), 0):
                return f"the high word of {name} is not 0"
        if self.registers.get(("fetch", "insns_2"), 0):
            return "the high word of insns is not 0"
        config, insns = self.design.config, self._insns()
        dirty = [lines for address, size, _ in self.buffers for lines in self._lines(address, size) if not self._snoops]
        kept = [(lines, self.l2[lines].copy(), self.l2[lines] != self.dram[lines]) for lines in dirty]
        for address, size, _ in self.buffers:
            self._bus[address : address + size] = self._seen(address, size)
        try:
            if self.faults.ignores_acc_pads:
                insns = _without_acc_pads(insns, config)
            Executable(config, insns, self._bus, self.design.sram).run(self._bus)
        except MpiVtaError as fault:
            return str(fault)
        for low, high in _stored(decode_columns(insns, config), config.out_bytes):
            if self._snoops:
                first, last = low // LINE, -(-high // LINE)
                new = [line for line in range(first, last) if not self.cached[line]]
                for line in new:
                    self.l2[line * LINE : (line + 1) * LINE] = self.dram[line * LINE : (line + 1) * LINE]
                self.cached[first:last] = True
                self.l2[low:high] = self._bus[low:high]
                # the cache is small: some lines leave it by themselves
                for line in new:
                    if line % 8 in (1, 4, 6):
                        self.dram[line * LINE : (line + 1) * LINE] = self.l2[line * LINE : (line + 1) * LINE]
                        self.cached[line] = False
            else:
                self.dram[low:high] = self._bus[low:high]
        for lines, content, changed in kept:
            # what the processor had not written back leaves the cache now, over VTA's results
            self.dram[lines][changed] = content[changed]
        return None


def _stored(columns, out_bytes):
    """Return the byte ranges that a program stores, row by row."""
    rows = np.flatnonzero((columns["opcode"] == Opcode.STORE) & (columns["x_size"] > 0))
    for row in rows.tolist():
        base, stride = int(columns["dram_base"][row]), int(columns["x_stride"][row])
        for y in range(int(columns["y_size"][row])):
            low = (base + y * stride) * out_bytes
            yield low, low + int(columns["x_size"][row]) * out_bytes


def _without_acc_pads(insns, config):
    """Return a program as the published build of the newer version runs it."""
    from mpi_vta.isa.codec import Instruction, decode, encode

    changed = []
    for entry in decode(insns, config):
        fields = dict(entry.fields)
        if entry.opcode == Opcode.LOAD and fields["memory_type"] == MemoryType.ACC:
            fields |= {"y_pad_0": 0, "y_pad_1": 0, "x_pad_0": 0, "x_pad_1": 0}
        changed.append(Instruction(entry.opcode, fields))
    return encode(changed, config)


@dataclass
class ChipBuffer:
    """A buffer of `ChipAccess`."""

    chip: Chip
    address: int
    first: int
    data: np.ndarray

    def flush(self):
        self.chip.flush(self.first, self.data.size)

    def invalidate(self):
        self.chip.invalidate(self.first, self.data.size)


@dataclass
class ChipBlock:
    """Registers of `ChipAccess`."""

    chip: Chip
    base: int

    def read(self, offset):
        return self.chip.read(self.base + offset)

    def write(self, offset, value):
        assert type(value) is int
        self.chip.write(self.base + offset, value)


@dataclass
class ChipAccess:
    """The driver's way to the chip without pynq."""

    chip: Chip
    where: str = "the chip"

    def registers(self, address, size_bytes):
        return ChipBlock(self.chip, address)

    def allocate(self, size_bytes, *, cacheable):
        shown, address, view = self.chip.allocate(size_bytes, cacheable)
        return ChipBuffer(self.chip, shown, address, view)
