"""The functional simulator: a program bound to buffers once, then run on as many DRAM images as wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import SimulationError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.table import MemoryType, Opcode
from mpi_vta.simulator.alu import AluStep
from mpi_vta.simulator.decoding import Decoded, LoopOperands, decode_program, element_bytes, move_extent
from mpi_vta.simulator.gemm import GemmStep, ResetStep, factor
from mpi_vta.simulator.moves import LoadStep, Move, StoreStep
from mpi_vta.simulator.sram import Sram
from mpi_vta.simulator.tokens import describe

Step = Callable[[NDArray[np.uint8]], None]

_MOVE_FIELDS = ("sram_base", "dram_base", "y_size", "x_size", "x_stride", "y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")


class Executable:
    """A program decoded for one VTA, bit-exact with hardware on the portable subset.

    Buffer contents persist from run to run, as on hardware.

    Parameters
    ----------
    config : VTAConfig
        The build.
    insns : ndarray of uint64, shape (n, 2)
        Instructions with absolute ``dram_base``.
    dram : ndarray of uint8, shape (bytes,)
        A DRAM image, index = byte address; its micro-ops are read here, once.
    sram : Sram, optional
        Buffers to share with other programs; fresh ones by default.

    Raises
    ------
    IsaError
        If an opcode is unknown.
    SimulationError
        If the program leaves the behaviour that all builds share, or deadlocks. The whole list of
        rules, races included, is checked by `mpi_vta.simulator.checks.check_program`.
    """

    def __init__(
        self, config: VTAConfig, insns: NDArray[np.uint64], dram: NDArray[np.uint8], sram: Sram | None = None
    ) -> None:
        decoded = decode_program(config, insns, _checked_image(dram))
        self.config = config
        self.sram = Sram.zeros(config) if sram is None else sram
        moves = np.flatnonzero((_are_moves(decoded)) & ~decoded.nop)
        self._dram_bytes = int(move_extent(config, decoded.columns, moves)[2].max(initial=0))
        # OUT holds ACC's low bytes except after a load or reset of ACC: then it needs a life of its own
        keep_out = sram is not None or _stores_stale_rows(decoded)
        self._steps = _Binder(decoded, self.sram, keep_out).steps()
        self.gemm_uops, self.alu_uops = _count_uops(decoded)

    def run(self, dram: NDArray[np.uint8]) -> None:
        """Execute the program once, in place.

        Parameters
        ----------
        dram : ndarray of uint8, shape (bytes,)
            The DRAM image, at least as large as the program reaches; micro-ops are not read again.

        Raises
        ------
        SimulationError
            If the image is too small, or a register shift leaves 0..15.
        """
        _checked_image(dram)
        if dram.size < self._dram_bytes:
            raise SimulationError(
                f"the DRAM image has {dram.size} bytes", allowed=f"at least {self._dram_bytes} for this program"
            )
        for step in self._steps:
            step(dram)


def _checked_image(dram: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if dram.dtype != np.uint8 or dram.ndim != 1 or not dram.flags.c_contiguous:
        raise SimulationError(
            f"the DRAM image is a {dram.ndim}-dimensional {dram.dtype} array", allowed="contiguous uint8, one dimension"
        )
    return dram


def _are_moves(decoded: Decoded) -> NDArray[np.bool_]:
    """Return which instructions are LOAD or STORE."""
    return np.isin(decoded.columns["opcode"], [Opcode.LOAD, Opcode.STORE])


def _count_uops(decoded: Decoded) -> tuple[int, int]:
    totals = {Opcode.GEMM: 0, Opcode.ALU: 0}
    for opcode, operands in zip(decoded.columns["opcode"].tolist(), decoded.operands, strict=True):
        if operands is not None:
            totals[opcode] += operands.iterations
    return totals[Opcode.GEMM], totals[Opcode.ALU]


def _stores_stale_rows(decoded: Decoded) -> bool:
    """Tell whether a STORE reads a row that was not last written by a GEMM or ALU result."""
    columns = decoded.columns
    fresh = np.zeros(decoded.config.acc_depth, dtype=bool)
    extent = move_extent(decoded.config, columns, np.arange(decoded.nop.size))[0].tolist()
    opcodes, memory, base, reset, nop = (
        column.tolist()
        for column in (columns["opcode"], columns["memory_type"], columns["sram_base"], columns["reset"], decoded.nop)
    )
    for index in decoded.order.tolist():
        operands = decoded.operands[index]
        if operands is not None:
            fresh[operands.written] = not (opcodes[index] == Opcode.GEMM and reset[index])
        elif opcodes[index] == Opcode.LOAD and memory[index] == MemoryType.ACC and not nop[index]:
            fresh[base[index] : base[index] + extent[index]] = False
        elif (
            opcodes[index] == Opcode.STORE
            and not nop[index]
            and not fresh[base[index] : base[index] + extent[index]].all()
        ):
            return True
    return False


class _Binder:
    """Binds the instructions of a program to buffers; equal GEMM and ALU instructions share a step."""

    def __init__(self, decoded: Decoded, sram: Sram, keep_out: bool) -> None:
        self._decoded = decoded
        self._sram = sram
        self._keep_out = keep_out
        self._shared: dict[int, Step] = {}
        self._bytes = element_bytes(decoded.config)
        block = decoded.config.block
        flat_wgt = sram.wgt.reshape(1, -1, block * block)
        int8: np.dtype[Any] = np.dtype(np.int8)
        int32: np.dtype[Any] = np.dtype("<i4")
        self._loads: dict[MemoryType, tuple[NDArray[Any], np.dtype[Any]]] = {
            MemoryType.INP: (sram.inp, int8),
            MemoryType.WGT: (flat_wgt, int8),
            MemoryType.ACC: (sram.acc, int32),
        }

    def steps(self) -> list[Step]:
        """Return what to run, in execution order."""
        columns, nop = self._decoded.columns, self._decoded.nop
        opcodes, memory = columns["opcode"].tolist(), columns["memory_type"].tolist()
        geometry = np.stack([columns[name] for name in _MOVE_FIELDS], axis=1).tolist()
        steps: list[Step] = []
        for index in self._decoded.order.tolist():
            operands = self._decoded.operands[index]
            if operands is not None:
                steps.append(self._compute(index, operands))
            elif opcodes[index] in (Opcode.LOAD, Opcode.STORE) and not nop[index] and memory[index] != MemoryType.UOP:
                steps.append(self._move(opcodes[index], memory[index], geometry[index]))
        return steps

    def _compute(self, index: int, operands: LoopOperands) -> Step:
        step = self._shared.get(id(operands))
        if step is None:
            step = self._shared[id(operands)] = self._bind(index, operands)
        return step

    def _bind(self, index: int, operands: LoopOperands) -> Step:
        columns = self._decoded.columns
        if columns["opcode"][index] == Opcode.ALU:
            imm = int(columns["imm"][index]) if columns["use_imm"][index] else None
            where = describe(columns, index)
            opcode = int(columns["alu_opcode"][index])
            return AluStep(opcode, imm, operands.dst, operands.src, self._sram, self._keep_out, where)
        if columns["reset"][index]:
            return ResetStep(operands.written, self._sram)
        return GemmStep(factor(operands), self._sram, self._keep_out)

    def _move(self, opcode: int, memory: int, geometry: list[int]) -> Step:
        sram_base, dram_base, rows, columns, stride, *pads = geometry
        size = self._bytes[memory]
        top, bottom, left, right = pads
        move = Move(sram_base, dram_base * size, size, rows, columns, stride, (top, bottom, left, right))
        if opcode == Opcode.STORE:
            return StoreStep(move, self._sram.out if self._keep_out else self._sram.acc)
        buffer, dtype = self._loads[MemoryType(memory)]
        return LoadStep(move, buffer, dtype)
