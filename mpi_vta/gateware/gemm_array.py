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
from amaranth.lib import wiring
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
        sums: dict[tuple[int, int], Value] = {}
        digits: dict[int, Digits] = {}
        for row in range(config.batch):
            for out in range(0, config.block, 2):
                packed = min(left, config.block)
                left -= packed
                terms = [], []  # type: tuple[list[Value], list[Value]]
                for tap in range(config.block):
                    x = _element(inp, row * config.block + tap)
                    pair = [_element(wgt, (out + half) * config.block + tap) for half in (0, 1)]
                    if tap < packed:
                        # every constant is odd, or tools move its zero bits out of the slice; together they add 0
                        bias = 1 - packed if tap == 0 else 1
                        low, high = packed_products(m, x, pair[0], pair[1], bias)
                    else:
                        index = row * config.block + tap
                        if index not in digits:
                            digits[index] = weight_digits(m, x)
                        low, high = (lut_product(m, digits[index], w) for w in pair)
                    terms[0].append(low)
                    terms[1].append(high)
                for half in (0, 1):
                    sums[row, out + half] = adder_tree(m, terms[half])
        lanes = [sums[row, out] for row in range(config.batch) for out in range(config.block)]
        m.d.comb += self.sums.eq(Cat(*(_extended(lane, SUM_BITS) for lane in lanes)))
        return m


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


def _element(word: Signal, index: int) -> Value:
    return word.word_select(index, INT8_BITS).as_signed()


def _extended(value: Value, bits: int) -> Value:
    return Cat(value, value[-1].replicate(bits - len(value)))


def packed_products(m: Module, x: Value, w0: Value, w1: Value, bias: int) -> tuple[Value, Value]:
    """Return ``w0 * x + bias`` and ``w1 * x``, two cycles after the operands, from one slice."""
    a = Cat(w0[:-1], ~w0[-1], Const(0, INT8_BITS), w1).as_signed()
    product, biased = Signal(signed(2 * PRODUCT_BITS)), Signal(signed(2 * PRODUCT_BITS))
    constant = Signal(PRODUCT_BITS)
    m.d.sync += [
        constant.eq((1 << (PRODUCT_BITS - 1)) + bias - (x << (INT8_BITS - 1))),
        product.eq(a * x),
        biased.eq(product + constant),
    ]
    low = Cat(biased[: PRODUCT_BITS - 1], ~biased[PRODUCT_BITS - 1]).as_signed()
    return low, biased[PRODUCT_BITS:].as_signed()


Digits = tuple[Array[Value], Array[Value]]


def weight_digits(m: Module, x: Value) -> Digits:
    """Return 0..3 times x, and x times 0, 1, -2, -1: by the value of two bits of a weight, and of its two top bits.

    Made once per input, used by all of its outputs.
    """
    triple, minus = Signal(signed(INT8_BITS + 2)), Signal(signed(INT8_BITS + 1))
    m.d.comb += [triple.eq((x << 1) + x), minus.eq(-x)]
    return Array([Const(0), x, x << 1, triple]), Array([Const(0), x, minus << 1, minus])


def lut_product(m: Module, digits: Digits, w: Value) -> Value:
    """Return ``w * x`` two cycles after the operands, without a DSP slice: four digits of two bits."""
    below, top = digits
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
