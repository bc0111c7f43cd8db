"""The best VTA build per part, for resnet18, yolo and both: ``python benchmarks/builds.py``, a table of docs/builds.md.

Builds that fit for sure, and those that fit in doubt, apart. Of the largest builds the GEMM shapes whose bound is
near the best one's are screened; the screening's first few are compiled and timed (profile ``rtl``), beside the
published build of the part. Clocks are the published bitstreams': that a larger core closes at them is not known.
Screenings and programs are kept in the program cache: a run that was ended goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum, inf

from mpi_vta.codegen.bound import layer_bounds
from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.errors import CompileError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.enumeration import EnumeratedBuild, check_build, config_of, enumerated_builds, largest_builds
from mpi_vta.hw.parts import Fpga, load_part
from mpi_vta.job.ready_model import ready_model
from mpi_vta.schedule.cache import ProgramCache
from mpi_vta.schedule.cost import time_program
from mpi_vta.study.builds import best_first
from mpi_vta.study.screenings import screened_builds

PARTS = ("XC7Z020", "ZU3EG", "ZU7EV")
MIXES = (("resnet18",), ("yolo",), ("resnet18", "yolo"))
NEAR = 1.2  # shapes whose bound is within this factor of the best shape's are screened
USUAL = (0, 4, 13, 11, 10, 11)  # the published 1x16 build


@dataclass
class Models:
    """The graphs, and what is compiled of them."""

    graphs: Mapping[str, Graph]

    @cached_property
    def programs(self) -> ProgramCache:
        return ProgramCache(compile_graph, time_program)

    def image_cycles(self, mix: Sequence[str], config: VTAConfig) -> float:
        """Return the cycles of one image of each model (modelled); infinite if one does not compile."""
        try:
            programs = [self.programs.program(self.graphs[model], config) for model in mix]
        except CompileError:
            return inf
        return fsum(self.programs.timing(program).cycles for program in programs) / config.batch

    def bound_cycles(self, model: str, config: VTAConfig) -> float:
        """Return what no schedule can avoid per image."""
        return sum(bound.cycles for bound in layer_bounds(self.graphs[model], config)) / config.batch


def near_builds(builds: Sequence[EnumeratedBuild], models: Models) -> list[VTAConfig]:
    """Return the builds of the shapes that may be best for some mix."""
    by_shape: dict[tuple[int, int], list[VTAConfig]] = {}
    for build in builds:
        by_shape.setdefault(build.shape, []).append(build.config)
    kept = set()
    of_shape = {
        shape: {model: models.bound_cycles(model, configs[0]) for model in models.graphs}
        for shape, configs in by_shape.items()
    }
    for mix in MIXES:
        bounds = {shape: fsum(of_model[model] for model in mix) for shape, of_model in of_shape.items()}
        kept |= {shape for shape, bound in bounds.items() if bound <= NEAR * min(bounds.values())}
    return [config for shape in sorted(kept) for config in by_shape[shape]]


def print_group(part: Fpga, title: str, builds: Sequence[EnumeratedBuild], models: Models, first: int) -> None:
    """Print the best build of a group for every mix, after compiling the screening's first few."""
    configs = near_builds(builds, models)
    screened = {
        model: screened_builds(graph, configs, lambda done, total: None) for model, graph in models.graphs.items()
    }
    told = f"{part.name}, {title}: {len(builds)} largest builds, {len(configs)} screened"
    print(told, file=sys.stderr, flush=True)
    for mix, ranking in zip(MIXES, best_first(MIXES, screened), strict=True):
        true = [(models.image_cycles(mix, config), rank, config) for rank, config in enumerate(ranking[:first])]
        cycles, rank, config = min(true, key=lambda entry: entry[:2])
        print(row(part, "+".join(mix), title, config, cycles, f"{rank + 1} of {len(ranking)}"), flush=True)


def row(part: Fpga, mix: str, title: str, config: VTAConfig, cycles: float, rank: str) -> str:
    """Return one line of the table."""
    clock_mhz = part.default_clock_mhz
    taken = check_build(config, part, clock_mhz).resources
    assert taken is not None
    image_ms = cycles / clock_mhz / 1000
    return (
        f"| {part.name} | {mix} | {title} | `{config.name}` | {image_ms:.2f} | {1000 / image_ms:.1f} "
        f"| {image_ms * config.batch:.1f} | {taken.bram36:g} | {taken.uram} | {taken.dsp} | {taken.lut:,} | {rank} |"
    )


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=3, help="builds to compile per mix (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", default=PARTS)
    options = parser.parse_args()
    models = Models({name: ready_model(name, seed=0, weights=None).graph for name in ("resnet18", "yolo")})
    columns = ("part", "model", "builds", "best one", "ms an image", "images/s", "ms a launch")
    print("|", " | ".join((*columns, "BRAM36", "URAM", "DSP", "LUT", "screened")), "|")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for name in options.parts:
        part = load_part(name)
        usual = config_of(part.target, *USUAL)
        for mix in MIXES:
            print(row(part, "+".join(mix), "published", usual, models.image_cycles(mix, usual), ""), flush=True)
        builds = largest_builds(tuple(enumerated_builds(part, part.default_clock_mhz)))
        doubtful = [build for build in builds if build.resources is not None and build.resources.doubt]
        print_group(part, "that fit", [build for build in builds if build not in doubtful], models, options.first)
        if doubtful:
            print_group(part, "in doubt", doubtful, models, options.first)


if __name__ == "__main__":
    main()
