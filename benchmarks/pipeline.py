"""How fast the main job itself is: ``python benchmarks/pipeline.py``. Prints each time against its target.

Every figure is measured here, as the ratio target / measured: above 1 is faster than asked for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.cluster import Cluster
from mpi_vta.job.ready_model import ready_model
from mpi_vta.runtime.devices.protocol import DeviceSetup
from mpi_vta.runtime.devices.sim import SimDevice
from mpi_vta.runtime.stage import BoardStage

CONFIG = Cluster.default(1).boards[0].config


def command_s(folder: Path, model: str, *options: str, ranks: int = 0) -> float:
    """Return the wall time of one run of the command, with its program cache in `folder`."""
    launcher = [str(Path(sys.executable).parent / "mpirun"), "-n", str(ranks)] if ranks else []
    environ = {**os.environ, "MPI_VTA_CACHE": str(folder / "cache"), "OPENBLAS_NUM_THREADS": "1"}
    fixed = ["-m", "mpi_vta.pipeline", "--model", model, "--output", str(folder / "out"), "--json"]
    started = time.perf_counter()
    subprocess.run([*launcher, sys.executable, *fixed, *options], check=True, env=environ, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def compile_s(graph: Graph) -> float:
    """Return the wall time of compiling the whole model."""
    started = time.perf_counter()
    compile_graph(graph, CONFIG)
    return time.perf_counter() - started


def image_s(graph: Graph) -> float:
    """Return the wall time of one bit-exact image on one core, program loaded, best of three."""
    stage = BoardStage(compile_graph(graph, CONFIG), SimDevice(DeviceSetup()))
    (name,) = graph.inputs
    shape = (CONFIG.batch, *graph.values[name].shape[1:])
    image = np.random.default_rng(0).integers(-128, 128, shape, dtype=np.int8).reshape(-1).view(np.uint8)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        stage.run({name: image}, frozenset({name}))
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18", help="zoo model; the targets are for %(default)s")
    parser.add_argument("--ranks", type=int, default=12)
    given = parser.parse_args()
    model, ranks = given.model, given.ranks
    graph = ready_model(model, seed=0, weights=None).graph
    rows = [(f"{model} compiled, cold", 60.0, compile_s(graph)), (f"{model}, one image bit-exact", 2.0, image_s(graph))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows.append((f"{model} planned for one board, nothing cached", 60.0, command_s(folder, model, "--dry-run")))
        rows.append((f"{model} planned again, from the cache", 2.0, command_s(folder, model, "--dry-run")))
        timing = ("--device", "timing", "--images", "24")
        command_s(folder, model, *timing, "--dry-run", ranks=ranks)
        took_s = command_s(folder, model, *timing, ranks=ranks)
        rows.append((f"{ranks} ranks, 24 images, timing only", 10.0, took_s))
    for what, target_s, found_s in rows:
        print(f"{what:45} {found_s:8.2f} s, target {target_s:5.0f} s, ratio {target_s / found_s:6.2f}")


if __name__ == "__main__":
    main()
