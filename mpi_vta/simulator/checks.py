"""The whole portable subset, checked on a program: the ten rules, unwritten buffers, races, deadlocks.

Rules 1, 3, 4, 6 and 10 are refused already at decoding (`mpi_vta.simulator.rules`,
`mpi_vta.simulator.decoding`), as nothing sensible could be run; here come those that look at several
instructions at once. A program that passes gives the same bytes on fsim, HLS and RTL.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import MemoryType, Opcode, Unit
from mpi_vta.simulator.decoding import Decoded, Indices, LoopOperands, decode_program, move_extent
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.races import check_races, order_clocks
from mpi_vta.simulator.timing import simulate
from mpi_vta.simulator.tokens import QUEUES, breach

MAX_TOKENS = 255
HAZARD_DISTANCE = 3


def check_program(
    config: VTAConfig, insns: NDArray[np.uint64], dram: NDArray[np.uint8], *, pipeline_hazards: bool = True
) -> None:
    """Check that a program stays inside the portable subset and has no race.

    Parameters
    ----------
    config : VTAConfig
        The build.
    insns : ndarray of uint64, shape (n, 2)
        Instructions with absolute ``dram_base``.
    dram : ndarray of uint8, shape (bytes,)
        The DRAM image before the run; left as it is.
    pipeline_hazards : bool
        Whether rule 7 is checked. Models that run one micro-op after another, as those behind the shared
        test vectors did, agree without it; bitstreams made from the HLS source do not.

    Raises
    ------
    IsaError
        If an opcode is unknown.
    SimulationError
        At the first breach, naming the instruction, the rule and the remedy.
    """
    decoded = decode_program(config, insns, dram)
    # a full instruction queue (rule 9) deadlocks here, whatever the constants of the profile
    simulate(config, insns)
    # unwritten micro-ops first: whatever they are taken for breaks other rules too
    _check_buffers(decoded)
    _check_operands(decoded, pipeline_hazards)
    _check_tokens(decoded)
    check_races(decoded)
    # register shifts (rule 1) depend on the data
    Executable(config, insns, dram).run(dram.copy())


def _check_operands(decoded: Decoded, pipeline_hazards: bool) -> None:
    """Rules 2 and 7, once per distinct GEMM or ALU."""
    seen: set[int] = set()
    for index, operands in enumerate(decoded.operands):
        if operands is None or id(operands) in seen:
            continue
        seen.add(id(operands))
        is_alu = decoded.columns["opcode"][index] == Opcode.ALU
        use_imm = bool(decoded.columns["use_imm"][index])
        if is_alu and use_imm and not _same_src_and_dst(operands):
            raise breach(
                decoded.columns,
                index,
                "rule 2: an immediate ALU operation whose micro-ops have src other than dst",
                remedy="give src the indices and factors of dst",
            )
        if not pipeline_hazards:
            continue
        distance = _hazard_distance(operands, is_alu and not use_imm)
        if distance < HAZARD_DISTANCE:
            raise breach(
                decoded.columns,
                index,
                f"rule 7: an accumulator is used again after {distance} micro-op{'s' * (distance > 1)}",
                allowed=f"at least {HAZARD_DISTANCE}, across loop iterations too",
                remedy="move the reduction to an outer loop",
            )


def _same_src_and_dst(operands: LoopOperands) -> bool:
    steps = zip(operands.trips, operands.dst_steps, operands.src_steps, strict=True)
    return np.array_equal(operands.uops[0], operands.uops[1]) and all(
        trip == 1 or dst == src for trip, dst, src in steps
    )


def _hazard_distance(operands: LoopOperands, reads_src: bool) -> int:
    """Return the smallest distance at which a written accumulator is used again, if below the limit."""
    dst = operands.dst
    used = [dst, operands.src] if reads_src else [dst]
    for distance in range(1, HAZARD_DISTANCE):
        if any((dst[:-distance] == later[distance:]).any() for later in used):
            return distance
    return HAZARD_DISTANCE


def _check_tokens(decoded: Decoded) -> None:
    """Rule 8: nothing left over, FINISH after everything; rule 9: at most 255 tokens in a queue."""
    columns, tokens = decoded.columns, decoded.tokens
    before = order_clocks(decoded)
    for queue, pushers, poppers in zip(QUEUES, tokens.pushers, tokens.poppers, strict=True):
        if pushers.size > poppers.size:
            raise breach(
                columns,
                int(pushers[poppers.size]),
                f"rule 8: its token '{queue.name}' is never taken",
                remedy="pop it before FINISH, or do not push it",
            )
        popped = np.zeros(int((columns["unit"] == queue.consumer).sum()) + 1, dtype=np.int64)
        popped[1:] = np.cumsum(columns[queue.pop_flag][columns["unit"] == queue.consumer])
        waiting = np.arange(1, pushers.size + 1) - popped[before[pushers, queue.consumer]]
        over = np.flatnonzero(waiting > MAX_TOKENS)
        if over.size:
            raise breach(
                columns,
                int(pushers[over[0]]),
                f"rule 9: {waiting[over[0]]} tokens can be waiting in '{queue.name}'",
                allowed=f"{MAX_TOKENS}",
                remedy="let the pushing unit wait for the other one now and then",
            )
    last = columns["opcode"].size - 1
    for kind in (Unit.LOAD, Unit.STORE):
        count = int((columns["unit"] == kind).sum())
        if before[last, kind] < count:
            straggler = int(np.flatnonzero(columns["unit"] == kind)[int(before[last, kind])])
            raise breach(
                columns,
                last,
                f"rule 8: it does not wait for instruction {straggler} of the {kind.name.lower()} unit",
                remedy="let it pop that unit's last token",
            )


def _check_buffers(decoded: Decoded) -> None:
    """Rule 5, and reads of buffer elements that nothing has written."""
    _BufferState(decoded).walk()


class _BufferState:
    """Which elements of each buffer the program has written, in execution order."""

    def __init__(self, decoded: Decoded) -> None:
        config = decoded.config
        self._decoded = decoded
        self._columns = decoded.columns
        self._extent = move_extent(config, decoded.columns, np.arange(decoded.nop.size))[0].tolist()
        self._written = {
            MemoryType.UOP: np.zeros(config.uop_depth, dtype=bool),
            MemoryType.WGT: np.zeros(config.wgt_depth, dtype=bool),
            MemoryType.INP: np.zeros(config.inp_depth, dtype=bool),
            MemoryType.ACC: np.zeros(config.acc_depth, dtype=bool),
        }
        # whether out holds the result of the row's last write to acc
        self._fresh = np.zeros(config.acc_depth, dtype=bool)

    def walk(self) -> None:
        """Follow the program; raise at the first breach."""
        names = ("opcode", "memory_type", "sram_base")
        table = np.stack([self._columns[name] for name in names], axis=1).tolist()
        nop = self._decoded.nop.tolist()
        for index in self._decoded.order.tolist():
            opcode, memory, base = table[index]
            operands = self._decoded.operands[index]
            if operands is not None:
                self._compute(index, opcode, operands)
            elif nop[index] or opcode == Opcode.FINISH:
                continue
            elif opcode == Opcode.LOAD:
                span = slice(base, base + self._extent[index])
                self._written[MemoryType(memory)][span] = True
                if memory == MemoryType.ACC:
                    self._fresh[span] = False
            else:
                self._store(index, base)

    def _compute(self, index: int, opcode: int, operands: LoopOperands) -> None:
        begin, end = int(self._columns["uop_bgn"][index]), int(self._columns["uop_end"][index])
        self._need(index, MemoryType.UOP, np.arange(begin, end))
        reset = opcode == Opcode.GEMM and bool(self._columns["reset"][index])
        if not reset:
            self._need(index, MemoryType.ACC, operands.written)
            if opcode == Opcode.GEMM:
                self._need(index, MemoryType.INP, operands.sources)
                self._need(index, MemoryType.WGT, operands.weights)
            elif not self._columns["use_imm"][index]:
                self._need(index, MemoryType.ACC, operands.sources)
        self._written[MemoryType.ACC][operands.written] = True
        self._fresh[operands.written] = not reset

    def _store(self, index: int, base: int) -> None:
        stale = np.flatnonzero(~self._fresh[base : base + self._extent[index]])
        if stale.size:
            raise breach(
                self._columns,
                index,
                f"rule 5: it stores row {base + int(stale[0])}, which was not last written by a GEMM or ALU result",
                remedy="apply an ALU operation (ADD 0) to the row first",
            )

    def _need(self, index: int, memory: MemoryType, elements: Indices) -> None:
        missing = elements[~self._written[memory][elements]]
        if missing.size:
            raise breach(
                self._columns,
                index,
                f"it reads {memory.name.lower()}[{int(missing[0])}], which nothing in the program has written",
                remedy="load or reset it first: buffers keep what an earlier program left",
            )
