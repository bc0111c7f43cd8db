"""A program that was compiled before, compared with what the compiler makes of the graph now, without a search."""

from __future__ import annotations

import numpy as np

from mpi_vta.codegen.compiler import compile_graph, constants_of
from mpi_vta.codegen.microops import UOP_SEGMENT
from mpi_vta.codegen.program import Program
from mpi_vta.codegen.tiling import Tiling
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig


def find_change(graph: Graph, config: VTAConfig, program: Program, *, every_instruction: bool) -> str:
    """Return how a program differs from one that is made anew of the same schedules.

    Parameters
    ----------
    graph, config
        What the program is said to be compiled of, and for.
    program : Program
        The program.
    every_instruction : bool
        Whether the whole program is emitted again, which takes a tenth of a first compilation; otherwise only its
        weights, biases and the like are made anew.

    Returns
    -------
    str
        What differs, in a few words; empty if nothing does.
    """
    if program.config != config:
        return f"it is for {program.config.name}"
    kept = {name: content for name, content in program.data.items() if name != UOP_SEGMENT}
    made = constants_of(graph, config)
    for name in sorted(kept.keys() | made.keys()):
        if name not in kept or name not in made or not np.array_equal(kept[name], made[name]):
            return f"{name} holds other values"
    if not every_instruction:
        return ""
    try:
        schedules = {layer.name: Tiling.parse(layer.schedule) for layer in program.layers}
        again = compile_graph(graph, config, program.name, schedules=schedules)
    except (ValueError, CompileError) as fault:
        return f"its schedules cannot be used ({fault})"
    return "" if again.sha256 == program.sha256 else "its instructions, micro-ops or symbols are others"
