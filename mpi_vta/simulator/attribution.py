"""Where the compute unit's cycles go: work by kind, waits by what was waited for; per layer if known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.codec import decode_columns
from mpi_vta.isa.table import MemoryType, Opcode, Unit
from mpi_vta.simulator.timing import Cause, Timing

CATEGORIES = ("gemm", "alu", "load_uop", "load_acc", "wait_load", "wait_store", "fetch", "other")
_GEMM, _ALU, _LOAD_UOP, _LOAD_ACC, _WAIT_LOAD, _WAIT_STORE, _FETCH, _OTHER = range(len(CATEGORIES))
_CATEGORY_OF_CAUSE = {Cause.LOAD_TOKEN: _WAIT_LOAD, Cause.STORE_TOKEN: _WAIT_STORE, Cause.FETCH: _FETCH}


@dataclass(frozen=True, eq=False)
class Attribution:
    """Cycles of the compute unit, every one of them in one category.

    Attributes
    ----------
    layers : tuple of str
        Row names; one row "all" where no layers are known.
    cycles : ndarray of int64, shape (layers, categories)
        Columns by `CATEGORIES`; ``other`` is token-only NOPs, FINISH, and the idle cycle between
        instructions.
    """

    layers: tuple[str, ...]
    cycles: NDArray[np.int64]

    def lines(self) -> list[str]:
        """Return a table for a terminal: a line per layer, and the sum."""
        width = max(5, *(len(name) for name in self.layers))
        head = f"{'layer':{width}} {'cycles':>11}" + "".join(f" {name:>10}" for name in CATEGORIES)
        rows = [*zip(self.layers, self.cycles, strict=True), ("total", self.cycles.sum(axis=0))]
        return [head] + [
            f"{name:{width}} {int(row.sum()):>11}"
            + "".join(f" {100 * value / max(1, int(row.sum())):>9.1f}%" for value in row.tolist())
            for name, row in rows
        ]


def attribute(
    config: VTAConfig,
    insns: NDArray[np.uint64],
    timing: Timing,
    insn_layer: NDArray[np.integer] | None = None,
    layer_names: Sequence[str] = (),
) -> Attribution:
    """Split the time from launch to FINISH over work and waits of the compute unit.

    Parameters
    ----------
    config, insns
        The program that `timing` was simulated from.
    timing : Timing
        Its times.
    insn_layer : ndarray of int, shape (n,), optional
        Layer of each instruction, negative for none (counted with the layer before).
    layer_names : sequence of str
        Names by layer.
    """
    columns = decode_columns(insns, config)
    rows = np.flatnonzero(timing.unit == Unit.COMPUTE)
    start, end = timing.start_cycle[rows], timing.end_cycle[rows]
    layer = np.zeros(rows.size, dtype=np.int64)
    names = tuple(layer_names) or ("all",)
    if insn_layer is not None and layer_names:
        layer = np.maximum.accumulate(np.maximum(insn_layer[rows].astype(np.int64), 0))
    work = np.full(rows.size, _OTHER)
    opcode, memory = columns["opcode"][rows], columns["memory_type"][rows]
    moves = (opcode == Opcode.LOAD) & (columns["x_size"][rows] > 0)
    work[opcode == Opcode.GEMM] = _GEMM
    work[opcode == Opcode.ALU] = _ALU
    work[moves & (memory == MemoryType.UOP)] = _LOAD_UOP
    work[moves & (memory == MemoryType.ACC)] = _LOAD_ACC
    waited_for = np.full(rows.size, _OTHER)
    for cause, category in _CATEGORY_OF_CAUSE.items():
        waited_for[timing.cause[rows] == cause] = category
    gap = start - np.concatenate([[0], end[:-1]])
    # one idle cycle follows every instruction; the first gap counts from launch and has none
    idle = np.minimum(gap, 1)
    idle[0] = 0
    cycles = np.zeros((len(names), len(CATEGORIES)), dtype=np.int64)
    np.add.at(cycles, (layer, work), end - start)
    np.add.at(cycles, (layer, waited_for), gap - idle)
    np.add.at(cycles, (layer, np.full(rows.size, _OTHER)), idle)
    return Attribution(names, cycles)
