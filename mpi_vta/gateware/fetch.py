"""Fetch: instructions read ahead in short bursts, checked, and handed to the queue of the unit that executes them."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.gateware.bursts import BYTE_ADDRESS_BITS
from mpi_vta.gateware.compute import continues
from mpi_vta.gateware.decoder import INSTRUCTION_BITS, Decoder
from mpi_vta.gateware.queues import InstructionQueue
from mpi_vta.gateware.reader import Request
from mpi_vta.hw.config import VTAConfig

BURST_INSTRUCTIONS = 32
"""Longest burst, if the port allows it."""
READ_AHEAD = 2 * BURST_INSTRUCTIONS
_LOG_INSTRUCTION_BYTES = 4


class Fetch(wiring.Component):
    """Reads `count` instructions from `address` on, and gives each to a unit once the next one has been seen.

    Attributes
    ----------
    start, address, count : In
        Begin; first byte, a multiple of 16, and instructions.
    busy : Out(1)
        Whether an instruction is left to hand out.
    request, grant, beat, word
        The reader's port.
    insn, insn_continues : Out
        What is handed out, and whether the next instruction belongs to its pass (`compute.continues`).
    give, room : Out(3), In(3)
        Into which unit's queue it goes in this cycle; which of them have room.
    fault, fault_index : Out
        Why the instruction at which fetch has stopped is illegal, 0 if it has not; its index.
    """

    def __init__(self, config: VTAConfig, bus_bits: int, burst_beats: int) -> None:
        self.config, self.bus_bits = config, bus_bits
        self.burst = min(BURST_INSTRUCTIONS, burst_beats * bus_bits // INSTRUCTION_BITS)
        super().__init__(
            {
                "start": In(1),
                "address": In(BYTE_ADDRESS_BITS),
                "count": In(32),
                "busy": Out(1),
                "request": Out(Request()),
                "grant": In(1),
                "beat": In(1),
                "word": In(bus_bits),
                "insn": Out(INSTRUCTION_BITS),
                "insn_continues": Out(1),
                "give": Out(3),
                "room": In(3),
                "fault": Out(4),
                "fault_index": Out(32),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        m.submodules.buffer = buffer = InstructionQueue(INSTRUCTION_BITS, READ_AHEAD)
        m.submodules.decoder = decoder = Decoder(self.config)
        self._ask(m, buffer)
        self._assemble(m, buffer)

        held, held_valid, left, index = Signal(INSTRUCTION_BITS), Signal(), Signal(32), Signal(32)
        is_last, take, gives = Signal(), Signal(), Signal()
        m.d.comb += [
            is_last.eq(left == 1),
            self.busy.eq(left != 0),
            decoder.insn.eq(held),
            self.insn.eq(held),
            self.insn_continues.eq(~is_last & continues(self.config, held, buffer.head)),
            gives.eq(held_valid & (is_last | buffer.valid) & (self.room >> decoder.unit)[0] & ~decoder.error.any()),
            self.give.eq(gives << decoder.unit),
            take.eq(buffer.valid & (~held_valid | gives)),
            buffer.pop.eq(take),
        ]
        with m.If(take):
            m.d.sync += [held.eq(buffer.head), held_valid.eq(1)]
        with m.Elif(gives):
            m.d.sync += held_valid.eq(0)
        with m.If(self.start):
            m.d.sync += [left.eq(self.count), index.eq(0), self.fault.eq(0)]
        with m.Elif(gives):
            m.d.sync += [left.eq(left - 1), index.eq(index + 1)]
        with m.If(held_valid & decoder.error.any()):
            m.d.sync += [self.fault.eq(decoder.error), self.fault_index.eq(index)]
        return m

    def _ask(self, m: Module, buffer: InstructionQueue) -> None:
        """Ask for bursts that end at multiples of their length while there is room for a whole one."""
        place, left = Signal(BYTE_ADDRESS_BITS - _LOG_INSTRUCTION_BYTES), Signal(32)
        ahead, to_border, size = (
            Signal(range(READ_AHEAD + 1)),
            Signal(range(self.burst + 1)),
            Signal(range(self.burst + 1)),
        )
        log_bus = (self.bus_bits // 8).bit_length() - 1
        m.d.comb += [
            to_border.eq(self.burst - place[: self.burst.bit_length() - 1]),
            size.eq(Mux(left < to_border, left, to_border)),
            self.request.valid.eq((left != 0) & (ahead <= READ_AHEAD - self.burst)),
            self.request.address.eq(place << _LOG_INSTRUCTION_BYTES),
            self.request.length.eq(size << (_LOG_INSTRUCTION_BYTES - log_bus)),
            self.request.size.eq(log_bus),
        ]
        m.d.sync += ahead.eq(ahead + Mux(self.grant, size, 0) - buffer.pop)
        with m.If(self.start):
            m.d.sync += [place.eq(self.address >> _LOG_INSTRUCTION_BYTES), left.eq(self.count)]
        with m.Elif(self.grant):
            m.d.sync += [place.eq(place + size), left.eq(left - size)]

    def _assemble(self, m: Module, buffer: InstructionQueue) -> None:
        """Put instructions together from beats."""
        if self.bus_bits >= INSTRUCTION_BITS:
            m.d.comb += [buffer.push.eq(self.beat), buffer.item.eq(self.word)]
            return
        low, is_high = Signal(self.bus_bits), Signal()
        m.d.comb += [buffer.push.eq(self.beat & is_high), buffer.item.eq(Cat(low, self.word))]
        with m.If(self.beat):
            m.d.sync += [is_high.eq(~is_high), low.eq(self.word)]
