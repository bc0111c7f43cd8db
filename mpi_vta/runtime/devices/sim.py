"""A simulated board: bit-exact results and the timing model's cycles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Binding, Program
from mpi_vta.isa.table import Unit
from mpi_vta.runtime.devices.protocol import Buffers, DeviceSetup, input_of
from mpi_vta.simulator.attribution import attribute
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.timing import simulate
from mpi_vta.trace.schema import CYCLE_KINDS, PROFILE_DTYPE, StageProfile


def time_launch(program: Program) -> tuple[int, StageProfile]:
    """Return the modelled cycles of one launch and where they go; they do not depend on data."""
    insns = program.link(program.default_bases)
    timing = simulate(program.config, insns)
    names = [layer.name for layer in program.layers]
    split = attribute(program.config, insns, timing, program.insn_layer, names)
    rows = np.zeros(len(split.layers), PROFILE_DTYPE)
    rows["layer"] = np.arange(len(rows))
    for column, kind in enumerate(CYCLE_KINDS):
        rows[kind] = split.cycles[:, column]
    spent = timing.end_cycle - timing.start_cycle
    layer_of = np.maximum(program.insn_layer, 0)
    for field, unit in (("load_unit", Unit.LOAD), ("store_unit", Unit.STORE)):
        chosen = timing.unit == unit
        np.add.at(rows[field], layer_of[chosen], spent[chosen])
    for field in ("gemm_uops", "alu_uops", "load_bytes", "store_bytes"):
        rows[field] = [getattr(layer, field) for layer in program.layers]
    return timing.cycles, StageProfile(split.layers, rows)


class SimProgram:
    """A program with a DRAM of its own, decoded once."""

    launch_ns = None

    def __init__(self, program: Program) -> None:
        self._program = program
        self._dram = program.dram_image()
        self._executable = Executable(program.config, program.link(program.default_bases), self._dram)
        self.cycles, self.profile = time_launch(program)

    def run(self, inputs: Buffers) -> dict[str, NDArray[np.uint8]]:
        """Launch once; see `LoadedProgram.run`."""
        for binding in self._program.inputs:
            self._place(binding)[:] = input_of(self._program, binding, inputs)
        self._executable.run(self._dram)
        return {binding.value: self._place(binding).copy() for binding in self._program.outputs}

    def _place(self, binding: Binding) -> NDArray[np.uint8]:
        base = self._program.default_bases[binding.segment]
        return self._dram[base : base + binding.size_bytes]


class SimDevice:
    """One simulated VTA."""

    name = "sim"
    carries_data = True
    simulated = True

    def __init__(self, setup: DeviceSetup) -> None:
        """Take a setup as every device does; a simulated one has no hardware to set up."""

    def load(self, program: Program) -> SimProgram:
        """Place a program in a DRAM image of its own."""
        return SimProgram(program)
