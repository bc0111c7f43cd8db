"""What happens to one lane of an accumulator row: found, operated on, clipped twice, written."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.gateware.alu import LANE_BITS, Alu
from mpi_vta.gateware.gemm_array import sum_bits
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import FORMAT_OF, Opcode

CLIPS = 2
"""MIN and MAX instructions that a pass does on the way."""


class Clip(data.StructLayout):
    """A MIN or MAX with an immediate that a pass does on the way."""

    def __init__(self) -> None:
        super().__init__({"valid": 1, "is_max": 1, "imm": signed(16)})


class Lane(wiring.Component):
    """One lane of the accumulator's datapath; all lanes do the same.

    Attributes
    ----------
    even, odd, from_odd : In
        What the banks of the accumulator hold, and which of them is asked.
    passed : In(1)
        The row is the one that was written in the cycle before.
    sum : In
        The GEMM core's.
    opcode, use_imm, imm : In
        As those of `Alu`.
    is_gemm, reset : In(1)
        Add the sum instead; write 0.
    keeps : In(1)
        The row is the source of the next one's operation.
    clips : In
        What each of the two stages behind does.
    is_late : In(1)
        `element` is what comes out of these.
    element : Out(32)
        The new one.
    """

    def __init__(self, config: VTAConfig) -> None:
        self.config = config
        widths = {field.name: field.width(config) for field in FORMAT_OF[Opcode.ALU].fields}
        super().__init__(
            {
                "even": In(LANE_BITS),
                "odd": In(LANE_BITS),
                "from_odd": In(1),
                "passed": In(1),
                "sum": In(signed(sum_bits(config))),
                "opcode": In(widths["alu_opcode"]),
                "use_imm": In(widths["use_imm"]),
                "imm": In(signed(widths["imm"])),
                "is_gemm": In(1),
                "reset": In(1),
                "keeps": In(1),
                "clips": In(data.ArrayLayout(Clip(), CLIPS)),
                "is_late": In(1),
                "element": Out(LANE_BITS),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        found, source, result, newest = (Signal(LANE_BITS, name=n) for n in ("found", "source", "result", "newest"))
        m.submodules.alu = alu = Alu(self.config)
        m.d.comb += [
            found.eq(Mux(self.passed, newest, Mux(self.from_odd, self.odd, self.even))),
            alu.opcode.eq(self.opcode),
            alu.use_imm.eq(self.use_imm),
            alu.imm.eq(self.imm),
            alu.dst.eq(found),
            alu.src.eq(source),
            result.eq(Mux(self.is_gemm, Mux(self.reset, 0, found + self.sum), alu.result)),
        ]
        m.d.sync += newest.eq(self.element)
        with m.If(self.keeps):
            m.d.sync += source.eq(found)
        # the two stages of clips: only what is to be clipped goes on, all else is written at once
        clipped: Value = result
        for number in range(CLIPS):
            held = Signal(signed(LANE_BITS), name=f"held{number}")
            m.d.sync += held.eq(clipped)
            clipped = _clipped(held, self.clips[number])
        m.d.comb += self.element.eq(Mux(self.is_late, clipped, result))
        return m


def _clipped(value: Signal, clip: Any) -> Value:
    keeps = ~clip.valid | ((value < clip.imm) ^ clip.is_max)
    return Mux(keeps, value, clip.imm)[:LANE_BITS]
