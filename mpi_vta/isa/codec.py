"""Bit layout, encoder and decoder of instructions and micro-ops, derived from `isa.table`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import IsaError
from mpi_vta.isa.table import (
    DRAM_BASE_BITS,
    FORMAT_OF,
    FORMATS,
    UOP_FIELDS,
    WORD_BITS,
    Build,
    Field,
    Format,
    MemoryType,
    Opcode,
    Unit,
    unit_of,
)


@dataclass(frozen=True)
class BitField:
    """A field placed: least significant bit (of 128, or of 32 in a micro-op) and width in bits."""

    name: str
    lsb: int
    width: int
    signed: bool

    @property
    def low(self) -> int:
        """Smallest value."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value."""
        return (1 << (self.width - self.signed)) - 1


def _place(fields: Sequence[Field], config: Build) -> tuple[BitField, ...]:
    placed, lsb = [], 0
    for entry in fields:
        lsb = WORD_BITS if entry.new_word else lsb
        width = entry.width(config)
        placed.append(BitField(entry.name, lsb, width, entry.signed))
        lsb += width
    return tuple(placed)


@cache
def layout(form: Format, config: Build) -> tuple[BitField, ...]:
    """Return the placed fields of an instruction format under a configuration."""
    return _place(form.fields, config)


@cache
def uop_layout(config: Build) -> tuple[BitField, ...]:
    """Return the placed fields (dst, src, wgt) of a micro-op."""
    return _place(UOP_FIELDS, config)


@dataclass(frozen=True)
class Instruction:
    """One instruction: its opcode and the values of its format's other fields (missing ones are 0)."""

    opcode: Opcode
    fields: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        """Return a field's value."""
        return self.fields.get(name, 0)

    @property
    def unit(self) -> Unit:
        """The unit that executes it."""
        return unit_of(self.opcode, self["memory_type"])


def encode(instructions: Sequence[Instruction], config: Build) -> NDArray[np.uint64]:
    """Encode instructions.

    Returns
    -------
    ndarray of uint64, shape (n, 2)
        Low and high word of each instruction.

    Raises
    ------
    IsaError
        If a field is unknown to the format or its value does not fit.
    """
    words = np.zeros((len(instructions), 2), dtype=np.uint64)
    for index, instruction in enumerate(instructions):
        value = _encode_one(instruction, config, index)
        words[index, 0] = value & 0xFFFF_FFFF_FFFF_FFFF
        words[index, 1] = value >> WORD_BITS
    return words


def _encode_one(instruction: Instruction, config: Build, index: int) -> int:
    value, used = 0, 0
    for bits in layout(FORMAT_OF[instruction.opcode], config):
        if bits.name == "opcode":
            value |= int(instruction.opcode) << bits.lsb
            continue
        number = instruction.fields.get(bits.name)
        if number is None:
            continue
        used += 1
        if instruction.opcode == Opcode.STORE and bits.name == "memory_type" and number == MemoryType.OUT:
            number &= (1 << bits.width) - 1
        if not bits.low <= number <= bits.high:
            raise IsaError(
                f"{bits.name} is {number}",
                where=f"instruction {index} ({instruction.opcode.name})",
                allowed=f"{bits.low}..{bits.high}",
            )
        value |= (int(number) & ((1 << bits.width) - 1)) << bits.lsb
    if used != len(instruction.fields):
        known = [bits.name for bits in layout(FORMAT_OF[instruction.opcode], config)]
        unknown = sorted(set(instruction.fields) - set(known))
        raise IsaError(
            f"unknown field {', '.join(unknown)}",
            where=f"instruction {index} ({instruction.opcode.name})",
            allowed=", ".join(known[1:]),
        )
    return value


def decode(words: NDArray[np.uint64], config: Build) -> list[Instruction]:
    """Decode instruction words of shape (n, 2); bits outside the fields are ignored.

    Raises
    ------
    IsaError
        If an opcode is not one of LOAD, STORE, GEMM, FINISH, ALU.
    """
    columns = decode_columns(words, config)
    result = []
    for index, opcode in enumerate(columns["opcode"].tolist()):
        names = [bits.name for bits in layout(FORMAT_OF[Opcode(opcode)], config)[1:]]
        result.append(Instruction(Opcode(opcode), {name: int(columns[name][index]) for name in names}))
    return result


def decode_columns(words: NDArray[np.uint64], config: Build) -> dict[str, NDArray[np.int64]]:
    """Decode all instructions at once into one column per field.

    Returns
    -------
    dict of str to ndarray of int64, shape (n,)
        ``opcode``, ``unit`` and every field of every format; 0 where an instruction has no such field.
    """
    words = np.asarray(words, dtype=np.uint64).reshape(-1, 2)
    opcodes = (words[:, 0] & np.uint64(7)).astype(np.int64)
    unknown = np.flatnonzero(~np.isin(opcodes, [int(code) for code in Opcode]))
    if unknown.size:
        raise IsaError(
            f"opcode {opcodes[unknown[0]]}",
            where=f"instruction {unknown[0]}",
            allowed=", ".join(f"{code.name} {code.value}" for code in Opcode),
        )
    columns: dict[str, NDArray[np.int64]] = {}
    for form in FORMATS:
        rows = np.isin(opcodes, [int(code) for code in form.opcodes])
        for bits in layout(form, config):
            column = columns.setdefault(bits.name, np.zeros(len(words), dtype=np.int64))
            column[rows] = _extract(words[rows], bits)
    memory = columns["memory_type"]
    # OUT is 4: in the two bits of the older version a STORE, which moves nothing else, writes it as 0
    width = _field("memory_type", config).width
    memory[(opcodes == Opcode.STORE) & (memory == MemoryType.OUT & ((1 << width) - 1))] = MemoryType.OUT
    columns["unit"] = np.array(
        [unit_of(code, kind) for code, kind in zip(opcodes.tolist(), memory.tolist(), strict=True)],
        dtype=np.int64,
    )
    return columns


def _field(name: str, config: Build) -> BitField:
    return next(bits for bits in layout(FORMAT_OF[Opcode.LOAD], config) if bits.name == name)


def with_dram_base(
    words: NDArray[np.uint64], rows: NDArray[np.int64], bases: NDArray[np.int64], config: Build
) -> NDArray[np.uint64]:
    """Return instruction words of shape (n, 2) whose LOADs and STOREs at `rows` have new ``dram_base`` values.

    Raises
    ------
    IsaError
        If a base does not fit.
    """
    if bases.size and (int(bases.min()) < 0 or int(bases.max()) >> DRAM_BASE_BITS):
        raise IsaError("a dram_base leaves its field", allowed=f"0..{(1 << DRAM_BASE_BITS) - 1}")
    bits = _field("dram_base", config)
    mask = np.uint64(((1 << bits.width) - 1) << bits.lsb)
    changed = words.copy()
    changed[rows, 0] = (changed[rows, 0] & ~mask) | (bases.astype(np.uint64) << np.uint64(bits.lsb))
    return changed


def _extract(words: NDArray[np.uint64], bits: BitField) -> NDArray[np.int64]:
    word = words[:, bits.lsb // WORD_BITS]
    value = ((word >> np.uint64(bits.lsb % WORD_BITS)) & np.uint64((1 << bits.width) - 1)).astype(np.int64)
    if bits.signed:
        value = np.where(value >> (bits.width - 1), value - (1 << bits.width), value)
    return value


def encode_uops(dst: NDArray[Any], src: NDArray[Any], wgt: NDArray[Any], config: Build) -> NDArray[np.uint32]:
    """Encode micro-ops from index arrays of equal shape (n,)."""
    total = np.zeros(np.shape(dst), dtype=np.uint64)
    for bits, values in zip(uop_layout(config), (dst, src, wgt), strict=True):
        numbers = np.asarray(values, dtype=np.int64)
        if numbers.size and (numbers.min() < bits.low or numbers.max() > bits.high):
            bad = int(numbers.min() if numbers.min() < bits.low else numbers.max())
            raise IsaError(f"micro-op {bits.name} is {bad}", allowed=f"{bits.low}..{bits.high}")
        total |= numbers.astype(np.uint64) << np.uint64(bits.lsb)
    return total.astype(np.uint32)


def decode_uops(uops: NDArray[np.uint32], config: Build) -> tuple[NDArray[np.int64], ...]:
    """Decode micro-ops into (dst, src, wgt) index arrays."""
    wide = np.asarray(uops, dtype=np.uint64)
    return tuple(
        ((wide >> np.uint64(bits.lsb)) & np.uint64((1 << bits.width) - 1)).astype(np.int64)
        for bits in uop_layout(config)
    )
