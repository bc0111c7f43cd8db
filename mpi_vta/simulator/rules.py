"""Rules of the portable subset that each instruction shows by itself, without data or neighbours.

Programs that break one mean different things to fsim, HLS and RTL, so no simulator can run them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import SimulationError
from mpi_vta.isa.table import MAX_SHIFT, AluOpcode, MemoryType, Opcode, Unit
from mpi_vta.simulator.tokens import Columns, breach

_PADS = ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")


def is_nop(columns: Columns) -> NDArray[np.bool_]:
    """Return which instructions only carry tokens: moves of nothing, without padding."""
    memory = np.isin(columns["opcode"], [Opcode.LOAD, Opcode.STORE])
    empty = (columns["x_size"] == 0) & (columns["y_size"] == 0)
    nop: NDArray[np.bool_] = memory & empty & ~_padded(columns)
    return nop


def _padded(columns: Columns) -> NDArray[np.bool_]:
    padded: NDArray[np.bool_] = np.any([columns[name] != 0 for name in _PADS], axis=0)
    return padded


def check_instructions(columns: Columns) -> None:
    """Refuse the first instruction that has no meaning common to all builds.

    Raises
    ------
    SimulationError
        Naming the instruction, the rule it breaks and the remedy.
    """
    if not columns["opcode"].size:
        raise SimulationError("the program is empty", allowed="at least a FINISH")
    opcode, memory = columns["opcode"], columns["memory_type"]
    nop = is_nop(columns)
    load, store = opcode == Opcode.LOAD, opcode == Opcode.STORE
    loops = (opcode == Opcode.GEMM) | (opcode == Opcode.ALU)
    pads = _padded(columns)
    alu = opcode == Opcode.ALU
    shift_imm = alu & (columns["alu_opcode"] == AluOpcode.SHR) & (columns["use_imm"] == 1)
    empty = (columns["x_size"] == 0) | (columns["y_size"] == 0)
    no_trip = (columns["iter_out"] == 0) | (columns["iter_in"] == 0) | (columns["uop_end"] <= columns["uop_bgn"])
    unit = columns["unit"]
    rules = (
        (shift_imm & (np.abs(columns["imm"]) > MAX_SHIFT), "rule 1: SHR by an immediate beyond 15 bits",
         "-15..15", "split the shift"),
        (load & (memory == MemoryType.WGT) & pads, "rule 3: padding on a WGT load", "no pads", "store the zeros"),
        (store & pads, "rule 3: padding on a STORE", "no pads", "store the rows one instruction each"),
        (load & (memory == MemoryType.UOP) & (pads | (~nop & (columns["y_size"] != 1))),
         "rule 3: a UOP load of other than one plain row", "y_size=1, no pads", "split it by rows"),
        (store & ~nop & (memory != MemoryType.OUT), "rule 3: a STORE of another buffer than OUT", "OUT", ""),
        (load & ~nop & (memory >= MemoryType.OUT), "rule 10: a LOAD into this buffer", "UOP, WGT, INP, ACC",
         "load 32-bit values into ACC"),
        (alu & (columns["alu_opcode"] > AluOpcode.SHR), "rule 10: an ALU operation that not all builds have",
         ", ".join(op.name for op in AluOpcode), "use shifts and additions"),
        ((load | store) & ~nop & empty, "rule 4: an empty move", "x_size >= 1 and y_size >= 1",
         "leave it out, or make both 0 without pads for a token-only NOP"),
        (loops & no_trip, "rule 4: a loop without iterations",
         "iter_out >= 1, iter_in >= 1, uop_end > uop_bgn", "leave it out"),
        ((unit == Unit.LOAD) & ((columns["pop_prev"] | columns["push_prev"]) == 1),
         "a token flag for a queue that does not exist", "pop_next and push_next on the load unit", "clear it"),
        ((unit == Unit.STORE) & ((columns["pop_next"] | columns["push_next"]) == 1),
         "a token flag for a queue that does not exist", "pop_prev and push_prev on the store unit", "clear it"),
    )  # fmt: skip
    for broken, what, allowed, remedy in rules:
        found = np.flatnonzero(broken)
        if found.size:
            raise breach(columns, int(found[0]), what, allowed=allowed, remedy=remedy)
    _check_finish(columns)


def _check_finish(columns: Columns) -> None:
    finishes = np.flatnonzero(columns["opcode"] == Opcode.FINISH)
    last = columns["opcode"].size - 1
    if not finishes.size:
        raise breach(columns, last, "rule 8: the program ends without FINISH", remedy="append one")
    if finishes[0] != last:
        raise breach(columns, int(finishes[0]), "rule 8: FINISH is not the last instruction", remedy="move it")
