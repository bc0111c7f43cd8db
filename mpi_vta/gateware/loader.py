"""A LOAD: bursts asked for, words written as they come, zero padding in the cycles between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.gateware.buffers import ADDRESS_BITS, Elements, WritePort
from mpi_vta.gateware.bursts import BYTE_ADDRESS_BITS, MoveBursts
from mpi_vta.gateware.decoder import INSTRUCTION_BITS, instruction_layout
from mpi_vta.gateware.reader import Request
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import FORMAT_OF, MemoryType, Opcode

_COUNT_BITS = 21  # elements of padding: 30 rows of 2^16


class Loader(wiring.Component):
    """Moves one instruction's rows from memory into one of two buffers.

    Parameters
    ----------
    config : VTAConfig
        The build.
    kinds : sequence of Elements
        The buffers.

    Attributes
    ----------
    start, insn : In
        Begin with this LOAD; only while not `busy`.
    base : In(32)
        Byte address added to that of the instruction taken.
    busy, done : Out(1)
        Between start and end; one cycle at the end, the first in which nothing is written any more.
    request, grant, beat, word
        The reader's port.
    port : Out(WritePort)
        What goes into the buffers.
    """

    def __init__(self, config: VTAConfig, kinds: Sequence[Elements]) -> None:
        self.config, self.kinds = config, tuple(kinds)
        bus_bits = self.kinds[0].bus_bits
        super().__init__(
            {
                "start": In(1),
                "insn": In(INSTRUCTION_BITS),
                "base": In(BYTE_ADDRESS_BITS),
                "memory": Out(3),
                "busy": Out(1),
                "done": Out(1),
                "request": Out(Request()),
                "grant": In(1),
                "beat": In(1),
                "word": In(bus_bits),
                "port": Out(WritePort(bus_bits)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        m.submodules.bursts = bursts = MoveBursts(self.config, self.kinds)
        word = Signal(INSTRUCTION_BITS)
        move = instruction_layout(FORMAT_OF[Opcode.LOAD], self.config)(word)
        data_done, pads_done, prepare, moving = Signal(), Signal(), Signal(), Signal()
        data_ends, pads_end = Signal(), Signal()
        m.d.comb += [
            self.memory.eq(move.memory_type),
            bursts.insn.eq(word),
            bursts.base.eq(self.base),
            bursts.prepare.eq(prepare),
            bursts.take.eq(self.grant),
            self.request.valid.eq(bursts.active),
            self.request.address.eq(bursts.address),
            self.request.length.eq(bursts.length),
            self.request.size.eq(bursts.size),
        ]
        with m.FSM():
            with m.State("idle"), m.If(self.start):
                m.d.sync += word.eq(self.insn)
                m.next = "prepare"
            with m.State("prepare"):
                m.d.comb += [prepare.eq(1), self.busy.eq(1)]
                m.next = "move"
            with m.State("move"):
                m.d.comb += [moving.eq(1), self.busy.eq(1)]
                with m.If((data_done | data_ends) & (pads_done | pads_end)):
                    m.next = "done"
            with m.State("done"):
                m.d.comb += [self.done.eq(1), self.busy.eq(1)]
                m.next = "idle"
        second = Signal()
        sides, row, above, below = Signal(5), Signal(17), Signal(_COUNT_BITS), Signal(_COUNT_BITS)
        m.d.comb += [
            second.eq(move.memory_type == self.kinds[1].memory),
            sides.eq(move.x_pad_0 + move.x_pad_1),
            row.eq(move.x_size + sides),
            above.eq(_times(row, move.y_pad_0) + move.x_pad_0),
            below.eq(_times(row, move.y_pad_1) + move.x_pad_1),
            self.port.memory.eq(second),
            self.port.word.eq(self.word),
        ]
        self._data(m, move, second, prepare, (above, sides), (data_done, data_ends))
        self._pads(m, move, bursts.area, prepare, moving, (above, below, sides), (pads_done, pads_end))
        return m

    def _data(
        self,
        m: Module,
        move: Any,
        second: Value,
        prepare: Signal,
        pads: tuple[Signal, Signal],
        ends: tuple[Signal, Signal],
    ) -> None:
        """Write every word of the data to its place."""
        above, sides = pads
        data_done, data_ends = ends
        address, lane = Signal(ADDRESS_BITS), Signal(10)
        columns, rows = Signal(17), Signal(16)
        offset, row_offset = Signal(2), Signal(2)  # of the element in its bus word, where it is narrower

        def of_kind(value: Any) -> Value:
            return Mux(second, value(self.kinds[1]), value(self.kinds[0]))

        is_uop, begin, uops = Signal(), Signal(2), Signal(3)
        last_lane, ends_element, ends_row = Signal(10), Signal(), Signal()
        m.d.comb += [
            is_uop.eq(of_kind(lambda kind: kind.memory == MemoryType.UOP)),
            begin.eq(of_kind(lambda kind: self._offset(kind, move.dram_base))),
            last_lane.eq(of_kind(lambda kind: kind.lanes - 1)),
        ]
        # elements that this beat completes: several of the densely packed micro-ops
        per_word = max((1 << kind.log_per_word for kind in self.kinds if kind.memory == MemoryType.UOP), default=1)
        space = Signal(3)
        m.d.comb += [
            space.eq(per_word - offset),
            uops.eq(Mux(columns < space, columns, space)),
            ends_element.eq(is_uop | (lane == last_lane)),
            ends_row.eq(ends_element & (columns == Mux(is_uop, uops, 1))),
            data_ends.eq(self.beat & ends_row & (rows == 1)),
        ]
        with m.If(self.beat):
            m.d.comb += [
                self.port.valid.eq(1),
                self.port.address.eq(address),
                self.port.lane.eq(lane),
                self.port.first.eq(offset),
                self.port.end.eq(offset + uops),
            ]
        with m.If(prepare):
            m.d.sync += [
                address.eq(move.sram_base + above),
                lane.eq(0),
                columns.eq(move.x_size),
                rows.eq(move.y_size),
                offset.eq(begin),
                row_offset.eq(begin),
                data_done.eq(0),
            ]
        with m.Elif(self.beat):
            with m.If(ends_row):
                next_offset = of_kind(lambda kind: self._offset(kind, row_offset + move.x_stride))
                m.d.sync += [
                    lane.eq(0),
                    columns.eq(move.x_size),
                    rows.eq(rows - 1),
                    address.eq(address + 1 + sides),
                    offset.eq(next_offset),
                    row_offset.eq(next_offset),
                    data_done.eq(rows == 1),
                ]
            with m.Elif(ends_element):
                step = Mux(is_uop, uops, 1)
                m.d.sync += [
                    lane.eq(0),
                    address.eq(address + step),
                    columns.eq(columns - step),
                    offset.eq(Mux(is_uop, 0, of_kind(lambda kind: self._offset(kind, offset + 1)))),
                ]
            with m.Else():
                m.d.sync += lane.eq(lane + 1)

    def _offset(self, kind: Elements, element: Value) -> Value:
        """Return which of the elements in a bus word one is."""
        return element[: kind.log_per_word]

    def _pads(
        self,
        m: Module,
        move: Any,
        area: Value,
        prepare: Signal,
        moving: Signal,
        counts: tuple[Signal, Signal, Signal],
        ends: tuple[Signal, Signal],
    ) -> None:
        """Write zeros in cycles without data: those above, between the rows, and below are runs; each takes a step."""
        above, below, sides = counts
        pads_done, pads_end = ends
        address, left, gaps = Signal(ADDRESS_BITS), Signal(_COUNT_BITS), Signal(16)
        step, after, has_gaps, skip = Signal(), Signal(ADDRESS_BITS), Signal(), Signal(ADDRESS_BITS)
        at_bottom = Signal()
        m.d.comb += [
            has_gaps.eq(gaps != 0),
            # data between two runs: a row, or all of them
            skip.eq(Mux(sides.any(), move.x_size, area)),
            step.eq(moving & ~pads_done & ~self.beat),
            after.eq(address + left.any()),
            pads_end.eq(step & (left <= 1) & at_bottom),
        ]
        with m.If(step):
            m.d.comb += [
                self.port.valid.eq(left.any()),
                self.port.zero.eq(1),
                self.port.address.eq(address),
            ]
        with m.If(prepare):
            m.d.sync += [
                address.eq(move.sram_base),
                left.eq(above),
                gaps.eq(Mux(sides.any(), move.y_size - 1, 0)),
                at_bottom.eq(0),
                pads_done.eq(~(above.any() | below.any())),
            ]
        with m.Elif(step):
            with m.If(left > 1):
                m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
            with m.Elif(at_bottom):
                m.d.sync += pads_done.eq(1)
            with m.Else():
                m.d.sync += [
                    address.eq(after + skip),
                    left.eq(Mux(has_gaps, sides, below)),
                    gaps.eq(gaps - has_gaps),
                    at_bottom.eq(~has_gaps),
                ]


def _times(value: Value, factor: Value) -> Value:
    """Return a product with a small factor out of adders, which leaves the multipliers to the GEMM core."""
    total: Value = value & factor[0].replicate(len(value))
    for bit in range(1, len(factor)):
        total = total + ((value & factor[bit].replicate(len(value))) << bit)
    return total
