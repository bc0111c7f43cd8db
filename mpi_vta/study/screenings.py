"""Screenings of VTA builds, kept in the program cache's folder: a sweep that goes on screens nothing again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path

from mpi_vta import artifact
from mpi_vta.codegen.screening import Screened, screen_all
from mpi_vta.disk import cache_directory, sources_hash
from mpi_vta.errors import ArtifactError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig
from mpi_vta.schedule.cache import cache_path, keep, read_kept

FORMAT_VERSION = 1
_ROOMS = ("codegen", "isa", "graph", "hw/config.py")


def screened_builds(
    graph: Graph, configs: Sequence[VTAConfig], progress: Callable[[int, int], None]
) -> Mapping[VTAConfig, Screened]:
    """Return what the screening says of a model on every build, from disk if it was asked before.

    Parameters
    ----------
    graph : Graph
        An int8 graph.
    configs : sequence of VTAConfig
        Legal builds, with different names.
    progress : callable
        Told of the builds done, and of all, if they are screened now.

    Raises
    ------
    InputError
        If the cache directory cannot be used.
    """
    wanted = [config.to_dict() for config in configs]
    parts = (sources_hash(_ROOMS), graph.sha256, json.dumps(wanted, sort_keys=True))
    path = cache_path(cache_directory(), "screening", *parts)
    known = _read(path, configs)
    if known is None:
        known = {one.config: one for one in screen_all(graph, configs, progress)}
        keep(path, _pack(known), "program")
    return known


def _pack(screened: Mapping[VTAConfig, Screened]) -> bytes:
    # JSON has no infinity
    rows = {config.name: [None if one.reason else one.cycles, one.reason] for config, one in screened.items()}
    return artifact.pack("screening", FORMAT_VERSION, {"builds": rows}, {})


def _read(path: Path, configs: Sequence[VTAConfig]) -> Mapping[VTAConfig, Screened] | None:
    """Return what a file holds; None if there is none, or if it is damaged."""
    data = read_kept(path, "program")
    if data is None:
        return None
    try:
        header, _ = artifact.unpack(data, "screening", FORMAT_VERSION, str(path))
    except ArtifactError:
        path.unlink(missing_ok=True)
        return None
    found = {}
    for config in configs:
        cycles, reason = header["builds"][config.name]
        found[config] = Screened(config, inf if cycles is None else cycles, reason)
    return found
