"""The instruction decoder: fields, unit and faults of one instruction, all from `isa.table`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import Any

from amaranth import Cat, Module, Mux, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import BitField
from mpi_vta.isa.codec import layout as placed_fields
from mpi_vta.isa.codec import uop_layout as placed_uop_fields
from mpi_vta.isa.table import FORMAT_OF, MAX_SHIFT, WORD_BITS, AluOpcode, Format, MemoryType, Opcode, Unit, unit_of

INSTRUCTION_BITS = 2 * WORD_BITS


class InstructionFault(IntEnum):
    """Why the core refuses an instruction; 0 is none. The rules are those of `simulator.rules`."""

    NONE = 0
    OPCODE = 1
    SHIFT = 2
    WGT_PADS = 3
    STORE_PADS = 4
    UOP_ROWS = 5
    STORE_MEMORY = 6
    LOAD_MEMORY = 7
    ALU_OPCODE = 8
    EMPTY_MOVE = 9
    EMPTY_LOOP = 10
    TOKEN_FLAG = 11


def _view(fields: Sequence[BitField], bits: int) -> data.FlexibleLayout:
    placed = {
        field.name: data.Field((signed if field.signed else unsigned)(field.width), field.lsb) for field in fields
    }
    return data.FlexibleLayout(bits, placed)


@cache
def instruction_layout(form: Format, config: VTAConfig) -> data.FlexibleLayout:
    """Return an instruction format as 128 bits with named fields."""
    return _view(placed_fields(form, config), INSTRUCTION_BITS)


@cache
def uop_layout(config: VTAConfig) -> data.FlexibleLayout:
    """Return a micro-op as 32 bits with the fields dst, src and wgt."""
    return _view(placed_uop_fields(config), 8 * config.uop_bytes)


def is_nop(move: Any) -> Value:
    """Return whether an instruction, seen as a LOAD, is a move of nothing, which only carries tokens."""
    sizes = Cat(move.x_size, move.y_size, move.y_pad_0, move.y_pad_1, move.x_pad_0, move.x_pad_1)
    return ((move.opcode == Opcode.LOAD) | (move.opcode == Opcode.STORE)) & ~sizes.any()


class Decoder(wiring.Component):
    """One instruction's unit, whether it only carries tokens, and what is wrong with it; combinational.

    Attributes
    ----------
    insn : In(128)
        The instruction.
    unit : Out(2)
        `isa.table.Unit` that executes it.
    nop : Out(1)
        A move of nothing, which only carries tokens.
    error : Out(4)
        `InstructionFault`, the first rule that the instruction breaks.
    """

    def __init__(self, config: VTAConfig) -> None:
        self.config = config
        super().__init__({"insn": In(INSTRUCTION_BITS), "unit": Out(2), "nop": Out(1), "error": Out(4)})

    def fields(self, opcode: Opcode) -> Any:
        """Return the instruction as its format's fields."""
        return instruction_layout(FORMAT_OF[opcode], self.config)(self.insn)

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        move, loops, alu = self.fields(Opcode.LOAD), self.fields(Opcode.GEMM), self.fields(Opcode.ALU)
        with m.Switch(Cat(move.opcode, move.memory_type)):
            for unit in (Unit.LOAD, Unit.STORE):
                with m.Case(*_patterns(move, unit)):
                    m.d.comb += self.unit.eq(unit)
            with m.Default():
                m.d.comb += self.unit.eq(Unit.COMPUTE)
        pads = Cat(move.y_pad_0, move.y_pad_1, move.x_pad_0, move.x_pad_1).any()
        no_x, no_y = ~move.x_size.any(), ~move.y_size.any()
        m.d.comb += self.nop.eq(is_nop(move))
        for reason, broken in self._rules(move, loops, alu, pads, no_x | no_y):
            with m.If(broken):
                m.d.comb += self.error.eq(reason)
        return m

    def _rules(
        self, move: Any, loops: Any, alu: Any, pads: Value, empty: Value
    ) -> list[tuple[InstructionFault, Value]]:
        """Return what breaks each rule, the most telling last."""
        is_load, is_store = move.opcode == Opcode.LOAD, move.opcode == Opcode.STORE
        is_alu = move.opcode == Opcode.ALU
        is_loop = is_alu | (move.opcode == Opcode.GEMM)
        no_trip = ~loops.iter_out.any() | ~loops.iter_in.any() | (loops.uop_end <= loops.uop_bgn)
        shift = is_alu & (alu.alu_opcode == AluOpcode.SHR) & alu.use_imm
        beyond = (alu.imm > MAX_SHIFT) | (alu.imm < -MAX_SHIFT)
        stray = Mux(
            self.unit == Unit.LOAD,
            move.pop_prev | move.push_prev,
            (self.unit == Unit.STORE) & (move.pop_next | move.push_next),
        )
        kind = move.memory_type
        return [
            (InstructionFault.TOKEN_FLAG, stray),
            (InstructionFault.EMPTY_LOOP, is_loop & no_trip),
            (InstructionFault.EMPTY_MOVE, (is_load | is_store) & ~self.nop & empty),
            (InstructionFault.ALU_OPCODE, is_alu & (alu.alu_opcode > max(AluOpcode))),
            (InstructionFault.LOAD_MEMORY, is_load & ~self.nop & (kind >= MemoryType.OUT)),
            (InstructionFault.STORE_MEMORY, is_store & ~self.nop & (kind != MemoryType.OUT)),
            (
                InstructionFault.UOP_ROWS,
                is_load & (kind == MemoryType.UOP) & (pads | (~self.nop & (move.y_size != 1))),
            ),
            (InstructionFault.STORE_PADS, is_store & pads),
            (InstructionFault.WGT_PADS, is_load & (kind == MemoryType.WGT) & pads),
            (InstructionFault.SHIFT, shift & beyond),
            (InstructionFault.OPCODE, move.opcode > max(Opcode)),
        ]


def _patterns(move: Any, unit: Unit) -> list[int]:
    """Return the values of opcode and memory type that a unit executes."""
    low, high = len(move.opcode), len(move.memory_type)
    return [
        kind << low | opcode for opcode in range(1 << low) for kind in range(1 << high) if unit_of(opcode, kind) == unit
    ]
