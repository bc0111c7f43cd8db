"""Builds x networks on this project's own core, compiled: ``python benchmarks/cores.py``; shown in docs/hardware.md.

Every network runs as one program on the simulator and on the Verilated core, on random inputs: whether memory is the
same afterwards, byte by byte, and the cycles of both (core: counted by it; simulator: profile own). Resources are those
of ``benchmarks/core_counts.json`` where the build is in it, else modelled. A core takes a minute to compile, resnet18
minutes to run.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from core_counts import TABLE

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.gateware.model import VerilatedCore
from mpi_vta.graph.ir import Graph
from mpi_vta.hardware import PARTS
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.core_resources import estimate_core
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import find
from mpi_vta.job.ready_model import ready_model
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.profile import OWN
from mpi_vta.simulator.timing import simulate


def compared(core: VerilatedCore, graph: Graph) -> tuple[int, int, int]:
    """Return the bytes of memory that differ after a program on random inputs, and the cycles of core and simulator."""
    program = compile_graph(graph, core.config)
    insns = program.link(program.default_bases)
    image, rng = program.dram_image(), np.random.default_rng(0)
    for binding in program.inputs:
        base = program.default_bases[binding.segment]
        image[base : base + binding.size_bytes] = rng.integers(0, 256, binding.size_bytes, dtype=np.uint8)
    wanted = image.copy()
    Executable(core.config, insns, wanted).run(wanted)
    run = core.run(insns, image)
    return int(np.count_nonzero(image != wanted)), run.cycles, simulate(core.config, insns, OWN).cycles


def resources(config: VTAConfig) -> str:
    """Return the cells of DSPs, LUTs and block RAMs."""
    table = json.loads(TABLE.read_text())
    part = load_part(PARTS[config.target])
    for entry in table["cores"]:
        if entry["config"] == config.to_dict() and table["part"] == part.name:
            counted = entry["total"]
            return f"{counted['dsp']} | {counted['lut']:,} | {counted['bram36']:g} | counted by yosys"
    modelled = estimate_core(config, part, part.default_clock_mhz)
    return f"{modelled.dsp} | {modelled.lut:,} | {modelled.bram36:g} | modelled"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--builds", nargs="+", default=["pynq_1x16", "pynq_2x16", "ultra96_1x16"])
    parser.add_argument("--models", nargs="+", default=["digits", "depthwise", "shapes"])
    options = parser.parse_args()
    graphs = {name: ready_model(name, seed=0, weights=None).graph for name in options.models}
    print("| build | network | bytes that differ | cycles, core | cycles, profile `own` | DSP | LUT | BRAM36 | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.builds:
        core = VerilatedCore(VTAConfig.load(find("vta_configs", name, ".json")))
        for model, graph in graphs.items():
            wrong, cycles, modelled = compared(core, graph)
            print(
                f"| `{name}` | {model} | {wrong} | {cycles:,} | {modelled:,} | {resources(core.config)} |", flush=True
            )


if __name__ == "__main__":
    main()
