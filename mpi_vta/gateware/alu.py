"""One lane of the tensor ALU.

An operation is an entry of `OPERATIONS`; `isa.table.AluOpcode` says which there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import FORMAT_OF, MAX_SHIFT, AluOpcode, Opcode

LANE_BITS = 32


@dataclass(frozen=True)
class Lane:
    """What the operations of one lane are made of.

    Attributes
    ----------
    dst, operand : Value
        ``acc[dst]``, and ``acc[src]`` or the immediate, 32 bits each.
    total : Value
        ``dst + operand`` for ADD, ``dst - operand`` for the others: one adder.
    is_less : Value
        Whether dst is below the operand; not for ADD.
    shifted : Value
        dst shifted right by the operand, left if it is negative.
    """

    dst: Value
    operand: Value
    total: Value
    is_less: Value
    shifted: Value


OPERATIONS: Mapping[AluOpcode, Callable[[Lane], Value]] = {
    AluOpcode.MIN: lambda lane: Mux(lane.is_less, lane.dst, lane.operand),
    AluOpcode.MAX: lambda lane: Mux(lane.is_less, lane.operand, lane.dst),
    AluOpcode.ADD: lambda lane: lane.total,
    AluOpcode.SHR: lambda lane: lane.shifted,
}


class Alu(wiring.Component):
    """``result = op(dst, src or imm)`` on one lane; combinational.

    Attributes
    ----------
    opcode : In(3)
        `isa.table.AluOpcode`.
    use_imm, imm : In(1), In(signed 16)
        Take the immediate instead of `src`.
    dst, src : In(32)
        Lanes of accumulator elements.
    result : Out(32)
        That of the new element; int32, wrapping round. Shifts are by -15..15, the portable subset's amounts.
    """

    def __init__(self, config: VTAConfig) -> None:
        widths = {field.name: field.width(config) for field in FORMAT_OF[Opcode.ALU].fields}
        super().__init__(
            {
                "opcode": In(widths["alu_opcode"]),
                "use_imm": In(widths["use_imm"]),
                "imm": In(signed(widths["imm"])),
                "dst": In(LANE_BITS),
                "src": In(LANE_BITS),
                "result": Out(LANE_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        lane = self._lane(m)
        with m.Switch(self.opcode):
            for opcode, operation in OPERATIONS.items():
                with m.Case(opcode):
                    m.d.comb += self.result.eq(operation(lane))
        return m

    def _lane(self, m: Module) -> Lane:
        """Return the operands, and what the operations share."""
        dst, src = self.dst, self.src
        operand, total = Signal(signed(LANE_BITS)), Signal(LANE_BITS + 2)
        subtracts = self.opcode != AluOpcode.ADD
        m.d.comb += operand.eq(Mux(self.use_imm, self.imm, src.as_signed()))
        # one carry chain: the lowest bit makes the carry into a subtraction, the highest its sign
        second = operand.as_unsigned() ^ subtracts.replicate(LANE_BITS)
        m.d.comb += total.eq(Cat(Const(1, 1), dst, dst[-1]) + Cat(subtracts, second, second[-1]))
        return Lane(dst, operand, total[1:-1], total[-1], _shifted(m, dst, operand))


def _shifted(m: Module, dst: Value, operand: Value) -> Value:
    """Return dst shifted by -MAX_SHIFT..MAX_SHIFT: left by n is right by 16 - n of what stands 16 bits higher."""
    span = MAX_SHIFT + 1
    amount_bits = MAX_SHIFT.bit_length()
    wide = Signal(signed(LANE_BITS + span))
    shifted = Signal(LANE_BITS)
    below = Cat(Const(0, span), dst).as_signed()
    m.d.comb += [
        wide.eq(Mux(operand[-1], below, dst.as_signed())),
        shifted.eq(wide >> operand[:amount_bits]),
    ]
    return shifted
