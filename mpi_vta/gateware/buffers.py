"""The on-chip buffers: read an element at a time, loaded a bus word at a time."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from mpi_vta.errors import ConfigError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import MemoryType

ADDRESS_BITS = 16
"""Of an element in a buffer, as ``sram_base``."""
BURST_BEATS = 256
"""Longest burst of AXI4."""
MOST_LANES = 512
"""Beats of an element: a move has at most 2^16 elements, and 26 bits count its beats."""


class Elements:
    """How the elements of one buffer travel over the bus.

    An element wider than the bus takes several beats, its lanes. A narrower one takes a narrow beat of its own;
    only micro-ops, which lie densely, come several in a beat.

    Parameters
    ----------
    config : VTAConfig
        The build.
    memory : MemoryType
        The buffer.
    bus_bits : int
        Width of the bus.
    burst_beats : int
        Longest burst; a power of two.

    Attributes
    ----------
    log_bytes, log_beat_bytes, log_lanes : int
        Base-2 logarithms of an element's bytes, of a beat's, and of the beats of an element.
    log_depth : int
        Base-2 logarithm of the buffer's elements.
    """

    def __init__(self, config: VTAConfig, memory: MemoryType, bus_bits: int, burst_beats: int = BURST_BEATS) -> None:
        sizes = {
            MemoryType.UOP: (config.uop_bytes, config.log_uop_depth),
            MemoryType.WGT: (config.wgt_bytes, config.log_wgt_depth),
            MemoryType.INP: (config.inp_bytes, config.log_inp_depth),
            MemoryType.ACC: (config.acc_bytes, config.log_acc_depth),
            MemoryType.OUT: (config.out_bytes, config.log_acc_depth),
        }
        element_bytes, self.log_depth = sizes[memory]
        log_bus = (bus_bits // 8).bit_length() - 1
        self.memory, self.bus_bits, self.burst_beats = memory, bus_bits, burst_beats
        self.log_bytes = element_bytes.bit_length() - 1
        self.log_beat_bytes = log_bus if memory == MemoryType.UOP else min(log_bus, self.log_bytes)
        self.log_lanes = max(0, self.log_bytes - log_bus)
        self.log_per_word = max(0, log_bus - self.log_bytes)

    @property
    def bits(self) -> int:
        """Bits of an element."""
        return 8 << self.log_bytes

    @property
    def lanes(self) -> int:
        """Beats of an element."""
        return 1 << self.log_lanes

    @property
    def lane_bits(self) -> int:
        """Bits of an element that one beat carries."""
        return self.bits >> self.log_lanes


def check_buffers(config: VTAConfig, bus_bits: int) -> None:
    """Refuse buffers that cannot be made.

    Raises
    ------
    ConfigError
        If an element takes too many beats, or the micro-op buffer is smaller than a bus word.
    """
    for memory in MemoryType:
        lanes = Elements(config, memory, bus_bits).lanes
        if lanes > MOST_LANES:
            what = f"a {memory.name.lower()} element of {lanes:,} bus words"
            raise ConfigError(what, where=config.name, allowed=f"up to {MOST_LANES}")
    uops = Elements(config, MemoryType.UOP, bus_bits)
    if uops.log_depth < uops.log_per_word:
        what = f"a buffer of {1 << uops.log_depth} micro-ops on a bus of {bus_bits} bits"
        raise ConfigError(what, where=config.name, allowed=f"{1 << uops.log_per_word} and up")


class WritePort(data.StructLayout):
    """One bus word, or one element of zeros, on its way into a buffer.

    Members
    -------
    valid, memory, zero
        Whether there is one; for which of the loader's buffers; whether it is a whole element of zeros.
    address, lane
        Element, and which part of it the word is.
    first, end
        Micro-ops: which of the word's go in, the first one to `address`. Narrow elements: `first` is the one.
    word
        The bus word.
    """

    def __init__(self, bus_bits: int) -> None:
        super().__init__(
            {
                "valid": 1,
                "memory": 1,
                "zero": 1,
                "address": ADDRESS_BITS,
                "lane": 10,
                "first": 2,
                "end": 3,
                "word": bus_bits,
            }
        )


class Buffer(wiring.Component):
    """Elements in lanes as wide as the bus; one read and one write a cycle, each lane written by itself.

    Attributes
    ----------
    enable : In(lanes)
        Lanes to write.
    write_address, write_element : In
        Where and what.
    read_address : In
        Element to read.
    element : Out
        What stood there, a cycle later.
    """

    def __init__(self, elements: Elements, log_depth: int | None = None) -> None:
        self.elements = elements
        self.log_depth = elements.log_depth if log_depth is None else log_depth
        super().__init__(
            {
                "enable": In(elements.lanes),
                "write_address": In(self.log_depth),
                "write_element": In(elements.bits),
                "read_address": In(self.log_depth),
                "element": Out(elements.bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        width = self.elements.lane_bits
        for lane in range(self.elements.lanes):
            memory = Memory(shape=width, depth=1 << self.log_depth, init=[])
            m.submodules[f"lane{lane}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.enable[lane]),
                write.addr.eq(self.write_address),
                write.data.eq(self.write_element.word_select(lane, width)),
                read.addr.eq(self.read_address),
                self.element.word_select(lane, width).eq(read.data),
            ]
        return m


def loaded_lanes(elements: Elements, port: Any, which: int) -> Value:
    """Return the lanes of a buffer that a loader writes in this cycle."""
    mine = port.valid & (port.memory == which)
    one = Const(1, elements.lanes) << port.lane[: elements.log_lanes]
    lanes = Mux(port.zero, (1 << elements.lanes) - 1, one[: elements.lanes])
    return mine.replicate(elements.lanes) & lanes


def loaded_element(m: Module, elements: Elements, port: Any) -> Value:
    """Return the element that a loader writes: the word in every lane, or zeros."""
    words = 1 << elements.log_per_word
    part = Array(port.word.word_select(index, elements.lane_bits) for index in range(words))
    word = Signal(elements.lane_bits)
    m.d.comb += word.eq(Mux(port.zero, 0, part[port.first] if words > 1 else port.word))
    return Cat(*[word] * elements.lanes)


class MicroOpBuffer(wiring.Component):
    """Micro-ops in banks, so that all those of a bus word are written at once, whatever their alignment.

    Attributes
    ----------
    port : In(WritePort)
        From the loader; `which` says which of its buffers this is.
    read_address : In
        Micro-op to read.
    uop : Out(32)
        It, a cycle later.
    """

    def __init__(self, elements: Elements, which: int) -> None:
        self.elements, self.which = elements, which
        super().__init__(
            {
                "port": In(WritePort(elements.bus_bits)),
                "read_address": In(elements.log_depth),
                "uop": Out(elements.bits),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        log_banks, bits, port = self.elements.log_per_word, self.elements.bits, self.port
        banks = 1 << log_banks
        words = Array(port.word.word_select(index, bits) for index in range(banks))
        found = []
        for bank in range(banks):
            memory = Memory(shape=bits, depth=1 << (self.elements.log_depth - log_banks), init=[])
            m.submodules[f"bank{bank}"] = memory
            write, read = memory.write_port(), memory.read_port()
            # the micro-op of the word that belongs to this bank, and how far behind the first it stands
            position, behind = Signal(log_banks, name=f"position{bank}"), Signal(log_banks, name=f"behind{bank}")
            m.d.comb += [
                behind.eq(bank - port.address),
                position.eq(behind + port.first),
                write.en.eq(
                    port.valid
                    & (port.memory == self.which)
                    & (position >= port.first[:log_banks])
                    & (position < port.end)
                ),
                write.addr.eq((port.address + behind) >> log_banks),
                write.data.eq(words[position]),
                read.addr.eq(self.read_address >> log_banks),
            ]
            found.append(read.data)
        chosen = Signal(log_banks)
        m.d.sync += chosen.eq(self.read_address)
        m.d.comb += self.uop.eq(Array(found)[chosen])
        return m
