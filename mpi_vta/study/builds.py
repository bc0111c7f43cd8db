"""The VTA builds of a study: the boards' own, those named, and those enumerated for a part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import fsum

from mpi_vta.codegen.screening import Screened
from mpi_vta.errors import ConfigError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.enumeration import enumerated_builds, largest_builds, summarise_shapes
from mpi_vta.hw.parts import Fpga, load_part
from mpi_vta.runtime.progress import Progress
from mpi_vta.study.experiment import Experiment, Search
from mpi_vta.study.points import StudyBuild
from mpi_vta.study.screenings import screened_builds


def builds_of(experiment: Experiment, graphs: Mapping[str, Graph], progress: Progress) -> tuple[StudyBuild | None, ...]:
    """Return the builds to combine with everything else; None stands for the boards' own.

    Parameters
    ----------
    experiment : Experiment
        Names builds, or a part whose builds are enumerated and screened for every model or mix.
    graphs : mapping of str to Graph
        The int8 graph of every model.
    progress : Progress
        Told of the screening.

    Raises
    ------
    ConfigError
        If there is no such part, or no build fits it.
    """
    named = tuple(StudyBuild(config) for config in experiment.configs)
    if experiment.search is None:
        return named or (None,)
    clock_mhz = experiment.search.clock_mhz
    found = (StudyBuild(config, clock_mhz) for config in _searched(experiment, graphs, progress))
    # a named build runs at the boards' clock: is that the search's, it is the same build
    alike = all(board.clock_mhz == clock_mhz for cluster in experiment.clusters for board in cluster.boards)
    known = {build.config for build in named if alike}
    return (*named, *(build for build in found if build.config not in known))


def best_first(
    mixes: Sequence[Sequence[str]], screened: Mapping[str, Mapping[VTAConfig, Screened]]
) -> list[list[VTAConfig]]:
    """Return the builds in the order of cycles per image, for every mix of models.

    Parameters
    ----------
    mixes : sequence of sequence of str
        Each a model, or several of which one image each counts.
    screened : mapping of str to mapping of VTAConfig to Screened
        By model and build.
    """
    configs = next(iter(screened.values()))
    rankings = []
    for mix in mixes:
        of_mix = {config: fsum(screened[model][config].image_cycles for model in mix) for config in configs}
        order = sorted((cycles, config.name, config) for config, cycles in of_mix.items())
        rankings.append([config for *_, config in order])
    return rankings


def _searched(experiment: Experiment, graphs: Mapping[str, Graph], progress: Progress) -> list[VTAConfig]:
    search = experiment.search
    assert search is not None
    configs = _fitting(load_part(search.part), search)
    screened = {}
    for model, graph in graphs.items():
        progress.phase(f"screening {len(configs)} builds of {search.part} for {graph.name}")
        screened[model] = screened_builds(graph, configs, progress.step)
    return list(_in_turn(best_first(experiment.models, screened)))[: search.limit]


def _fitting(part: Fpga, search: Search) -> list[VTAConfig]:
    builds = tuple(enumerated_builds(part, search.clock_mhz))
    configs = [build.config for build in largest_builds(builds)]
    if not configs:
        smallest = summarise_shapes(builds, search.clock_mhz)[0]
        raise ConfigError(f"no build fits: {smallest.reason}", where=part.name, remedy="choose another part")
    return configs


def _in_turn(rankings: Sequence[Sequence[VTAConfig]]) -> Iterator[VTAConfig]:
    """Yield every build once: the first of each ranking, then the second of each."""
    seen = set()
    for place in zip(*rankings, strict=True):
        for config in place:
            if config not in seen:
                seen.add(config)
                yield config
