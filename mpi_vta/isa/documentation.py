"""``python -m mpi_vta.isa.documentation > docs/isa.md``: the instruction set's reference, from its tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.isa.codec import BitField, layout, uop_layout
from mpi_vta.isa.table import FORMATS, UOP_FIELDS, AluOpcode, Field, MemoryType, Opcode, unit_of

# one shipped configuration of each shape: their layouts differ
CONFIGURATIONS = ("pynq_1x16", "pynq_1x32", "pynq_2x16", "pynq_4x8")

_INTRODUCTION = """\
# The instruction set

Generated from `mpi_vta/isa/table.py` by `python -m mpi_vta.isa.documentation > docs/isa.md`; do not edit.

An instruction has 128 bits in two little-endian 64-bit words, a micro-op 32 bits. Fields are given as
`[high:low]` counted from bit 0 of the first word. Those whose width depends on the buffer sizes lie
elsewhere in each build, so every table has one column per shape of build. Bits outside the fields are
ignored by decoders and written as 0 by the encoder.

The tables are those of `HW_VER` 0.0.2. In 0.0.1, which older bitstreams execute, `memory_type` and `alu_opcode`
have 2 bits and the fields above them in the same word sit one bit lower; a STORE writes OUT as 0 there.

Tokens: the units form a row load - compute - store. `pop_prev` and `pop_next` wait for a token of the
neighbour before the instruction runs, `push_prev` and `push_next` give one after it has run. A LOAD or
STORE with `x_size`, `y_size` and all pads 0 only moves tokens.
"""

_ASSEMBLY = """\
## Assembly text

`mpi_vta.isa.assembly` writes and reads one instruction per line: the opcode, then its non-zero fields.
A flag is its bare name, any other field `name=value`, where opcodes, buffers and ALU operations go by
name. `#` starts a comment.

    LOAD pop_next push_next memory_type=INP dram_base=65536 y_size=1 x_size=300 x_stride=300
    GEMM pop_prev push_prev uop_end=2 iter_out=12 iter_in=1 dst_factor_out=2 src_factor_out=1
    ALU push_next uop_bgn=12 uop_end=14 iter_out=12 iter_in=1 alu_opcode=SHR use_imm imm=8
    STORE pop_prev push_prev memory_type=OUT dram_base=262144 y_size=12 x_size=2 x_stride=2
    FINISH pop_next
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _range(bits: BitField) -> str:
    high = bits.lsb + bits.width - 1
    return f"[{high}:{bits.lsb}]" if bits.width > 1 else f"[{bits.lsb}]"


def _field_rows(fields: Sequence[Field], layouts: Sequence[Sequence[BitField]]) -> list[list[str]]:
    rows = []
    for number, field in enumerate(fields):
        placed = [bits[number] for bits in layouts]
        kind = "flag" if field.flag else "signed" if field.signed else field.names.__name__ if field.names else ""
        rows.append([f"`{field.name}`", *(_range(bits) for bits in placed), kind, field.doc])
    return rows


def _format_sections(configs: Sequence[VTAConfig]) -> list[str]:
    head = ["field", *CONFIGURATIONS, "kind", "meaning"]
    sections = []
    for form in FORMATS:
        opcodes = ", ".join(opcode.name for opcode in form.opcodes)
        rows = _field_rows(form.fields, [layout(form, config) for config in configs])
        sections.append(f"## {opcodes}\n\n{form.doc}.\n\n{_table(head, rows)}")
    rows = _field_rows(UOP_FIELDS, [uop_layout(config) for config in configs])
    sections.append(f"## Micro-op\n\nOne index triple of a GEMM or ALU.\n\n{_table(head, rows)}")
    return sections


def _opcode_rows() -> list[list[str]]:
    rows = []
    for opcode in Opcode:
        units = {unit_of(opcode, memory).name.lower() for memory in MemoryType} if opcode == Opcode.LOAD else set()
        unit = "load (INP, WGT), compute (UOP, ACC)" if units else unit_of(opcode, 0).name.lower()
        rows.append([opcode.name, str(opcode.value), unit])
    return rows


def document() -> str:
    """Return the reference as Markdown."""
    configs = [VTAConfig.load(find("vta_configs", name, ".json")) for name in CONFIGURATIONS]
    parts = [
        _INTRODUCTION,
        "## Opcodes\n\n" + _table(["opcode", "value", "unit"], _opcode_rows()),
        "## Buffers and ALU operations\n\n"
        + _table(["memory_type", "value"], [[m.name, str(m.value)] for m in MemoryType])
        + "\n"
        + _table(["alu_opcode", "value"], [[a.name, str(a.value)] for a in AluOpcode]),
        *_format_sections(configs),
        _ASSEMBLY,
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(document())
