"""The VTA instruction set: the only description of formats, fields and opcodes.

Layout, encoder, decoder, assembler, documentation and test strategies are derived from these tables.
Names keep VTA's spelling. Fields are listed from the least significant bit; a field marked
``new_word`` starts at bit 64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

WORD_BITS = 64

UOP_BITS = 32
TRIP_COUNT_BITS = 14
SRAM_BASE_BITS = 16
DRAM_BASE_BITS = 32
# bits of memory_type and of alu_opcode by HW_VER; every field above them sits a bit lower in the older one
ISA_VERSIONS: Mapping[str, int] = {"0.0.1": 2, "0.0.2": 3}


class Build(Protocol):
    """What the widths of fields depend on: the ISA version and the depths of the buffers, as base-2 logarithms."""

    def __hash__(self) -> int:
        """Builds that are equal have one layout."""

    @property
    def hw_ver(self) -> str:
        """One of `ISA_VERSIONS`."""

    @property
    def log_uop_depth(self) -> int:
        """Of the micro-op buffer, U."""

    @property
    def log_inp_depth(self) -> int:
        """Of the input buffer, I."""

    @property
    def log_wgt_depth(self) -> int:
        """Of the weight buffer, W."""

    @property
    def log_acc_depth(self) -> int:
        """Of the accumulator, A."""


class Opcode(IntEnum):
    """Operation of an instruction."""

    LOAD = 0
    STORE = 1
    GEMM = 2
    FINISH = 3
    ALU = 4


class MemoryType(IntEnum):
    """On-chip buffer that a LOAD or STORE moves."""

    UOP = 0
    WGT = 1
    INP = 2
    ACC = 3
    OUT = 4


class AluOpcode(IntEnum):
    """Operation of the tensor ALU that all builds share."""

    MIN = 0
    MAX = 1
    ADD = 2
    SHR = 3


MAX_SHIFT = 15
"""Bits that SHR shifts at most in the portable subset: an immediate either way, a register to the right."""


class Unit(IntEnum):
    """Concurrent unit that executes an instruction."""

    LOAD = 0
    COMPUTE = 1
    STORE = 2


Width = Callable[[Build], int]


def _fixed(bits: int) -> Width:
    return lambda build: bits


_TRIPS = _fixed(TRIP_COUNT_BITS)


def _uop(build: Build) -> int:
    return build.log_uop_depth


def _uop_end(build: Build) -> int:
    return build.log_uop_depth + 1


def _acc(build: Build) -> int:
    return build.log_acc_depth


def _inp(build: Build) -> int:
    return build.log_inp_depth


def _wgt(build: Build) -> int:
    return build.log_wgt_depth


def _uop_src(build: Build) -> int:
    return max(build.log_acc_depth, build.log_inp_depth)


def _code(build: Build) -> int:
    return ISA_VERSIONS[build.hw_ver]


@dataclass(frozen=True)
class Field:
    """One field of a format: name, width in bits for a configuration, meaning; a flag is one bit, on or off."""

    name: str
    width: Width
    doc: str
    signed: bool = False
    new_word: bool = False
    names: type[IntEnum] | None = None
    flag: bool = False


@dataclass(frozen=True)
class Format:
    """An instruction format: the opcodes that use it and its fields from bit 0."""

    name: str
    opcodes: tuple[Opcode, ...]
    fields: tuple[Field, ...]
    doc: str


_COMMON = (
    Field("opcode", _fixed(3), "operation", names=Opcode),
    Field("pop_prev", _fixed(1), "wait for a token of the previous unit", flag=True),
    Field("pop_next", _fixed(1), "wait for a token of the next unit", flag=True),
    Field("push_prev", _fixed(1), "give a token to the previous unit", flag=True),
    Field("push_next", _fixed(1), "give a token to the next unit", flag=True),
)

_LOOPS = (
    Field("reset", _fixed(1), "GEMM: set the accumulator to 0 instead of multiplying", flag=True),
    Field("uop_bgn", _uop, "first micro-op"),
    Field("uop_end", _uop_end, "one past the last micro-op"),
    Field("iter_out", _TRIPS, "trip count of the outer loop"),
    Field("iter_in", _TRIPS, "trip count of the inner loop"),
)

FORMATS: tuple[Format, ...] = (
    Format(
        "MEMORY",
        (Opcode.LOAD, Opcode.STORE),
        (
            *_COMMON,
            Field("memory_type", _code, "buffer", names=MemoryType),
            Field("sram_base", _fixed(SRAM_BASE_BITS), "first element in the buffer"),
            Field("dram_base", _fixed(DRAM_BASE_BITS), "first element in DRAM, in units of the element's size"),
            Field("y_size", _fixed(16), "rows", new_word=True),
            Field("x_size", _fixed(16), "elements per row"),
            Field("x_stride", _fixed(16), "elements from row to row in DRAM"),
            Field("y_pad_0", _fixed(4), "zero rows above"),
            Field("y_pad_1", _fixed(4), "zero rows below"),
            Field("x_pad_0", _fixed(4), "zero elements left of each row"),
            Field("x_pad_1", _fixed(4), "zero elements right of each row"),
        ),
        "two-dimensional move between DRAM and a buffer, with zero padding on loads",
    ),
    Format(
        "GEMM",
        (Opcode.GEMM,),
        (
            *_COMMON,
            *_LOOPS,
            Field("dst_factor_out", _acc, "step of dst per outer iteration", new_word=True),
            Field("dst_factor_in", _acc, "step of dst per inner iteration"),
            Field("src_factor_out", _inp, "step of src per outer iteration"),
            Field("src_factor_in", _inp, "step of src per inner iteration"),
            Field("wgt_factor_out", _wgt, "step of wgt per outer iteration"),
            Field("wgt_factor_in", _wgt, "step of wgt per inner iteration"),
        ),
        "acc[dst] += inp[src] . wgt[wgt]^T over two loops and a micro-op range, int32 wrap-around",
    ),
    Format(
        "ALU",
        (Opcode.ALU,),
        (
            *_COMMON,
            *_LOOPS,
            Field("dst_factor_out", _acc, "step of dst per outer iteration", new_word=True),
            Field("dst_factor_in", _acc, "step of dst per inner iteration"),
            Field("src_factor_out", _acc, "step of src per outer iteration"),
            Field("src_factor_in", _acc, "step of src per inner iteration"),
            Field("alu_opcode", _code, "operation of the tensor ALU", names=AluOpcode),
            Field("use_imm", _fixed(1), "take the immediate instead of acc[src]", flag=True),
            Field("imm", _fixed(16), "immediate operand", signed=True),
        ),
        "acc[dst] = op(acc[dst], imm or acc[src]) over two loops and a micro-op range",
    ),
    Format("FINISH", (Opcode.FINISH,), _COMMON, "end of the program"),
)

UOP_FIELDS: tuple[Field, ...] = (
    Field("dst", _acc, "accumulator element"),
    Field("src", _uop_src, "inp element (GEMM) or accumulator element (ALU)"),
    Field("wgt", _wgt, "wgt element (GEMM)"),
)

FORMAT_OF: Mapping[Opcode, Format] = {opcode: form for form in FORMATS for opcode in form.opcodes}


def word_bits(form: Format, build: Build) -> tuple[int, int]:
    """Return how many bits of its first and of its second word an instruction format needs."""
    words = [0, 0]
    second = False
    for entry in form.fields:
        second = second or entry.new_word
        words[second] += entry.width(build)
    return words[0], words[1]


def uop_bits(build: Build) -> int:
    """Return how many bits a micro-op needs."""
    return sum(entry.width(build) for entry in UOP_FIELDS)


def unit_of(opcode: int, memory_type: int) -> Unit:
    """Return the unit that executes an instruction.

    Loads of uop and acc run in the compute unit, those of inp and wgt in the load unit.
    """
    if opcode == Opcode.STORE:
        return Unit.STORE
    if opcode == Opcode.LOAD and memory_type in (MemoryType.INP, MemoryType.WGT):
        return Unit.LOAD
    return Unit.COMPUTE
