"""The store unit: rows of the output buffer to memory, a beat a cycle, through a write master of its own."""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.gateware.buffers import ADDRESS_BITS, Elements
from mpi_vta.gateware.bursts import BYTE_ADDRESS_BITS, LENGTH_BITS, MoveBursts
from mpi_vta.gateware.decoder import INSTRUCTION_BITS, instruction_layout, is_nop
from mpi_vta.gateware.reader import CACHED, INCREMENTING
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import FORMAT_OF, MemoryType, Opcode

_MOST_UNANSWERED = 255


def write_channel(bus_bits: int) -> wiring.Signature:
    """Return the AXI4 write channels of a master."""
    return wiring.Signature(
        {
            "awaddr": Out(BYTE_ADDRESS_BITS),
            "awlen": Out(8),
            "awsize": Out(3),
            "awburst": Out(2),
            "awcache": Out(4),
            "awprot": Out(3),
            "awuser": Out(5),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(bus_bits),
            "wstrb": Out(bus_bits // 8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
        }
    )


class Store(wiring.Component):
    """Executes STORE instructions.

    Attributes
    ----------
    head, head_valid, pop
        The instruction queue.
    ready, pop_token, push_token
        Tokens from and to the compute unit; one is given when memory has answered every burst.
    base : In(32)
        Byte address that is added.
    out_address, out
        Read port of the output buffer.
    axi : Out
        `write_channel`.
    """

    def __init__(self, config: VTAConfig, bus_bits: int, burst_beats: int) -> None:
        self.config, self.bus_bits, self.burst_beats = config, bus_bits, burst_beats
        super().__init__(
            {
                "head": In(INSTRUCTION_BITS),
                "head_valid": In(1),
                "pop": Out(1),
                "ready": In(1),
                "pop_token": Out(1),
                "push_token": Out(1),
                "base": In(BYTE_ADDRESS_BITS),
                "out_address": Out(config.log_acc_depth),
                "out": In(8 * config.out_bytes),
                "axi": Out(write_channel(bus_bits)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m, config, axi = Module(), self.config, self.axi
        kind = Elements(config, MemoryType.OUT, self.bus_bits, self.burst_beats)
        m.submodules.bursts = bursts = MoveBursts(config, (kind,))
        form = instruction_layout(FORMAT_OF[Opcode.STORE], config)
        word = Signal(INSTRUCTION_BITS)
        head, move = form(self.head), form(word)
        streams, prepare, issued_all, unanswered = Signal(), Signal(), Signal(), Signal(8)
        m.d.comb += [
            bursts.insn.eq(word),
            bursts.base.eq(self.base),
            bursts.prepare.eq(prepare),
            axi.bready.eq(1),
            axi.awburst.eq(INCREMENTING),
            axi.awcache.eq(CACHED),
            axi.awuser.eq(1),
        ]
        with m.FSM():
            with m.State("idle"), m.If(self.head_valid & (~head.pop_prev | self.ready)):
                m.d.comb += [self.pop.eq(1), self.pop_token.eq(head.pop_prev)]
                m.d.sync += word.eq(self.head)
                m.next = "prepare"
                with m.If(is_nop(head)):
                    m.next = "done"
            with m.State("prepare"):
                m.d.comb += prepare.eq(1)
                m.next = "stream"
            with m.State("stream"):
                m.d.comb += streams.eq(1)
                with m.If(issued_all & (unanswered == 0)):
                    m.next = "done"
            with m.State("done"):
                m.d.comb += self.push_token.eq(move.push_prev)
                m.next = "idle"
        self._stream(m, kind, move, bursts, (streams, prepare, issued_all, unanswered))
        return m

    def _stream(
        self, m: Module, kind: Elements, move: Any, bursts: MoveBursts, state: tuple[Signal, Signal, Signal, Signal]
    ) -> None:
        """Issue one beat a cycle, a burst's address with its first; three stages, which stop together."""
        axi = self.axi
        streams, prepare, issued_all, unanswered = state
        left, address, lane, columns = Signal(LENGTH_BITS), Signal(ADDRESS_BITS), Signal(10), Signal(16)
        within, row_within = Signal(2), Signal(2)  # of a narrow element in its bus word
        moves, issues, opens, closes = Signal(), Signal(), Signal(), Signal()
        last_lane, ends_row = Signal(), Signal()
        m.d.comb += [
            moves.eq(~axi.wvalid | axi.wready),
            opens.eq(issues & (left == 0)),
            issues.eq(
                streams
                & moves
                & ((left != 0) | (bursts.active & (~axi.awvalid | axi.awready) & (unanswered != _MOST_UNANSWERED)))
            ),
            closes.eq(Mux(left == 0, bursts.length == 1, left == 1)),
            bursts.take.eq(opens),
            last_lane.eq(lane == kind.lanes - 1),
            ends_row.eq(last_lane & (columns == 1)),
            issued_all.eq(~bursts.active & (left == 0)),
        ]
        with m.If(axi.awready):
            m.d.sync += axi.awvalid.eq(0)
        with m.If(opens):
            m.d.sync += [
                axi.awvalid.eq(1),
                axi.awaddr.eq(bursts.address),
                axi.awlen.eq(bursts.length - 1),
                axi.awsize.eq(bursts.size),
                left.eq(bursts.length - 1),
            ]
        with m.Elif(issues):
            m.d.sync += left.eq(left - 1)
        m.d.sync += unanswered.eq(unanswered + opens - axi.bvalid)
        per_word = kind.log_per_word
        with m.If(prepare):
            begin = move.dram_base[:per_word]
            m.d.sync += [
                address.eq(move.sram_base),
                lane.eq(0),
                columns.eq(move.x_size),
                within.eq(begin),
                row_within.eq(begin),
            ]
        with m.Elif(issues):
            m.d.sync += lane.eq(Mux(last_lane, 0, lane + 1))
            with m.If(last_lane):
                next_row = (row_within + move.x_stride)[:per_word]
                m.d.sync += [
                    address.eq(address + 1),
                    columns.eq(Mux(ends_row, move.x_size, columns - 1)),
                    within.eq(Mux(ends_row, next_row, (within + 1)[:per_word])),
                ]
                with m.If(ends_row):
                    m.d.sync += row_within.eq(next_row)
        # the buffer answers in the second stage, the beat stands in the third
        second = Signal(1 + 1 + len(lane) + len(within))
        held, fresh, element = Signal(len(self.out)), Signal(), Signal(len(self.out))
        valid, last, beat_lane, beat_within = Signal(), Signal(), Signal.like(lane), Signal.like(within)
        m.d.comb += [
            Cat(valid, last, beat_lane, beat_within).eq(second),
            self.out_address.eq(address),
            element.eq(Mux(fresh, self.out, held)),
        ]
        m.d.sync += [fresh.eq(moves), held.eq(element)]
        width = kind.lane_bits
        words = self.bus_bits // width
        lanes = Array(element.word_select(index, width) for index in range(kind.lanes))
        with m.If(moves):
            m.d.sync += [
                second.eq(Cat(issues, closes, lane, within)),
                axi.wvalid.eq(valid),
                axi.wlast.eq(last),
                axi.wdata.eq(Cat(*[lanes[beat_lane]] * words)),
                axi.wstrb.eq(Const((1 << width // 8) - 1) << (beat_within * (width // 8))),
            ]
