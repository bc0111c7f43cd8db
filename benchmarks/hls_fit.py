"""Fit of profile ``hls`` to measured board times: ``python benchmarks/hls_fit.py``.

The board times are the best per-layer ones of VTA's authors on HLS bitstreams (TVM's tuning-log archive). Their
schedules are TVM's, which are not published with the times; ours stand in for them. So the free constants (set-up
of a move, set-up of a row, effective port bandwidth, and the driver's time per launch) take up what the schedules
differ in, too: they are fitted, modelled figures, never measured ones.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
from compiler import BOARD_TIMES_MS
from numpy.typing import NDArray
from scipy.optimize import minimize

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.isa.table import Unit
from mpi_vta.job.ready_model import ready_model
from mpi_vta.simulator.profile import HLS, TimingProfile
from mpi_vta.simulator.timing import simulate

Programs = list[tuple[VTAConfig, NDArray[np.uint64]]]
TARGETS = {"pynq_1x16": 0, "ultra96_1x16": 1}
LIMITS = {
    "move_setup_cycles": (0, 2000),
    "row_setup_cycles": (0, 400),
    "port_bytes_per_cycle": (0.5, 8),
    "launch_ms": (0, 1),
}


def programs(graph: Graph, config: VTAConfig) -> Programs:
    """Return each measured convolution compiled by itself."""
    result = []
    for name, *_ in BOARD_TIMES_MS:
        program = compile_graph(graph.subgraph([name]), config)
        result.append((config, program.link(program.default_bases)))
    return result


def times_ms(compiled: Programs, profile: TimingProfile) -> NDArray[np.float64]:
    """Return the modelled times."""
    return np.array([simulate(c, insns, profile).cycles / c.clock_mhz / 1000 for c, insns in compiled])


def constants_of(values: NDArray[np.float64]) -> tuple[TimingProfile, float]:
    """Return profile `hls` with other free constants, and the driver's milliseconds per launch."""
    move, row, port, launch_ms = (float(np.clip(v, *LIMITS[n])) for n, v in zip(LIMITS, values, strict=True))
    profile = replace(HLS, move_setup_cycles=round(move), row_setup_cycles=row, port_bytes_per_cycle=port)
    return profile, launch_ms


def fit(compiled: Programs, measured: NDArray[np.float64]) -> tuple[TimingProfile, float]:
    """Return the constants of the least squared logarithmic error, best of several starts."""

    def error(values: NDArray[np.float64]) -> float:
        profile, launch_ms = constants_of(values)
        ratio = np.log((times_ms(compiled, profile) + launch_ms) / measured)
        outside = sum(max(0.0, low - v, v - high) for v, (low, high) in zip(values, LIMITS.values(), strict=True))
        return float((ratio**2).sum()) + outside

    starts = [np.array(start) for start in ((30, 20, 7.8, 0.1), (300, 5, 4.0, 0.3), (100, 60, 2.0, 0.5))]
    options = {"xatol": 0.02, "fatol": 1e-4, "maxfev": 250}
    runs = [minimize(error, start, method="Nelder-Mead", options=options) for start in starts]
    return constants_of(min(runs, key=lambda run: float(run.fun)).x)


def main() -> None:
    """Fit the targets named, both by default, and print the constants, the residuals and the layers."""
    graph = ready_model("resnet18", seed=0, weights=None).graph
    for target in sys.argv[1:] or TARGETS:
        column = TARGETS[target]
        compiled = programs(graph, VTAConfig.load(find("vta_configs", target, ".json")))
        measured = np.array([row[2 + column] for row in BOARD_TIMES_MS])
        fitted, launch_ms = fit(compiled, measured)
        print(
            f"{target}: move_setup_cycles={fitted.move_setup_cycles} row_setup_cycles={fitted.row_setup_cycles:.1f} "
            f"port_bytes_per_cycle={fitted.port_bytes_per_cycle:.2f}, {launch_ms:.2f} ms per launch (fitted)"
        )
        print("| layer | board, measured, ms | hls shipped, modelled | ratio | hls fitted, modelled | ratio |")
        print("|---|---|---|---|---|---|")
        shipped, after = times_ms(compiled, HLS), times_ms(compiled, fitted) + launch_ms
        for (name, *_), board, before, ms in zip(BOARD_TIMES_MS, measured, shipped, after, strict=True):
            print(f"| {name} | {board:.3f} | {before:.3f} | {before / board:.2f} | {ms:.3f} | {ms / board:.2f} |")
        for label, values in (("shipped", shipped), ("fitted", after)):
            ratio = np.log(values / measured)
            print(f"residual, {label}: {100 * np.sqrt((ratio**2).mean()):.1f} % rms (logarithmic)")
        busy = [simulate(c, i, fitted).busy_cycles(Unit.LOAD) / simulate(c, i, fitted).cycles for c, i in compiled]
        print(f"share of the time in which the load unit is busy: {min(busy):.0%} to {max(busy):.0%}\n")


if __name__ == "__main__":
    main()
