"""Runs compiled programs on the simulator and compares them with the reference executor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.program import Program
from mpi_vta.codegen.stem import run_host_step
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.layout import pack_activation, unpack_activation
from mpi_vta.graph.reference import execute
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.simulator.checks import check_program
from mpi_vta.simulator.functional import Executable

Arrays = dict[str, NDArray[np.int8]]


def random_inputs(graph: Graph, count: int, seed: int) -> Arrays:
    """Return `count` random images per graph input."""
    rng = np.random.default_rng(seed)
    shape = {name: (count, *graph.values[name].shape[1:]) for name in graph.inputs}
    return {name: rng.integers(-128, 128, size, dtype=np.int8) for name, size in shape.items()}


def run_program(program: Program, inputs: Arrays, count: int) -> Arrays:
    """Check a program and run one GEMM batch; return the outputs by value name."""
    dram = program.dram_image()
    # scratch and outputs start dirty, so that a program that reads what it never wrote is found out
    for segment in program.segments:
        if segment.kind in ("scratch", "output"):
            base = program.default_bases[segment.name]
            dram[base : base + segment.size_bytes] = 0xA5
    held = dict(inputs)
    for step in program.host_steps:
        held[step.result] = run_host_step(step, held[step.source])
    insns = program.link(program.default_bases)
    check_program(program.config, insns, dram)
    executable = Executable(program.config, insns, dram)
    for binding in program.inputs:
        base = program.default_bases[binding.segment]
        dram[base : base + binding.size_bytes] = pack_activation(held[binding.value], program.config)
    executable.run(dram)
    outputs = {}
    for binding in program.outputs:
        base = program.default_bases[binding.segment]
        raw = dram[base : base + binding.size_bytes]
        outputs[binding.value] = unpack_activation(raw, binding.shape, program.config, count)
    return outputs


def assert_equals_reference(graph: Graph, config: VTAConfig, seed: int) -> None:
    """Compile a graph, and compare what it makes of random images with the reference, bit for bit."""
    inputs = random_inputs(graph, config.batch, seed)
    expected = execute(graph, inputs)
    outputs = run_program(compile_graph(graph, config), inputs, config.batch)
    assert outputs.keys() == expected.keys()
    for value, array in expected.items():
        np.testing.assert_array_equal(outputs[value], array)


def config_named(name: str) -> VTAConfig:
    """Return a shipped configuration."""
    return VTAConfig.load(find("vta_configs", name, ".json"))
