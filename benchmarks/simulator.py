"""How fast and how right the simulator is: ``python benchmarks/simulator.py [--config NAME ...]``.

Prints, for whole networks compiled here: GEMM micro-ops simulated per second and core, the time of the
timing model alone and of the full check; and, for every test vector with RTL cycles, the error of the
timing model. Each target is the one the project sets itself; a ratio above 1 is better than asked for.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.program import Program
from mpi_vta.frontend.models import load_model
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.quantize.quantizer import quantize
from mpi_vta.simulator.checks import check_program
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.timing import simulate
from mpi_vta.simulator.vectors import Vector

MODELS = ("resnet18", "yolo")
UOPS_TARGET_M_PER_S = 30.0
TIMING_TARGET_S = 0.3
FUZZ_TARGET, TILED_TARGET = 0.0, 0.01
VECTORS = Path(__file__).parent.parent / "tests" / "data" / "vectors"


def best_s(action: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest wall time of an action."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return min(times)


def int8_graph(name: str) -> Graph:
    """Return a zoo model, quantised."""
    model = load_model(name, seed=0)
    return quantize(model.graph, model.calibration).graph


def image_of(program: Program) -> np.ndarray:
    """Return the program's DRAM with random inputs."""
    image = program.dram_image()
    rng = np.random.default_rng(0)
    for binding in program.inputs:
        base = program.default_bases[binding.segment]
        image[base : base + binding.size_bytes] = rng.integers(0, 256, binding.size_bytes, dtype=np.uint8)
    return image


def measure_network(program: Program) -> None:
    """Print the speeds of one compiled network."""
    insns = program.link(program.default_bases)
    image = image_of(program)
    started = time.perf_counter()
    executable = Executable(program.config, insns, image)
    decode_s = time.perf_counter() - started
    run_s = best_s(lambda: executable.run(image))
    timing_s = best_s(lambda: simulate(program.config, insns))
    check_s = best_s(lambda: check_program(program.config, insns, image), repeats=1)
    macs = program.config.batch * program.config.block**2
    # a micro-op of another shape counts as so many of 1x16x16
    rate = executable.gemm_uops * macs / 256 / run_s / 1e6
    print(
        f"{program.name:10} {program.config.name:38} {len(insns):7} {executable.gemm_uops / 1e6:7.2f} "
        f"{decode_s:7.2f} {run_s:7.3f} {rate:7.1f} {rate / UOPS_TARGET_M_PER_S:6.2f} "
        f"{timing_s:7.3f} {TIMING_TARGET_S / timing_s:6.2f} {check_s:7.2f}"
    )


def print_timing_errors() -> None:
    """Print the error of the timing model on every vector with RTL cycles."""
    print(f"\n{'vector':28} {'RTL':>8} {'model':>8} {'error':>8}")
    errors: dict[str, list[float]] = {"fuzz": [], "tiled": []}
    for path in sorted(VECTORS.glob("*.npz")):
        vector = Vector.load(path)
        if vector.rtl_cycles < 0:
            continue
        cycles = simulate(vector.config, vector.insns).cycles
        error = cycles / vector.rtl_cycles - 1
        errors[path.stem.split("_")[0]].append(abs(error))
        print(f"{path.stem:28} {vector.rtl_cycles:8} {cycles:8} {error:8.2%}")
    for kind, target in (("fuzz", FUZZ_TARGET), ("tiled", TILED_TARGET)):
        found = errors[kind]
        print(
            f"{kind}: {len(found)} vectors, mean absolute error {np.mean(found):.4%}, largest {max(found):.4%} "
            f"(target {target:.0%})"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", nargs="*", default=["pynq_1x16"], help="shipped VTA configurations")
    parser.add_argument("--model", nargs="*", default=list(MODELS), help="zoo models")
    options = parser.parse_args()
    print(f"targets: {UOPS_TARGET_M_PER_S:.0f} M uops (1x16x16) per second, timing alone {TIMING_TARGET_S} s; one core")
    print(
        f"{'model':10} {'configuration':38} {'insns':>7} {'M uops':>7} {'decode':>7} {'run s':>7} {'M/s':>7} "
        f"{'ratio':>6} {'timing':>7} {'ratio':>6} {'check':>7}"
    )
    for name in options.model:
        graph = int8_graph(name)
        for config in options.config:
            measure_network(compile_graph(graph, VTAConfig.load(find("vta_configs", config, ".json"))))
    print_timing_errors()


if __name__ == "__main__":
    main()
