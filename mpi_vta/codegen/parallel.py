"""Schedules searched on several cores: plain worker processes.

Workers are started as programs, not forked: rank 0 of an MPI job must not fork, and a worker must not
take itself for a rank.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import IO

from mpi_vta.child_process import end_with
from mpi_vta.codegen.bias import BiasPlan, plan_bias
from mpi_vta.codegen.kernel import Kernel
from mpi_vta.codegen.kernel_list import kernels_of
from mpi_vta.codegen.search import choose, missing_key, remember
from mpi_vta.codegen.tiling import Tiling
from mpi_vta.errors import MpiVtaError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig

Progress = Callable[[str, int, int], None]
"""Called with (layer name, layers done, layers in all)."""

LAUNCHER_VARIABLES = ("PMI_", "PMIX_", "OMPI_", "HYDRA_", "HYDI_", "MPI_", "MPIR_", "SLURM_")


def search_all(
    graph: Graph, kernels: Sequence[Kernel], config: VTAConfig, workers: int, progress: Progress | None = None
) -> int:
    """Find the schedules of a graph's kernels and keep them for `mpi_vta.codegen.search.choose`.

    Parameters
    ----------
    graph : Graph
        The graph that `kernels` come from, thin inputs gathered.
    kernels : sequence of Kernel
        As `mpi_vta.codegen.kernel_list.kernels_of` gives them.
    config : VTAConfig
        The build.
    workers : int
        Processes, this one included. The result does not depend on it.
    progress : callable, optional
        Told of the layers searched here, as if the other processes kept pace; all layers are still to be lowered.

    Returns
    -------
    int
        Layers searched.
    """
    open_kernels = _unknown(kernels, config)
    count = min(workers, len(open_kernels))
    if count < 2:
        return 0
    shares = [open_kernels[first::count] for first in range(count)]
    with ExitStack() as running:  # leaving it waits for every worker
        processes = []
        for share in shares[1:]:
            processes.append(running.enter_context(_start(graph, config, [index for index, *_ in share])))
            running.callback(processes[-1].kill)
        for done, (_, kernel, bias) in enumerate(shares[0]):
            if progress:
                progress(kernel.name, done * count, len(open_kernels) + len(kernels))
            choose(kernel, bias, config)
        for process, share in zip(processes, shares[1:], strict=True):
            answer, _ = process.communicate()
            # a worker that failed left no answer: its kernels are searched here, and say what is wrong
            found = json.loads(answer) if process.returncode == 0 else []
            for (_, kernel, bias), fields in zip(share, found, strict=False):
                remember(kernel, bias, config, Tiling(**fields))
    return len(open_kernels)


def _unknown(kernels: Iterable[Kernel], config: VTAConfig) -> list[tuple[int, Kernel, BiasPlan]]:
    """Return the kernels that still need a search, one of each shape, the costly ones first."""
    found: dict[object, tuple[int, Kernel, BiasPlan]] = {}
    for index, kernel in enumerate(kernels):
        bias = plan_bias(kernel, config)
        key = missing_key(kernel, bias, config)
        if key is not None:
            found.setdefault(key, (index, kernel, bias))
    return list(found.values())


def _start(graph: Graph, config: VTAConfig, indices: list[int]) -> subprocess.Popen[bytes]:
    """Start a worker and hand it its share."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER_VARIABLES)}
    request = json.dumps({"config": config.to_dict(), "indices": indices}).encode()
    with tempfile.TemporaryFile() as stdin:  # not a pipe: a worker that dies early must not block or break us
        stdin.write(request + b"\n" + graph.to_bytes())
        stdin.seek(0)
        return subprocess.Popen(
            [sys.executable, "-m", "mpi_vta.codegen.parallel", str(os.getpid())],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environ,
        )


def work(stdin: IO[bytes], stdout: IO[str]) -> int:
    """Answer one request: a line of JSON, then a serialised graph; return the exit status."""
    request = json.loads(stdin.readline())
    config = VTAConfig.from_dict(request["config"])
    kernels = kernels_of(Graph.from_bytes(stdin.read()), config)
    try:
        chosen = [choose(kernels[i], plan_bias(kernels[i], config), config) for i in request["indices"]]
    except MpiVtaError:
        return 1
    stdout.write(json.dumps([asdict(tiling) for tiling in chosen]))
    return 0


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    sys.exit(work(sys.stdin.buffer, sys.stdout))
