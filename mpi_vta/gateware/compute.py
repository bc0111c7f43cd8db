"""The compute unit: GEMM and ALU instructions as passes over accumulator rows, loads of micro-ops and accumulators.

A pass sends one slot a cycle down a pipeline of fixed length: the micro-op is read, its indices are added up, the
operands go through the GEMM core, and at `OPERATE_STAGE` an accumulator row is read, operated on and written in one
step; a row that is read in the cycle in which it is written is passed on. So passes follow each other without a gap,
and the result is that of one micro-op after another, at any distance.

Two kinds of pass do more than one row operation a cycle. An immediate ALU instruction on a run of distinct rows takes
up to two MIN and MAX instructions on the same rows with it, in two stages of their own. A GEMM reset of consecutive
rows clears two of them a cycle: the accumulator has two banks, of the even and of the odd rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.gateware.accumulator import Accumulator
from mpi_vta.gateware.alu import LANE_BITS
from mpi_vta.gateware.buffers import Buffer, Elements, MicroOpBuffer
from mpi_vta.gateware.bursts import BYTE_ADDRESS_BITS
from mpi_vta.gateware.decoder import INSTRUCTION_BITS, instruction_layout, is_nop, uop_layout
from mpi_vta.gateware.gemm_array import GemmArray
from mpi_vta.gateware.lane import CLIPS, Clip, Lane
from mpi_vta.gateware.loader import Loader
from mpi_vta.gateware.reader import Request
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import FORMAT_OF, AluOpcode, MemoryType, Opcode

OPERAND_STAGE = 3
"""Stages from a slot's issue to its operands at the GEMM core: micro-op, indices, operands."""
OPERATE_STAGE = OPERAND_STAGE + GemmArray.LATENCY
"""The stage in which an accumulator row is operated on."""
LAST_STAGE = OPERATE_STAGE + 2
"""The stage in which the second of the clips is written, and tokens are given."""


def continues(config: VTAConfig, first: Value, second: Value) -> Value:
    """Return whether an ALU instruction can be done in the pass of the one right before it.

    The first works on distinct rows, gives no token, and the second is a MIN or MAX with an immediate on the same
    rows that waits for none.
    """
    form = instruction_layout(FORMAT_OF[Opcode.ALU], config)
    one, two = form(first), form(second)
    loops = [name for name, _ in form if name not in _OWN_FIELDS]
    same = Cat(*(one[name] == two[name] for name in loops)).all()
    distinct = (one.uop_end == one.uop_bgn + 1) & (one.iter_out == 1) & one.dst_factor_in.any()
    clip = (two.alu_opcode == AluOpcode.MIN) | (two.alu_opcode == AluOpcode.MAX)
    tokens = one.push_prev | one.push_next | two.pop_prev | two.pop_next
    both = (one.opcode == Opcode.ALU) & (two.opcode == Opcode.ALU) & one.use_imm
    return both & same & distinct & clip & ~tokens


_OWN_FIELDS = ("opcode", "pop_prev", "pop_next", "push_prev", "push_next", "alu_opcode", "imm")


class Compute(wiring.Component):
    """The compute unit with the micro-op, accumulator and output buffers.

    Parameters
    ----------
    config : VTAConfig
        The build.
    bus_bits, burst_beats : int
        Width of the bus, and its longest burst.
    array : GemmArray
        The multipliers and adders.

    Attributes
    ----------
    head, head_continues, head_valid, pop
        The instruction queue; `head_continues`: the next instruction belongs to this one's pass.
    load_ready, store_ready, pop_load, pop_store, push_load, push_store
        Tokens from and to the load and store units.
    finish : Out(1)
        FINISH has been executed.
    uop_base, acc_base : In(32)
        Byte addresses added to those of the loads.
    request, grant, beat, word
        The reader's port.
    inp_address, inp, wgt_address, wgt
        Read ports of the buffers that the load unit fills.
    out_address, out
        Read port of the output buffer.
    """

    def __init__(self, config: VTAConfig, bus_bits: int, burst_beats: int, array: GemmArray) -> None:
        self.config, self.bus_bits, self.burst_beats, self.array = config, bus_bits, burst_beats, array
        super().__init__(
            {
                "head": In(INSTRUCTION_BITS),
                "head_continues": In(1),
                "head_valid": In(1),
                "pop": Out(1),
                "load_ready": In(1),
                "store_ready": In(1),
                "pop_load": Out(1),
                "pop_store": Out(1),
                "push_load": Out(1),
                "push_store": Out(1),
                "finish": Out(1),
                "uop_base": In(BYTE_ADDRESS_BITS),
                "acc_base": In(BYTE_ADDRESS_BITS),
                "request": Out(Request()),
                "grant": In(1),
                "beat": In(1),
                "word": In(bus_bits),
                "inp_address": Out(config.log_inp_depth),
                "inp": In(8 * config.inp_bytes),
                "wgt_address": Out(config.log_wgt_depth),
                "wgt": In(8 * config.wgt_bytes),
                "out_address": In(config.log_acc_depth),
                "out": Out(8 * config.out_bytes),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m, config = Module(), self.config
        uop_kind = Elements(config, MemoryType.UOP, self.bus_bits, self.burst_beats)
        acc_kind = Elements(config, MemoryType.ACC, self.bus_bits, self.burst_beats)
        m.submodules.loader = loader = Loader(config, (uop_kind, acc_kind))
        m.submodules.uops = uops = MicroOpBuffer(uop_kind, 0)
        m.d.comb += [
            loader.base.eq(Mux(loader.memory == MemoryType.ACC, self.acc_base, self.uop_base)),
            loader.insn.eq(self.head),
            self.request.eq(loader.request),
            loader.grant.eq(self.grant),
            loader.beat.eq(self.beat),
            loader.word.eq(self.word),
            uops.port.eq(loader.port),
        ]
        slot = self._sequence(m, loader, uops)
        self._datapath(m, slot, uops, loader.port, acc_kind)
        return m

    # ------------------------------------------------------------------ sequencer

    def _slot_layout(self) -> data.StructLayout:
        config = self.config
        return data.StructLayout(
            {
                "valid": 1,
                "is_gemm": 1,
                "reset": 1,
                "pair": 1,  # this row and the next
                "is_source": 1,  # reads acc[src] for the slot behind
                "alu_opcode": 3,
                "use_imm": 1,
                "imm": signed(16),
                "clips": data.ArrayLayout(Clip(), CLIPS),
                "dst": config.log_acc_depth,
                "src": config.log_inp_depth,
                "wgt": config.log_wgt_depth,
            }
        )

    def _sequence(self, m: Module, loader: Loader, uops: MicroOpBuffer) -> Any:
        """Take instructions and issue slots; return this cycle's slot, its indices without those of the micro-op."""
        config = self.config
        gemm_form, alu_form = (instruction_layout(FORMAT_OF[kind], config) for kind in (Opcode.GEMM, Opcode.ALU))
        head, alu_head = gemm_form(self.head), alu_form(self.head)
        word = Signal(INSTRUCTION_BITS)
        gemm, alu = gemm_form(word), alu_form(word)
        is_gemm = gemm.opcode == Opcode.GEMM
        clips = Signal(data.ArrayLayout(Clip(), CLIPS))
        slot, marker = Signal(self._slot_layout()), Signal(_marker_layout())
        markers = [Signal(_marker_layout(), name=f"marker{stage}") for stage in range(1, LAST_STAGE + 1)]
        drained = ~Cat(*(stage.valid for stage in markers)).any()
        end = markers[-1]
        m.d.comb += [
            self.push_load.eq(end.valid & end.push_prev),
            self.push_store.eq(end.valid & end.push_next),
            self.finish.eq(end.valid & end.finish),
        ]
        m.d.sync += markers[0].eq(marker)
        m.d.sync += [later.eq(earlier) for earlier, later in pairwise(markers)]

        tokens = (~head.pop_prev | self.load_ready) & (~head.pop_next | self.store_ready)
        move = instruction_layout(FORMAT_OF[Opcode.LOAD], config)(self.head)
        is_load = (head.opcode == Opcode.LOAD) & ~is_nop(move)
        is_pass = (head.opcode == Opcode.GEMM) | (head.opcode == Opcode.ALU)
        is_acc = move.memory_type == MemoryType.ACC
        taken, issuing, last, fused = Signal(), Signal(), Signal(), Signal()

        def give(fields: Any) -> list[Any]:
            return [
                marker.valid.eq(1),
                marker.push_prev.eq(fields.push_prev),
                marker.push_next.eq(fields.push_next),
            ]

        m.d.comb += [
            self.pop.eq(taken),
            self.pop_load.eq(taken & head.pop_prev),
            self.pop_store.eq(taken & head.pop_next),
        ]
        with m.FSM():
            # an accumulator row must not be loaded while the pass before may still write it
            with m.State("idle"), m.If(self.head_valid & tokens & (~(is_load & is_acc) | drained)):
                m.d.comb += taken.eq(1)
                m.d.sync += [word.eq(self.head), clips.eq(0), fused.eq(0)]
                with m.If(is_load):
                    m.d.comb += loader.start.eq(1)
                    m.next = "load"
                with m.Elif(is_pass & self.head_continues):
                    m.next = "first clip"
                with m.Elif(is_pass):
                    m.next = "pass"
                with m.Else():
                    m.d.comb += [*give(head), marker.finish.eq(head.opcode == Opcode.FINISH)]
            for state, clip, more in (("first clip", clips[0], "second clip"), ("second clip", clips[1], "pass")):
                with m.State(state), m.If(self.head_valid):
                    m.d.comb += taken.eq(1)
                    m.d.sync += [
                        fused.eq(1),
                        clip.valid.eq(1),
                        clip.is_max.eq(alu_head.alu_opcode == AluOpcode.MAX),
                        clip.imm.eq(alu_head.imm),
                        alu.push_prev.eq(head.push_prev),
                        alu.push_next.eq(head.push_next),
                    ]
                    m.next = "pass"
                    if more != "pass":
                        with m.If(self.head_continues):
                            m.next = more
            with m.State("pass"):
                m.d.comb += issuing.eq(1)
                with m.If(last):
                    m.d.comb += give(gemm)
                    m.next = "idle"
                    with m.If(fused):
                        m.next = "gap"
            with m.State("gap"):
                # what the clips write comes two stages later than what is written without
                m.next = "idle"
            with m.State("load"), m.If(loader.done):
                m.d.comb += give(gemm)
                m.next = "idle"

        first, second = Signal(), Signal()
        is_register = ~is_gemm & ~alu.use_imm
        one_run = (gemm.uop_end == gemm.uop_bgn + 1) & (gemm.iter_out == 1)
        pairs = is_gemm & gemm.reset & one_run & (gemm.dst_factor_in == 1)
        m.d.comb += [
            slot.valid.eq(issuing),
            slot.is_gemm.eq(is_gemm),
            slot.reset.eq(is_gemm & gemm.reset),
            slot.alu_opcode.eq(alu.alu_opcode),
            slot.use_imm.eq(alu.use_imm),
            slot.imm.eq(alu.imm),
            slot.clips.eq(clips),
            slot.is_source.eq(is_register & ~second),
            first.eq(issuing & (~is_register | second)),
        ]
        m.d.sync += second.eq(issuing & is_register & ~second)
        self._loops(m, (gemm, alu, is_gemm), (taken, head), (first, pairs, last), slot, uops)
        return slot

    def _loops(
        self,
        m: Module,
        insn: tuple[Any, Any, Value],
        start: tuple[Value, Any],
        step: tuple[Any, ...],
        slot: Any,
        uops: Any,
    ) -> None:
        """Count micro-ops and iterations; a step is taken where a slot is the last of its micro-op."""
        config = self.config
        gemm, alu, is_gemm = insn
        taken, head = start
        advance, pairs, last = step
        uop, inner, outer = Signal(config.log_uop_depth + 1), Signal(14), Signal(14)
        ends_uops, ends_inner, by = Signal(), Signal(), Signal(2)
        m.d.comb += [
            by.eq(Mux(pairs, 2, 1)),
            ends_uops.eq(uop + 1 == gemm.uop_end),
            ends_inner.eq(inner + by >= gemm.iter_in),
            last.eq(advance & ends_uops & ends_inner & (outer + 1 == gemm.iter_out)),
            slot.pair.eq(pairs & (inner + 1 != gemm.iter_in)),
            uops.read_address.eq(uop),
        ]
        steps = {
            "dst": (gemm.dst_factor_out, gemm.dst_factor_in),
            "src": (
                Mux(is_gemm, gemm.src_factor_out, alu.src_factor_out),
                Mux(is_gemm, gemm.src_factor_in, alu.src_factor_in),
            ),
            "wgt": (gemm.wgt_factor_out, gemm.wgt_factor_in),
        }
        with m.If(taken):
            m.d.sync += [uop.eq(head.uop_bgn), inner.eq(0), outer.eq(0)]
        with m.Elif(advance):
            m.d.sync += uop.eq(Mux(ends_uops, gemm.uop_bgn, uop + 1))
            with m.If(ends_uops):
                m.d.sync += inner.eq(Mux(ends_inner, 0, inner + by))
                with m.If(ends_inner):
                    m.d.sync += outer.eq(outer + 1)
        for name, (step_out, step_in) in steps.items():
            field = slot[name]
            at_outer, at_inner = Signal(len(field), name=f"{name}_outer"), Signal(len(field), name=f"{name}_inner")
            m.d.comb += field.eq(at_inner)
            with m.If(taken):
                m.d.sync += [at_outer.eq(0), at_inner.eq(0)]
            with m.Elif(advance & ends_uops):
                with m.If(ends_inner):
                    m.d.sync += [at_outer.eq(at_outer + step_out), at_inner.eq(at_outer + step_out)]
                with m.Else():
                    m.d.sync += at_inner.eq(at_inner + (Mux(pairs, 2, step_in) if name == "dst" else step_in))

    # ------------------------------------------------------------------ datapath

    def _datapath(self, m: Module, slot: Any, uops: MicroOpBuffer, port: Any, kind: Elements) -> None:
        config = self.config
        stages = [slot]
        for stage in range(1, LAST_STAGE + 1):
            later = Signal(self._slot_layout(), name=f"stage{stage}")
            m.d.sync += later.eq(stages[-1])
            stages.append(later)
        uop = uop_layout(config)(uops.uop)
        indexed = stages[1]
        with_uop = stages[2]
        m.d.sync += [
            with_uop.dst.eq(uop.dst + indexed.dst),
            with_uop.src.eq(uop.src + indexed.src),
            with_uop.wgt.eq(uop.wgt + indexed.wgt),
        ]
        m.submodules.array = array = self.array
        m.d.comb += [
            self.inp_address.eq(with_uop.src),
            self.wgt_address.eq(with_uop.wgt),
            array.inp.eq(self.inp),
            array.wgt.eq(self.wgt),
        ]
        asks, works, late = stages[OPERATE_STAGE - 1], stages[OPERATE_STAGE], stages[OPERATE_STAGE + CLIPS]
        now, is_late = works.valid & ~works.is_source & ~works.clips[0].valid, late.valid & late.clips[0].valid
        row = Signal(config.log_acc_depth)
        m.d.comb += row.eq(Mux(is_late, late.dst, works.dst))
        lanes = self._lanes(m, works, stages[OPERATE_STAGE + 1 :], is_late)
        m.submodules.acc = acc = Accumulator(config, kind, 1)
        m.d.comb += [
            acc.ask.eq(Mux(asks.is_source, asks.src[: config.log_acc_depth], asks.dst)),
            acc.enable.eq(now | is_late),
            acc.row.eq(row),
            acc.pair.eq(works.pair & ~is_late),
            acc.element.eq(Cat(*(lane.element for lane in lanes))),
            acc.port.eq(port),
        ]
        for index, lane in enumerate(lanes):
            m.d.comb += [
                lane.even.eq(acc.even.word_select(index, LANE_BITS)),
                lane.odd.eq(acc.odd.word_select(index, LANE_BITS)),
                lane.from_odd.eq(acc.from_odd),
                lane.passed.eq(acc.passed),
            ]
        m.submodules.out = out = Buffer(Elements(config, MemoryType.OUT, 8 * config.out_bytes))
        m.d.comb += [
            out.enable.eq((now & ~(works.is_gemm & works.reset)) | is_late),
            out.write_address.eq(row),
            out.write_element.eq(Cat(*(lane.element[:8] for lane in lanes))),
            out.read_address.eq(self.out_address),
            self.out.eq(out.element),
        ]

    def _lanes(self, m: Module, works: Any, behind: Sequence[Any], is_late: Value) -> list[Lane]:
        """Return the lanes, which do what the slot in the stage of operations, and those in the stages behind, say."""
        lanes = []
        for index in range(self.config.batch * self.config.block):
            m.submodules[f"lane{index}"] = lane = Lane(self.config)
            lanes.append(lane)
            m.d.comb += [
                lane.sum.eq(self.array.sums.word_select(index, LANE_BITS)[: len(lane.sum)]),
                lane.opcode.eq(works.alu_opcode),
                lane.use_imm.eq(works.use_imm),
                lane.imm.eq(works.imm),
                lane.is_gemm.eq(works.is_gemm),
                lane.reset.eq(works.reset),
                lane.keeps.eq(works.valid & works.is_source),
                lane.is_late.eq(is_late),
                *(lane.clips[number].eq(stage.clips[number]) for number, stage in enumerate(behind)),
            ]
        return lanes


def _marker_layout() -> data.StructLayout:
    """Return what follows an instruction's last slot down the pipeline: the tokens that it gives."""
    return data.StructLayout({"valid": 1, "push_prev": 1, "push_next": 1, "finish": 1})
