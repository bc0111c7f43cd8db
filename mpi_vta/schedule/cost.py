"""What a set of layers costs on a board: compiled for its VTA build and timed by the simulator."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.window import Window
from mpi_vta.hw.config import VTAConfig
from mpi_vta.schedule.cache import ProgramCache, ProgramTiming
from mpi_vta.schedule.split.part_graph import part_graph


@dataclass(frozen=True)
class StageCost:
    """One stage on one VTA build.

    Attributes
    ----------
    cycles : int
        One launch (modelled).
    gathered_bytes : int
        What the processor gathers or packs before the launch: images for the GEMM core.
    memory_bytes : int
        Contiguous memory that the program takes, instructions, inputs and outputs of one launch included.
    """

    cycles: int
    gathered_bytes: int
    memory_bytes: int


class Costs(Protocol):
    """Where strategies get their numbers from."""

    def node_cycles(self, config: VTAConfig) -> Mapping[str, int]:
        """Return the cycles of every node, as part of the whole model."""

    def stage(self, nodes: tuple[str, ...], config: VTAConfig, share: Window | None = None) -> StageCost:
        """Return the cost of some nodes as a stage of their own, or of a part of it."""


class CompiledCosts:
    """Costs of one graph, from its compiled programs.

    Parameters
    ----------
    graph : Graph
        An int8 graph.
    programs : ProgramCache
        Compiles and times, once.
    """

    def __init__(self, graph: Graph, programs: ProgramCache) -> None:
        self.graph = graph
        self._programs = programs
        self._stages: dict[tuple[tuple[str, ...], VTAConfig, Window | None], StageCost] = {}
        self._nodes: dict[VTAConfig, Mapping[str, int]] = {}

    def node_cycles(self, config: VTAConfig) -> Mapping[str, int]:
        """Return the cycles of every node, as part of the whole model; nodes without instructions cost 0."""
        if config not in self._nodes:
            self._nodes[config] = self._node_cycles(config)
        return self._nodes[config]

    def _node_cycles(self, config: VTAConfig) -> Mapping[str, int]:
        program = self._programs.program(self.graph, config)
        timing = self._programs.timing(program)
        cycles = {node.name: 0 for node in self.graph.nodes}
        for layer, spent in zip(program.layers, timing.layer_cycles.tolist(), strict=True):
            cycles[layer.name] += spent
        return cycles

    def stage(self, nodes: tuple[str, ...], config: VTAConfig, share: Window | None = None) -> StageCost:
        """Return the cost of some nodes as a stage of their own, or of the part that owns `share` of its result."""
        key = (nodes, config, share)
        if key not in self._stages:
            program = self.program(nodes, config, share)
            timing = self.timing(program)
            self._stages[key] = StageCost(timing.cycles, self._gathered_bytes(program), program.contiguous_bytes)
        return self._stages[key]

    @property
    def compile_seconds(self) -> float:
        """Time spent so far in compiling and timing, or in reading what was compiled and timed before."""
        return self._programs.seconds

    def timing(self, program: Program) -> ProgramTiming:
        """Return the modelled cycles of a program."""
        return self._programs.timing(program)

    def program(self, nodes: tuple[str, ...], config: VTAConfig, share: Window | None = None) -> Program:
        """Return the compiled program of some nodes; see `stage`."""
        return self._programs.program(self._part(nodes, config, share), config)

    def _part(self, nodes: tuple[str, ...], config: VTAConfig, share: Window | None) -> Graph:
        if share is None:
            return stage_graph(self.graph, nodes)
        return part_graph(self.graph, nodes, share, config.block)

    def checked_programs(
        self, stages: Sequence[tuple[tuple[str, ...], VTAConfig, Window | None]]
    ) -> tuple[Program, ...]:
        """Return the compiled programs of some stages, as they are handed out.

        Weights and biases of every program that was read from the disk are compared with the graph's; of one of them,
        chosen at random, every instruction and the timing.

        Raises
        ------
        ArtifactError
            If one was altered.
        """
        programs = tuple(self.program(*stage) for stage in stages)
        sample = random.choice(range(len(stages)))
        for number, ((nodes, config, share), program) in enumerate(zip(stages, programs, strict=True)):
            part = self._part(nodes, config, share)
            self._programs.check(part, config, program, every_instruction=number == sample)
        return programs

    def _gathered_bytes(self, program: Program) -> int:
        by_host = {*self.graph.inputs, *(step.result for step in program.host_steps)}
        return sum(binding.size_bytes for binding in program.inputs if binding.value in by_host)


def stage_graph(graph: Graph, nodes: Iterable[str]) -> Graph:
    """Return the graph of one stage; all nodes give the model itself, so that its program is shared."""
    names = tuple(nodes)
    if len(names) == len(graph.nodes):
        return graph
    return graph.subgraph(names, f"{graph.name}[{names[0]}..{names[-1]}]")


def layer_cycles(program: Program, end_cycle: NDArray[np.int64], cycles: int) -> NDArray[np.int64]:
    """Divide the cycles of a launch among the layers.

    A layer's share runs from the end of the layer before it to the end of its own last instruction;
    what follows the last one (FINISH) is the last layer's. So the shares sum to the whole.

    Parameters
    ----------
    program : Program
        Its `insn_layer` says whose each instruction is.
    end_cycle : ndarray of int64, shape (n,)
        Cycle at which each instruction ends.
    cycles : int
        Launch to FINISH.

    Returns
    -------
    ndarray of int64, shape (layers,)
    """
    count = len(program.layers)
    last = np.zeros(count, dtype=np.int64)
    owned = program.insn_layer >= 0
    np.maximum.at(last, program.insn_layer[owned], end_cycle[owned])
    boundary = np.maximum.accumulate(last)
    boundary[-1] = cycles
    return np.diff(boundary, prepend=0)


def time_program(program: Program) -> ProgramTiming:
    """Time one launch of a program with the simulator's `rtl` profile."""
    from mpi_vta.simulator.timing import simulate

    timing = simulate(program.config, program.link(program.default_bases))
    return ProgramTiming(int(timing.cycles), layer_cycles(program, timing.end_cycle, int(timing.cycles)))
