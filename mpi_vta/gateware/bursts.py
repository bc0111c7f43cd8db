"""A LOAD's or STORE's rows cut into bursts: at multiples of the longest, which no 4 KiB border lies between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.gateware.buffers import Elements
from mpi_vta.gateware.decoder import INSTRUCTION_BITS, instruction_layout
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import FORMAT_OF, MemoryType, Opcode

BYTE_ADDRESS_BITS = 32
LENGTH_BITS = 9
AREA_BITS = 17
"""Of a move's elements, at most those of a buffer."""
_ROW_BITS = 26  # beats of a run: 2^16 elements of up to 512 beats


class MoveBursts(wiring.Component):
    """The bursts of one move, one after another. Rows that follow each other without a gap are one run.

    Parameters
    ----------
    config : VTAConfig
        The build.
    kinds : sequence of Elements
        Buffers that the unit moves, at most two.

    Attributes
    ----------
    prepare : In(1)
        Begin with the move on `insn` and `base`; its first burst is there in the next cycle.
    insn : In(128)
        The instruction.
    base : In(32)
        Byte address that is added.
    active : Out(1)
        Whether a burst is left.
    address, length, size : Out
        First byte, beats (1..256) and base-2 logarithm of a beat's bytes of the burst.
    take : In(1)
        It has been taken; the next one is there in the next cycle.
    last : Out(1)
        It is the last one.
    area : Out(17)
        Elements of the whole move.
    """

    def __init__(self, config: VTAConfig, kinds: Sequence[Elements]) -> None:
        self.config, self.kinds = config, tuple(kinds)
        super().__init__(
            {
                "prepare": In(1),
                "insn": In(INSTRUCTION_BITS),
                "base": In(BYTE_ADDRESS_BITS),
                "active": Out(1),
                "address": Out(BYTE_ADDRESS_BITS),
                "length": Out(LENGTH_BITS),
                "size": Out(3),
                "take": In(1),
                "last": Out(1),
                "area": Out(AREA_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        move = instruction_layout(FORMAT_OF[Opcode.LOAD], self.config)(self.insn)
        longest = self.kinds[0].burst_beats
        rows, left, row_beats = Signal(16), Signal(_ROW_BITS), Signal(_ROW_BITS)
        stride, row, current = (Signal(BYTE_ADDRESS_BITS, name=name) for name in ("stride", "row", "current"))
        to_border, ends_row = Signal(LENGTH_BITS), Signal()

        def of_kind(value: Any) -> Value:
            first, *others = [value(kind) for kind in self.kinds]
            return Mux(move.memory_type == self.kinds[1].memory, others[0], first) if others else first

        begin, elements, together = Signal(BYTE_ADDRESS_BITS), Signal(17), Signal()
        m.d.comb += [
            begin.eq(self.base + of_kind(lambda kind: (move.dram_base << kind.log_bytes)[:BYTE_ADDRESS_BITS])),
            together.eq((move.x_stride == move.x_size) | (move.y_size == 1)),
            self.area.eq(_area(move.x_size, move.y_size)),
            elements.eq(Mux(together, self.area, move.x_size)),
        ]

        def run_beats(kind: Elements) -> Value:
            if kind.memory != MemoryType.UOP:
                return elements << kind.log_lanes
            offset = begin[kind.log_bytes : kind.log_beat_bytes]
            return (elements + offset + (1 << kind.log_per_word) - 1) >> kind.log_per_word

        beat_address = of_kind(lambda kind: begin >> kind.log_beat_bytes)
        m.d.comb += [
            self.size.eq(of_kind(lambda kind: kind.log_beat_bytes)),
            self.address.eq(of_kind(lambda kind: current << kind.log_beat_bytes)),
            to_border.eq(longest - current[: longest.bit_length() - 1]),
            ends_row.eq(left <= to_border),
            self.length.eq(Mux(ends_row, left, to_border)),
            self.last.eq(ends_row & (rows == 1)),
        ]
        with m.If(self.prepare):
            m.d.sync += [
                self.active.eq(1),
                rows.eq(Mux(together, 1, move.y_size)),
                left.eq(of_kind(run_beats)),
                row_beats.eq(of_kind(run_beats)),
                stride.eq(of_kind(lambda kind: move.x_stride << kind.log_lanes)),
                row.eq(beat_address),
                current.eq(beat_address),
            ]
        with m.Elif(self.take):
            with m.If(ends_row):
                m.d.sync += [
                    row.eq(row + stride),
                    current.eq(row + stride),
                    left.eq(row_beats),
                    rows.eq(rows - 1),
                    self.active.eq(~self.last),
                ]
            with m.Else():
                m.d.sync += [current.eq(current + to_border), left.eq(left - to_border)]
        return m


def _area(columns: Value, rows: Value) -> Value:
    """Return a product out of adders, in a tree, which leaves the multipliers to the GEMM core."""
    terms: list[Value] = [
        ((columns & rows[bit].replicate(len(columns))) << bit)[:AREA_BITS] for bit in range(len(rows))
    ]
    while len(terms) > 1:
        terms = [(first + second)[:AREA_BITS] for first, second in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]
