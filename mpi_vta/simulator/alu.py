"""ALU instructions as array operations on runs of iterations that do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import SimulationError
from mpi_vta.isa.table import MAX_SHIFT, AluOpcode
from mpi_vta.simulator.decoding import Indices
from mpi_vta.simulator.sram import Rows, Sram

Operation = Callable[..., Any]

_OPERATIONS: dict[int, Operation] = {
    AluOpcode.MIN: np.minimum,
    AluOpcode.MAX: np.maximum,
    AluOpcode.ADD: np.add,
    AluOpcode.SHR: np.right_shift,
}


def independent_runs(dst: Indices, src: Indices | None) -> list[slice]:
    """Cut iterations into runs in which none writes what another wrote, nor reads it.

    Parameters
    ----------
    dst, src : ndarray of int64, shape (n,)
        Accumulator elements written, and read (None for an immediate operand).

    Returns
    -------
    list of slice
        Consecutive; reading all of a run before writing it gives the sequential result.
    """
    blocker = _last_write_before(dst, dst)
    if src is not None:
        blocker = np.maximum(blocker, _last_write_before(dst, src))
    runs, begin, count = [], 0, dst.size
    while begin < count:
        end = _first_at_least(blocker, begin)
        runs.append(slice(begin, end))
        begin = end
    return runs


def _last_write_before(dst: Indices, element: Indices) -> Indices:
    """Return for each position the last earlier position that writes `element` there, or -1."""
    count = dst.size
    keys = np.sort(dst * count + np.arange(count))
    wanted = element * count + np.arange(count)
    found = np.searchsorted(keys, wanted, side="left") - 1
    key = keys[np.maximum(found, 0)]
    return np.where((found >= 0) & (key // count == element), key % count, -1)


def _first_at_least(blocker: Indices, begin: int) -> int:
    """Return the first position after `begin` whose blocker is `begin` or later, or the end."""
    low, width = begin + 1, 64
    while low < blocker.size:
        hits = np.flatnonzero(blocker[low : low + width] >= begin)
        if hits.size:
            return low + int(hits[0])
        low, width = low + width, width * 2
    return int(blocker.size)


class AluStep:
    """An ALU instruction bound to buffers, ready to run.

    Parameters
    ----------
    opcode : int
        `AluOpcode`.
    imm : int or None
        The immediate operand; None takes acc[src].
    dst, src : ndarray of int64, shape (n,)
        Accumulator elements in execution order.
    sram : Sram
        The buffers.
    write_out : bool
        Whether the out buffer is kept.
    where : str
        The instruction, for messages.
    """

    def __init__(
        self, opcode: int, imm: int | None, dst: Indices, src: Indices, sram: Sram, write_out: bool, where: str
    ) -> None:
        self._checks_shift = opcode == AluOpcode.SHR and imm is None
        self._where = where
        if opcode == AluOpcode.SHR and imm is not None and imm < 0:
            self._operation: Operation = np.left_shift
            imm = -imm
        else:
            self._operation = _OPERATIONS[opcode]
        self._imm = None if imm is None else np.int32(imm)
        self._runs = []
        for run in independent_runs(dst, None if imm is not None else src):
            by_dst = np.argsort(dst[run], kind="stable")
            target = dst[run][by_dst]
            source = None if imm is not None else _source(sram, src[run][by_dst])
            out = Rows(sram.out, target) if write_out else None
            self._runs.append((Rows(sram.acc, target), source, out))

    def __call__(self, dram: NDArray[np.uint8]) -> None:
        """Apply the operation."""
        for acc, source, out in self._runs:
            values = acc.read()
            operand = self._imm if source is None else source()
            if self._checks_shift:
                self._check_shift(operand)
            self._operation(values, operand, out=values)
            if acc.view is None:
                acc.write(values)
            if out is not None:
                out.write(values.astype(np.int8))

    def _check_shift(self, amounts: Any) -> None:
        if amounts.min() < 0 or amounts.max() > MAX_SHIFT:
            raise SimulationError(
                f"rule 1: SHR by a register that holds {amounts.min()}..{amounts.max()}",
                where=self._where,
                allowed=f"0..{MAX_SHIFT}",
                remedy="shift left with a negative immediate",
            )


def _source(sram: Sram, index: Indices) -> Callable[[], NDArray[Any]]:
    if np.unique(index).size == index.size:
        return Rows(sram.acc, index).read
    acc = sram.acc
    return lambda: acc[:, index]
