"""Assembly text of a program, both ways; field and symbol names come from `isa.table`.

One instruction per line: the opcode, then its non-zero fields. A one-bit field is a bare name, any
other is ``name=value``, where enumerated values are written by name. ``#`` starts a comment::

    LOAD pop_next push_next memory_type=INP dram_base=65536 y_size=1 x_size=300 x_stride=300
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import IsaError
from mpi_vta.isa.codec import Instruction, decode, encode
from mpi_vta.isa.table import FORMAT_OF, FORMATS, Build, Opcode

_COMMENT = "#"
_FLAGS = frozenset(field.name for form in FORMATS for field in form.fields if field.flag)
_NAMES: dict[str, type[IntEnum]] = {
    field.name: field.names for form in FORMATS for field in form.fields if field.names is not None
}


def format_instruction(instruction: Instruction) -> str:
    """Return the assembly line of one instruction; fields that are 0 are left out."""
    words = [instruction.opcode.name]
    for field in FORMAT_OF[instruction.opcode].fields[1:]:
        value = instruction[field.name]
        if field.names is not None and (value or field.name in ("memory_type", "alu_opcode")):
            known = value in {int(member) for member in field.names}
            words.append(f"{field.name}={field.names(value).name if known else value}")
        elif value and field.name in _FLAGS:
            words.append(field.name)
        elif value:
            words.append(f"{field.name}={value}")
    return " ".join(words)


def disassemble(words: NDArray[np.uint64], config: Build) -> str:
    """Return the assembly text of instruction words of shape (n, 2), one line per instruction.

    Raises
    ------
    IsaError
        If an opcode is unknown.
    """
    return "".join(format_instruction(instruction) + "\n" for instruction in decode(words, config))


def assemble(text: str, config: Build) -> NDArray[np.uint64]:
    """Encode assembly text.

    Returns
    -------
    ndarray of uint64, shape (n, 2)

    Raises
    ------
    IsaError
        If a line does not parse (with its number), or a field is unknown or does not fit.
    """
    instructions = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(_COMMENT, 1)[0].split()
        if words:
            instructions.append(_parse(words, number))
    return encode(instructions, config)


def _parse(words: list[str], number: int) -> Instruction:
    where = f"line {number}"
    if words[0] not in Opcode.__members__:
        raise IsaError(f"unknown opcode {words[0]!r}", where=where, allowed=", ".join(Opcode.__members__))
    opcode = Opcode[words[0]]
    known = [field.name for field in FORMAT_OF[opcode].fields[1:]]
    fields: dict[str, int] = {}
    for word in words[1:]:
        name, sign, value = word.partition("=")
        if name not in known:
            raise IsaError(f"{opcode.name} has no field {name!r}", where=where, allowed=", ".join(known))
        if name in fields:
            raise IsaError(f"{name} is given twice", where=where)
        if not sign and name not in _FLAGS:
            raise IsaError(f"{name} has no value", where=where, allowed=f"{name}=NUMBER")
        fields[name] = _value(name, value, where) if sign else 1
    return Instruction(opcode, fields)


def _value(name: str, text: str, where: str) -> int:
    names = _NAMES.get(name)
    if names is not None and text in names.__members__:
        return int(names[text])
    try:
        return int(text, 0)
    except ValueError as fault:
        allowed = "a number" + (f" or {', '.join(names.__members__)}" if names is not None else "")
        raise IsaError(f"{name} is {text!r}", where=where, allowed=allowed) from fault
