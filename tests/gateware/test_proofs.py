"""Decoder, GEMM lane, tensor ALU and token queue proven against the table's and the reference's definition.

Pipelines without feedback are proven for every sequence of inputs: their outputs depend on no more cycles than
the solver unrolls. The token queue is proven for every sequence of a bounded length.
"""

from functools import reduce
from operator import and_, or_

import pytest
from amaranth import C, Cat, Mux, Signal, signed
from amaranth.lib.wiring import In
from gateware.proofs import Claim, delayed, prove

from mpi_vta.gateware.alu import Alu
from mpi_vta.gateware.decoder import Decoder
from mpi_vta.gateware.gemm_array import (
    GemmArray,
    adder_tree,
    lut_product,
    packed_constant,
    packed_products,
    weight_digits,
)
from mpi_vta.gateware.queues import TokenQueue
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.enumeration import config_of
from mpi_vta.hw.multipliers import multipliers_for
from mpi_vta.hw.paths import find
from mpi_vta.isa.codec import layout
from mpi_vta.isa.table import FORMAT_OF, MAX_SHIFT, AluOpcode, MemoryType, Opcode, Unit, unit_of

pytestmark = pytest.mark.rtl
PYNQ = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))
SMALL = config_of("pynq", 0, 2, 10, 8, 7, 7)


def any_of(conditions):
    return reduce(or_, conditions, C(0))


def fields_of(insn, opcode, config):
    """The fields at the codec's places, as unsigned values."""
    return {bits.name: insn[bits.lsb : bits.lsb + bits.width] for bits in layout(FORMAT_OF[opcode], config)}


def is_legal(insn, config):
    """Rules 1, 3, 4 and 10 and those of opcodes and token flags, as sentences about opcodes one by one."""
    move, gemm, alu = (fields_of(insn, opcode, config) for opcode in (Opcode.LOAD, Opcode.GEMM, Opcode.ALU))
    is_op = {opcode: insn[:3] == opcode for opcode in Opcode}
    kind, x, y = move["memory_type"], move["x_size"], move["y_size"]
    no_pads = reduce(and_, [move[name] == 0 for name in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")])
    nop = (x == 0) & (y == 0) & no_pads
    some = (x != 0) & (y != 0)
    loads = {
        MemoryType.UOP: no_pads & (y == 1),
        MemoryType.WGT: no_pads,
        MemoryType.INP: C(1),
        MemoryType.ACC: C(1),
    }
    load = nop | (some & any_of((kind == which) & rule for which, rule in loads.items()))
    store = no_pads & (nop | (some & (kind == MemoryType.OUT)))
    loops = (gemm["iter_out"] != 0) & (gemm["iter_in"] != 0) & (gemm["uop_bgn"] < gemm["uop_end"])
    shift = alu["imm"].as_signed()
    small = any_of(shift == amount for amount in range(-MAX_SHIFT, MAX_SHIFT + 1))
    is_shift = (alu["alu_opcode"] == AluOpcode.SHR) & alu["use_imm"]
    operation = any_of(alu["alu_opcode"] == opcode for opcode in AluOpcode)
    rules = {
        Opcode.LOAD: load & Mux(is_unit(insn, config, Unit.LOAD), ~(move["pop_prev"] | move["push_prev"]), 1),
        Opcode.STORE: store & ~(move["pop_next"] | move["push_next"]),
        Opcode.GEMM: loops,
        Opcode.ALU: loops & operation & (~is_shift | small),
        Opcode.FINISH: C(1),
    }
    return any_of(is_op[opcode] & rule for opcode, rule in rules.items())


def is_unit(insn, config, unit):
    kind = fields_of(insn, Opcode.LOAD, config)["memory_type"]
    pairs = [(code, memory) for code in Opcode for memory in range(8) if unit_of(code, memory) == unit]
    return any_of((insn[:3] == code) & (kind == memory) for code, memory in pairs)


@pytest.mark.parametrize("config", [PYNQ, SMALL], ids=lambda config: config.name)
def test_the_decoder_is_the_table(config, tmp_path):
    def build(claim, m):
        m.submodules.decoder = decoder = Decoder(config)
        m.d.comb += decoder.insn.eq(claim.insn)
        known = any_of(claim.insn[:3] == opcode for opcode in Opcode)
        units = reduce(and_, [(decoder.unit == unit) == is_unit(claim.insn, config, unit) for unit in Unit])
        return ((decoder.error == 0) == is_legal(claim.insn, config)) & (units | ~known)

    assert prove(Claim({"insn": In(128)}, build), tmp_path, [""]) == ""


# an input at a time, and such as have one bit: products with others, or with a variable, take this solver too long
INPUTS = (-128, -1, 0, 1, 2, 64)


@pytest.mark.parametrize("kind", ["packed", "luts"])
@pytest.mark.parametrize("x", INPUTS)
def test_two_products_are_exact_for_every_pair_of_weights(x, kind, tmp_path):
    def build(claim, m):
        held = Signal(signed(8))
        m.d.comb += held.eq(x)
        if kind == "packed":
            low, high = packed_products(m, held, claim.w0, claim.w1, packed_constant(m, held, bias=1))
        else:
            digits = weight_digits(m, held)
            low, high = (lut_product(m, held, digits, w) for w in (claim.w0, claim.w1))
        wanted = [delayed(m, (held * w).as_signed(), 2) for w in (claim.w0, claim.w1)]
        return (low == wanted[0] + (kind == "packed")) & (high == wanted[1])

    claim = Claim({name: In(signed(8)) for name in ("w0", "w1")}, build)
    assert prove(claim, tmp_path, ["-seq 3 -prove-skip 2 -set rst 0"]) == ""


def test_the_adder_tree_adds(tmp_path):
    ports = {f"term{index}": In(signed(16)) for index in range(4)}

    def build(claim, m):
        terms = [getattr(claim, name) for name in ports]
        return adder_tree(m, terms) == delayed(m, terms[0] + terms[1] + terms[2] + terms[3], 2)

    assert prove(Claim(ports, build), tmp_path, ["-seq 3 -prove-skip 2 -set rst 0"]) == ""


@pytest.mark.parametrize(("dsp", "tap"), [(8, 3), (0, 0), (0, 3)])
def test_a_gemm_lane_is_a_dot_product_with_one_input_for_all_weights(dsp, tap, tmp_path):
    inputs = [-128 if index == tap else 0 for index in range(4)]

    def build(claim, m):
        m.submodules.array = array = GemmArray(SMALL, multipliers_for(SMALL, dsp))
        m.d.comb += [array.inp.eq(Cat(*(C(value, signed(8)) for value in inputs))), array.wgt.eq(claim.wgt)]
        held = []
        for out in (0, 1):
            wgt = [claim.wgt.word_select(out * 4 + tap, 8).as_signed() for tap in range(4)]
            wanted = Signal(signed(32), name=f"wanted{out}")
            m.d.comb += wanted.eq(sum(w * value for w, value in zip(wgt, inputs, strict=True)))
            held.append(array.sums.word_select(out, 32) == delayed(m, wanted, array.LATENCY).as_unsigned())
        return reduce(and_, held)

    latency = GemmArray.LATENCY
    goal = f"-seq {latency + 1} -prove-skip {latency} -set rst 0"
    assert prove(Claim({"wgt": In(128)}, build), tmp_path, [goal]) == ""


@pytest.mark.parametrize("opcode", list(AluOpcode))
def test_an_alu_lane_is_the_references_arithmetic(opcode, tmp_path):
    def build(claim, m):
        m.submodules.alu = alu = Alu(SMALL)
        m.d.comb += [getattr(alu, name).eq(getattr(claim, name)) for name in ("use_imm", "imm", "dst", "src")]
        m.d.comb += alu.opcode.eq(opcode)
        dst, src = claim.dst.as_signed(), claim.src.as_signed()
        operand = Mux(claim.use_imm, claim.imm, src)
        wanted = {
            AluOpcode.MIN: Mux(dst < operand, dst, operand),
            AluOpcode.MAX: Mux(dst > operand, dst, operand),
            AluOpcode.ADD: dst + operand,
            AluOpcode.SHR: Mux(operand < 0, dst << (-operand)[:4], dst >> operand[:4]),
        }[opcode]
        in_range = (operand <= MAX_SHIFT) & (operand >= Mux(claim.use_imm, -MAX_SHIFT, 0))
        portable = in_range if opcode == AluOpcode.SHR else C(1)
        return (alu.result == wanted[:32]) | ~portable

    ports = {"use_imm": In(1), "imm": In(signed(16)), "dst": In(32), "src": In(32)}
    assert prove(Claim(ports, build), tmp_path, [""]) == ""


@pytest.mark.parametrize(("most", "cycles"), [(3, 9), (255, 6)])
def test_a_token_queue_counts(most, cycles, tmp_path):
    def build(claim, m):
        m.submodules.queue = queue = TokenQueue(most)
        given, taken = Signal(16), Signal(16)
        held = given - taken
        pop = claim.pop & (held > 0)
        lost = claim.push & ~pop & (held == most)
        m.d.comb += [queue.push.eq(claim.push), queue.pop.eq(pop)]
        m.d.sync += [given.eq(given + (claim.push & ~lost)), taken.eq(taken + pop)]
        return (queue.ready == (held > 0)) & (queue.overflow == lost)

    claim = Claim({"push": In(1), "pop": In(1)}, build)
    assert prove(claim, tmp_path, [f"-tempinduct-baseonly -maxsteps {cycles} -set-init-zero -set rst 0"]) == ""


def test_a_wrong_claim_is_not_proven(tmp_path):
    def build(claim, m):
        m.submodules.alu = alu = Alu(SMALL)
        m.d.comb += [alu.opcode.eq(AluOpcode.ADD), alu.dst.eq(claim.dst), alu.src.eq(1)]
        # false for one value of 2^32
        return alu.result > claim.dst

    assert "proof did fail" in prove(Claim({"dst": In(32)}, build), tmp_path, [""])
