"""How well the screening finds the best build: ``python benchmarks/screening.py [--part P] [--model M] [--builds N]``.

Some of the largest builds that fit a part, evenly spread over the screening's ranking, its first ten among them,
are compiled and simulated (in cycles, profile ``rtl``). Printed: where the true best build stands in the
screening's ranking, the rank correlation, and processor time per build, from which 200 builds are extrapolated.

What was compiled is kept in ``out/screening-PART-MODEL.json``: a run that was ended goes on, and prints the same table.
``--fresh`` compiles all anew.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.screening import Screened, screen_all
from mpi_vta.disk import write_atomically
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.enumeration import enumerated_builds, largest_builds
from mpi_vta.hw.parts import Fpga, load_part
from mpi_vta.job.ready_model import ready_model
from mpi_vta.schedule.cache import sources_hash
from mpi_vta.schedule.cost import time_program

FIRST = 10  # of the screening's ranking, compiled in any case
BEST_AMONG = 5  # the screening is trusted to have the best build among so many
SOURCES = ("codegen", "simulator", "isa", "graph", "hw/config.py")  # a build compiled by others is compiled anew


@dataclass(frozen=True)
class Measured:
    """What compiling and simulating one build took."""

    cycles: int
    compile_s: float
    simulate_s: float


@dataclass(frozen=True)
class Compiled:
    """One build compiled and simulated."""

    screened: Screened
    rank: int
    measured: Measured


class Kept:
    """The builds compiled so far, on disk."""

    def __init__(self, path: Path, graph: Graph, fresh: bool) -> None:
        self._path, self._graph = path, graph
        self._made_by = f"{sources_hash(SOURCES)} {graph.sha256}"
        kept = json.loads(path.read_text()) if path.exists() and not fresh else {}
        self._found = kept["builds"] if kept.get("made_by") == self._made_by else {}

    def measured(self, config: VTAConfig) -> Measured:
        """Return what a build took; raise CompileError if a layer has no room."""
        if config.name not in self._found:
            self._found[config.name] = asdict(_measure(self._graph, config))
            kept = {"made_by": self._made_by, "builds": self._found}
            write_atomically(self._path, json.dumps(kept, indent=1).encode())
        return Measured(**self._found[config.name])


def _measure(graph: Graph, config: VTAConfig) -> Measured:
    started_s = time.process_time()
    program = compile_graph(graph, config)
    between_s = time.process_time()
    cycles = time_program(program).cycles
    return Measured(cycles, between_s - started_s, time.process_time() - between_s)


def screened_builds(part: Fpga, graph: Graph) -> tuple[list[Screened], float]:
    """Return the part's largest builds in the screening's order, and the processor time of screening one."""
    clock_mhz = part.default_clock_mhz
    builds = largest_builds(tuple(enumerated_builds(part, clock_mhz)))
    begun_s = time.process_time()
    ranking = screen_all(graph, [build.config for build in builds])
    return ranking, (time.process_time() - begun_s) / len(builds)


def compiled_builds(kept: Kept, ranking: list[Screened], count: int) -> list[Compiled]:
    """Compile and simulate some of the builds."""
    possible = [one for one in ranking if not one.reason]
    chosen = sorted({*range(FIRST), *np.linspace(FIRST, len(possible) - 1, count - FIRST).astype(int).tolist()})
    found = []
    for rank in chosen:
        config = possible[rank].config
        try:
            found.append(Compiled(possible[rank], rank, kept.measured(config)))
        except CompileError as fault:
            print(f"{config.name}: screened at rank {rank + 1}, does not compile: {fault}")
            continue
        print(row(found[-1]), flush=True)
    return found


def row(one: Compiled) -> str:
    """Return a build's line of the table."""
    batch = one.screened.config.batch
    guessed, true = one.screened.cycles, one.measured.cycles
    return (
        f"| {one.rank + 1} | `{one.screened.config.name}` | {guessed / batch:,.0f} | {true / batch:,.0f} "
        f"| {guessed / true:.3f} | {one.measured.compile_s:.1f} | {one.measured.simulate_s:.2f} |"
    )


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's coefficient."""
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def main() -> None:
    """Screen, compile, simulate, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="XC7Z020")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--builds", type=int, default=25)
    parser.add_argument("--fresh", action="store_true", help="compile every build anew")
    options = parser.parse_args()
    if options.builds <= FIRST:
        parser.error(f"--builds: allowed: more than {FIRST}")
    part = load_part(options.part)
    graph = ready_model(options.model, seed=0, weights=None).graph
    ranking, screen_s = screened_builds(part, graph)
    lost = [one for one in ranking if one.reason]
    print(f"{options.model} on {part.name}: {len(ranking)} largest builds, {len(lost)} without room for a layer")
    print("| screened | build | cycles an image, screened | cycles an image (modelled) | ratio "
          "| compile, CPU s (measured) | simulate, CPU s (measured) |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    kept = Kept(Path("out") / f"screening-{part.name}-{options.model}.json", graph, options.fresh)
    found = compiled_builds(kept, ranking, options.builds)
    true = np.array([one.measured.cycles / one.screened.config.batch for one in found])
    guessed = np.array([one.screened.image_cycles for one in found])
    best = found[int(true.argmin())]
    spent_s = np.array([one.measured.compile_s + one.measured.simulate_s for one in found])
    among = "among" if best.rank < BEST_AMONG else "not among"
    print(
        f"true best: {best.screened.config.name}, rank {best.rank + 1} of the screening: {among} its {BEST_AMONG} first"
    )
    ratios = guessed / true
    print(f"guess over truth {ratios.min():.3f} to {ratios.max():.3f}")
    print(f"rank correlation {rank_correlation(guessed, true):.3f} over {len(found)} builds")
    print(
        f"CPU time (measured): {screen_s:.2f} s to screen a build, {spent_s.mean():.1f} s to compile and simulate one "
        f"({spent_s.min():.1f} to {spent_s.max():.1f})"
    )
    print(f"200 builds on 2 cores: {200 * spent_s.mean() / 120:.0f} min (extrapolated)")


if __name__ == "__main__":
    main()
