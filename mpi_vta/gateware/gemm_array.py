"""The GEMM core's multipliers and adders: every product of two int8 elements in one cycle, two of them in a DSP slice.

A DSP48E1 (25 x 18 bits) or DSP48E2 (27 x 18) computes ``A * B + C``. Two weights `w1`, `w0` that meet the same input
`x` share one::

    A = w1 * 2^16 + (w0 + 128)     a concatenation: the sign bit of w0 is inverted
    B = x
    C = 2^15 - 128 * x             takes the 128 * x back, and keeps the lower 16 bits from going below 0
    P = w1 * x * 2^16 + (w0 * x + 2^15)

so that the upper half of P is one product and the lower half, its top bit inverted, the other: exact for all 2^24
triples, no borrow, no logic beside the slice but one subtraction per input.
"""

from __future__ import annotations

from typing import Any

from amaranth import Array, Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from mpi_vta.errors import ConfigError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.multipliers import Multipliers, packed_multipliers, product_pairs

INT8_BITS = 8
PRODUCT_BITS = 16
SUM_BITS = 32
DIGIT_BITS = 2
SMALLEST_BLOCK = 4
"""Two registered levels of the adder tree need two levels."""


class GemmArray(wiring.Component):
    """``sums[b][o] = sum over i of inp[b][i] * wgt[o][i]``, a new one every cycle.

    Parameters
    ----------
    config : VTAConfig
        The build; int8 inputs and weights.
    multipliers : Multipliers, optional
        How the products are made (default: all of them in DSP slices, two in one).

    Attributes
    ----------
    inp : In(8 * batch * block)
        ``[batch][block_in]``, the first element in the lowest bits.
    wgt : In(8 * block * block)
        ``[block_out][block_in]``.
    sums : Out(32 * batch * block)
        ``[batch][block_out]``, `LATENCY` cycles later.

    Raises
    ------
    ConfigError
        If the block is too small, or the multipliers are not those of this build.
    """

    LATENCY = 5
    """Cycles: operands, product, product with its constant, half of the adder tree, the other half."""

    def __init__(self, config: VTAConfig, multipliers: Multipliers | None = None) -> None:
        self.config = config
        self.multipliers = multipliers or packed_multipliers(config)
        check_array(config, self.multipliers)
        super().__init__(
            {
                "inp": In(INT8_BITS * config.batch * config.block),
                "wgt": In(INT8_BITS * config.block * config.block),
                "sums": Out(SUM_BITS * config.batch * config.block),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m, config = Module(), self.config
        inp, wgt = Signal.like(self.inp), Signal.like(self.wgt)
        m.d.sync += [inp.eq(self.inp), wgt.eq(self.wgt)]
        left = self.multipliers.packed
        sums: list[Value] = []
        digits: dict[int, Digits] = {}
        constants: dict[tuple[int, int], Signal] = {}
        for row in range(config.batch):
            for out in range(0, config.block, 2):
                pair = OutputPair(config, min(left, config.block))
                left -= pair.packed
                m.submodules[f"pair{row * config.block // 2 + out // 2}"] = pair
                width = INT8_BITS * config.block
                m.d.comb += [
                    pair.inp.eq(inp.word_select(row, width)),
                    pair.wgt.eq(wgt.word_select(out // 2, 2 * width)),
                ]
                for tap in range(config.block):
                    index = row * config.block + tap
                    x = _element(inp, index)
                    if tap < pair.packed:
                        bias = packed_bias(pair.packed, tap)
                        if (index, bias) not in constants:
                            constants[index, bias] = packed_constant(m, x, bias)
                        m.d.comb += pair.constants[tap].eq(constants[index, bias])
                    else:
                        if index not in digits:
                            digits[index] = weight_digits(m, x)
                        m.d.comb += pair.digits[tap - pair.packed].eq(digits[index])
                sums += [pair.sums[half] for half in (0, 1)]
        m.d.comb += self.sums.eq(Cat(*(_extended(lane, SUM_BITS) for lane in sums)))
        return m


class OutputPair(wiring.Component):
    """Two sums of products of one row of inputs, each with weights of its own; what all pairs share comes from outside.

    Parameters
    ----------
    config : VTAConfig
        The build.
    packed : int
        Of these, the first ones whose two products a DSP slice makes.

    Attributes
    ----------
    inp : In(8 * block)
        Inputs of one row, registered.
    wgt : In(16 * block)
        Weights of the first sum, then of the second.
    constants : In
        `packed_constant` of each of the first `packed` inputs.
    digits : In
        `weight_digits` of each of the others.
    sums : Out
        Both sums.
    """

    def __init__(self, config: VTAConfig, packed: int) -> None:
        self.block, self.packed = config.block, packed
        block = config.block
        super().__init__(
            {
                "inp": In(INT8_BITS * block),
                "wgt": In(2 * INT8_BITS * block),
                "constants": In(data.ArrayLayout(PRODUCT_BITS, packed)),
                "digits": In(data.ArrayLayout(Digits(), block - packed)),
                "sums": Out(data.ArrayLayout(signed(sum_bits(config)), 2)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        """Return the logic."""
        m = Module()
        terms: tuple[list[Value], list[Value]] = [], []
        for tap in range(self.block):
            x = _element(self.inp, tap)
            weights = [_element(self.wgt, half * self.block + tap) for half in (0, 1)]
            if tap < self.packed:
                products = packed_products(m, x, weights[0], weights[1], self.constants[tap])
            else:
                digits = self.digits[tap - self.packed]
                products = lut_product(m, x, digits, weights[0]), lut_product(m, x, digits, weights[1])
            for half in (0, 1):
                terms[half].append(products[half])
        for half in (0, 1):
            m.d.comb += self.sums[half].eq(adder_tree(m, terms[half]))
        return m


def sum_bits(config: VTAConfig) -> int:
    """Return the bits of a sum of as many products as a block has inputs."""
    return PRODUCT_BITS + config.log_block


def check_array(config: VTAConfig, multipliers: Multipliers) -> None:
    """Refuse a GEMM core that cannot be made.

    Raises
    ------
    ConfigError
        If the block is too small, or the multipliers are not those of this build.
    """
    if config.block < SMALLEST_BLOCK:
        raise ConfigError(f"a GEMM core of block {config.block}", where=config.name, allowed=f"{SMALLEST_BLOCK} and up")
    if multipliers.pairs != product_pairs(config):
        raise ConfigError(
            f"{multipliers.pairs} pairs of multipliers", where=config.name, allowed=str(product_pairs(config))
        )


def _element(word: Value, index: int) -> Value:
    return word.word_select(index, INT8_BITS).as_signed()


def _extended(value: Value, bits: int) -> Value:
    return Cat(value, value[-1].replicate(bits - len(value)))


def packed_bias(packed: int, tap: int) -> int:
    """Return what is added to the first product of a slice; over all slices of a sum it is 0.

    Every constant is odd, or tools move its zero bits out of the slice.
    """
    return 1 - packed if tap == 0 else 1


def packed_constant(m: Module, x: Value, bias: int) -> Signal:
    """Return the slice's constant for an input, a cycle later."""
    constant = Signal(PRODUCT_BITS)
    m.d.sync += constant.eq((1 << (PRODUCT_BITS - 1)) + bias - (x << (INT8_BITS - 1)))
    return constant


def packed_products(m: Module, x: Value, w0: Value, w1: Value, constant: Value) -> tuple[Value, Value]:
    """Return ``w0 * x + bias`` and ``w1 * x``, two cycles after the operands, from one slice."""
    a = Cat(w0[:-1], ~w0[-1], Const(0, INT8_BITS), w1).as_signed()
    product, biased = Signal(signed(2 * PRODUCT_BITS)), Signal(signed(2 * PRODUCT_BITS))
    m.d.sync += [product.eq(a * x), biased.eq(product + constant)]
    low = Cat(biased[: PRODUCT_BITS - 1], ~biased[PRODUCT_BITS - 1]).as_signed()
    return low, biased[PRODUCT_BITS:].as_signed()


class Digits(data.StructLayout):
    """What digits of weights need of an input: 3 times it, and its negative."""

    def __init__(self) -> None:
        super().__init__({"triple": signed(INT8_BITS + 2), "minus": signed(INT8_BITS + 1)})


def weight_digits(m: Module, x: Value) -> Any:
    """Return an input's `Digits`, made once and used by all of its outputs."""
    digits = Signal(Digits())
    m.d.comb += [digits.triple.eq((x << 1) + x), digits.minus.eq(-x)]
    return digits


def lut_product(m: Module, x: Value, digits: Any, w: Value) -> Value:
    """Return ``w * x`` two cycles after the operands, without a DSP slice: four digits of two bits."""
    below = Array([Const(0), x, x << 1, digits.triple])
    top = Array([Const(0), x, digits.minus << 1, digits.minus])
    halves = []
    for lower in (0, INT8_BITS // 2):
        first, second = (w[lower + shift : lower + shift + DIGIT_BITS] for shift in (0, DIGIT_BITS))
        is_top = lower + 2 * DIGIT_BITS == INT8_BITS
        parts = [Signal(signed(INT8_BITS + 2)) for _ in range(2)]
        m.d.comb += [parts[0].eq(below[first]), parts[1].eq((top if is_top else below)[second])]
        half = Signal(signed(INT8_BITS + 5))
        m.d.sync += half.eq(parts[0] + (parts[1] << DIGIT_BITS))
        halves.append(half)
    product = Signal(signed(PRODUCT_BITS))
    m.d.sync += product.eq(halves[0] + (halves[1] << INT8_BITS // 2))
    return product


def adder_tree(m: Module, terms: list[Value]) -> Value:
    """Return the sum of a power of two of terms, registered half way up and at the top."""
    levels = len(terms).bit_length() - 1
    level = 0
    while len(terms) > 1:
        level += 1
        paired = [terms[index] + terms[index + 1] for index in range(0, len(terms), 2)]
        domain = m.d.sync if level in (levels // 2, levels) else m.d.comb
        terms = [Signal(value.shape()) for value in paired]
        domain += [term.eq(value) for term, value in zip(terms, paired, strict=True)]
    return terms[0]
