"""A program decoded once: fields, tokens, order, and the micro-ops that each GEMM and ALU runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import decode_columns, decode_uops
from mpi_vta.isa.table import MemoryType, Opcode, Unit
from mpi_vta.simulator.rules import check_instructions, is_nop
from mpi_vta.simulator.tokens import Columns, TokenMatch, breach, execution_order, match_tokens

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LoopOperands:
    """The index triples of a GEMM or ALU instruction, as loops over a micro-op list.

    Attributes
    ----------
    uops : tuple of three ndarray of int64, shape (u,)
        dst, src and wgt of the micro-ops.
    trips : (int, int)
        Trip counts of the outer and inner loop.
    dst_steps, src_steps, wgt_steps : (int, int)
        Index steps per outer and inner iteration.
    """

    uops: tuple[Indices, ...]
    trips: tuple[int, int]
    dst_steps: tuple[int, int]
    src_steps: tuple[int, int]
    wgt_steps: tuple[int, int]

    @property
    def dst(self) -> Indices:
        """Accumulator indices in execution order, shape (iterations,)."""
        return expand(self.uops[0], self.trips, self.dst_steps)

    @property
    def src(self) -> Indices:
        """Source indices in execution order, shape (iterations,)."""
        return expand(self.uops[1], self.trips, self.src_steps)

    @property
    def wgt(self) -> Indices:
        """Weight indices in execution order, shape (iterations,)."""
        return expand(self.uops[2], self.trips, self.wgt_steps)

    @property
    def iterations(self) -> int:
        """How often a micro-op runs: iter_out * iter_in * (uop_end - uop_bgn)."""
        return self.trips[0] * self.trips[1] * self.uops[0].size

    @cached_property
    def written(self) -> Indices:
        """The distinct accumulator indices written, ascending."""
        return np.unique(expand(np.unique(self.uops[0]), self.trips, self.dst_steps))

    @cached_property
    def sources(self) -> Indices:
        """The distinct source indices read, ascending."""
        return np.unique(expand(np.unique(self.uops[1]), self.trips, self.src_steps))

    @cached_property
    def weights(self) -> Indices:
        """The distinct weight indices read, ascending."""
        return np.unique(expand(np.unique(self.uops[2]), self.trips, self.wgt_steps))

    def largest(self, which: int) -> int:
        """Return the largest dst (0), src (1) or wgt (2) index, without expanding the loops."""
        steps = (self.dst_steps, self.src_steps, self.wgt_steps)[which]
        reach = sum((trip - 1) * step for trip, step in zip(self.trips, steps, strict=True))
        return int(self.uops[which].max()) + reach


def expand(uop_values: Indices, trips: tuple[int, int], steps: tuple[int, int]) -> Indices:
    """Return an index for each (outer, inner, micro-op), flattened in execution order."""
    outer = np.arange(trips[0])[:, None, None] * steps[0]
    inner = np.arange(trips[1])[None, :, None] * steps[1]
    return (outer + inner + uop_values).reshape(-1)


@dataclass(frozen=True)
class Decoded:
    """A program ready to be analysed.

    Attributes
    ----------
    config : VTAConfig
        The build.
    columns : mapping of str to ndarray of int64, shape (n,)
        Every field of every instruction, and ``unit``.
    nop : ndarray of bool, shape (n,)
        Moves that only carry tokens.
    tokens : TokenMatch
        Which push each pop takes.
    order : ndarray of int64, shape (n,)
        An execution order that respects the tokens.
    operands : sequence of LoopOperands or None
        Per instruction; equal GEMM and ALU instructions share one object.
    """

    config: VTAConfig
    columns: Columns
    nop: NDArray[np.bool_]
    tokens: TokenMatch
    order: Indices
    operands: Sequence[LoopOperands | None]

    def fields(self, index: int, names: Sequence[str]) -> list[int]:
        """Return some fields of one instruction."""
        return [int(self.columns[name][index]) for name in names]


def element_bytes(config: VTAConfig) -> Mapping[int, int]:
    """Return the size of an element by memory type."""
    return {
        MemoryType.UOP: config.uop_bytes,
        MemoryType.WGT: config.wgt_bytes,
        MemoryType.INP: config.inp_bytes,
        MemoryType.ACC: config.acc_bytes,
        MemoryType.OUT: config.out_bytes,
    }


def buffer_depth(config: VTAConfig) -> Mapping[int, int]:
    """Return the number of elements of each buffer by memory type."""
    return {
        MemoryType.UOP: config.uop_depth,
        MemoryType.WGT: config.wgt_depth,
        MemoryType.INP: config.inp_depth,
        MemoryType.ACC: config.acc_depth,
        MemoryType.OUT: config.acc_depth,
    }


def decode_program(config: VTAConfig, insns: NDArray[np.uint64], dram: NDArray[np.uint8]) -> Decoded:
    """Decode a program, reading its micro-ops from the DRAM image.

    Raises
    ------
    IsaError
        If an opcode is unknown.
    SimulationError
        If an instruction has no meaning common to all builds, leaves a buffer or the DRAM image,
        micro-ops are overwritten by the program itself, or the program deadlocks.
    """
    columns = decode_columns(insns, config)
    check_instructions(columns)
    nop = is_nop(columns)
    moves = np.flatnonzero(np.isin(columns["opcode"], [Opcode.LOAD, Opcode.STORE]) & ~nop)
    _check_moves(config, columns, moves, dram.size)
    tokens = match_tokens(columns)
    order = execution_order(columns, tokens)
    words = np.asarray(insns, dtype=np.uint64).reshape(-1, 2)
    operands = _collect_operands(config, columns, nop, words, dram)
    return Decoded(config, columns, nop, tokens, order, operands)


def move_extent(config: VTAConfig, columns: Columns, index: Indices) -> tuple[Indices, Indices, Indices]:
    """Return SRAM elements touched, first DRAM byte and one past the last DRAM byte of moves."""
    size_of = np.ones(8, dtype=np.int64)
    for kind, element in element_bytes(config).items():
        size_of[kind] = element
    size = size_of[columns["memory_type"][index]]
    x, y, stride = (columns[name][index] for name in ("x_size", "y_size", "x_stride"))
    sram = (columns["y_pad_0"][index] + y + columns["y_pad_1"][index]) * (
        columns["x_pad_0"][index] + x + columns["x_pad_1"][index]
    )
    begin = columns["dram_base"][index] * size
    return sram, begin, begin + ((y - 1) * stride + x) * size


def _check_moves(config: VTAConfig, columns: Columns, moves: Indices, dram_bytes: int) -> None:
    sram, begin, end = move_extent(config, columns, moves)
    depth_of = np.zeros(8, dtype=np.int64)
    for kind, elements in buffer_depth(config).items():
        depth_of[kind] = elements
    depth = depth_of[columns["memory_type"][moves]]
    past = np.flatnonzero(columns["sram_base"][moves] + sram > depth)
    if past.size:
        first = int(past[0])
        raise breach(
            columns,
            int(moves[first]),
            f"rule 6: it touches {sram[first]} elements past the end of the buffer",
            allowed=f"sram_base + elements <= {depth[first]}",
            remedy="make the tile smaller",
        )
    past = np.flatnonzero(end > dram_bytes)
    if past.size:
        first = int(past[0])
        raise breach(
            columns,
            int(moves[first]),
            f"it reaches DRAM byte {end[first]}",
            allowed=f"below {dram_bytes}, the size of the DRAM image",
            remedy="link the program to the image's addresses",
        )
    store = columns["opcode"][moves] == Opcode.STORE
    uop = ~store & (columns["memory_type"][moves] == MemoryType.UOP)
    if store.any() and uop.any():
        _check_self_modifying(columns, moves, (begin, end), store, uop)


def _check_self_modifying(
    columns: Columns,
    moves: Indices,
    extent: tuple[Indices, Indices],
    store: NDArray[np.bool_],
    uop: NDArray[np.bool_],
) -> None:
    """Refuse a STORE into bytes that a UOP load reads: micro-ops are decoded before the run."""
    begin, end = extent
    by_begin = np.argsort(begin[uop], kind="stable")
    starts = begin[uop][by_begin]
    latest_end = np.maximum.accumulate(end[uop][by_begin])
    position = np.searchsorted(starts, end[store], side="left") - 1
    hit = np.flatnonzero((position >= 0) & (latest_end[np.maximum(position, 0)] > begin[store]))
    if hit.size:
        index = int(moves[np.flatnonzero(store)[hit[0]]])
        raise breach(columns, index, "it overwrites micro-ops in DRAM", remedy="keep stores and micro-ops apart")


def _collect_operands(
    config: VTAConfig, columns: Columns, nop: NDArray[np.bool_], words: NDArray[np.uint64], dram: NDArray[np.uint8]
) -> list[LoopOperands | None]:
    buffer = np.zeros(config.uop_depth, dtype=np.uint32)
    operands: list[LoopOperands | None] = [None] * len(words)
    shared: dict[tuple[object, ...], LoopOperands] = {}
    low, high = words[:, 0].tolist(), words[:, 1].tolist()
    names = ("opcode", "memory_type", "sram_base", "dram_base", "x_size", "uop_bgn", "uop_end")
    rows = np.flatnonzero((columns["unit"] == Unit.COMPUTE) & ~nop)
    table = np.stack([columns[name][rows] for name in names], axis=1).tolist()
    for index, (opcode, memory, sram, base, count, bgn, end) in zip(rows.tolist(), table, strict=True):
        if opcode == Opcode.LOAD and memory == MemoryType.UOP:
            buffer[sram : sram + count] = dram[base * 4 : (base + count) * 4].view("<u4")
        elif opcode in (Opcode.GEMM, Opcode.ALU):
            if end > config.uop_depth:
                raise breach(columns, index, "rule 6: it runs past the uop buffer", allowed=f"<= {config.uop_depth}")
            key = (opcode, low[index] >> 7, high[index], buffer[bgn:end].tobytes())
            found = shared.get(key)
            if found is None:
                found = _operands(config, columns, index, buffer[bgn:end])
                _check_indices(config, columns, index, found)
                shared[key] = found
            operands[index] = found
    return operands


def _operands(config: VTAConfig, columns: Columns, index: int, uops: NDArray[np.uint32]) -> LoopOperands:
    def pair(name: str) -> tuple[int, int]:
        return int(columns[f"{name}_out"][index]), int(columns[f"{name}_in"][index])

    return LoopOperands(
        decode_uops(uops, config), pair("iter"), pair("dst_factor"), pair("src_factor"), pair("wgt_factor")
    )


def _check_indices(config: VTAConfig, columns: Columns, index: int, operands: LoopOperands) -> None:
    limits = [("dst", config.acc_depth)]
    if columns["opcode"][index] == Opcode.GEMM:
        if not columns["reset"][index]:
            limits += [("src", config.inp_depth), ("wgt", config.wgt_depth)]
    elif not columns["use_imm"][index]:
        limits += [("src", config.acc_depth)]
    for name, depth in limits:
        largest = operands.largest(("dst", "src", "wgt").index(name))
        if largest >= depth:
            raise breach(
                columns,
                index,
                f"rule 6: {name} reaches {largest}",
                allowed=f"0..{depth - 1}",
                remedy="make the tile smaller",
            )
