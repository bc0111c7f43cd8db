"""An experiment file: which models, clusters, board counts, strategies, VTA builds and objectives are combined."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from mpi_vta.errors import ConfigError
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.hw.cluster import MAX_BOARDS, Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import HW_ROOT, find_beside, inside
from mpi_vta.hw.targets import FASTEST_MHZ
from mpi_vta.hw.toml_table import TomlTable
from mpi_vta.plans.figures import OBJECTIVES
from mpi_vta.schedule.strategies import AUTO, STRATEGIES

REMEDY = "see docs/experiments.md"
ALL_BOARDS = "all"
MOST_IMAGES = 1_000_000
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class Search:
    """VTA builds to be enumerated for a part.

    Attributes
    ----------
    part : str
        The FPGA.
    clock_mhz : float
        Clock of every build.
    limit : int
        Builds to try, at most: the best by the screening.
    """

    part: str
    clock_mhz: float
    limit: int


@dataclass(frozen=True)
class IllegalConfig:
    """A named VTA build that cannot be: its points are rows with the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Experiment:
    """What an experiment file says, checked.

    Attributes
    ----------
    name : str
        Names the result.
    models : tuple of tuple of str
        Zoo names or ONNX files; an entry of several is a mix that runs at once.
    clusters : tuple of Cluster
        Whole; points take their first boards.
    boards : tuple of int
        Numbers of boards; empty for every board of each cluster.
    strategies, objectives : tuple of str
        As for `mpi_vta.schedule.strategies.make_plan`.
    images : int
        Images of each job, of each model of a mix.
    seed : int
        Of synthetic weights.
    configs : tuple of VTAConfig or IllegalConfig
        VTA builds that replace the boards' own; empty to keep those.
    search : Search or None
        Builds to be enumerated, besides.
    """

    name: str
    models: tuple[tuple[str, ...], ...]
    clusters: tuple[Cluster, ...]
    boards: tuple[int, ...]
    strategies: tuple[str, ...]
    objectives: tuple[str, ...]
    images: int
    seed: int = 0
    configs: tuple[VTAConfig | IllegalConfig, ...] = ()
    search: Search | None = None

    @classmethod
    def load(cls, path: Path) -> Experiment:
        """Read an experiment file; clusters, builds and models that it names by path are relative to it.

        Raises
        ------
        ConfigError
            With every fault of the file.
        """
        table = TomlTable.load(path)
        name = table.text("name")
        mixes = table.parsed("models", _mixes, "a list of different models, or of mixes") or ()
        found_models = {name: _model(table, name, path.parent) for name in dict.fromkeys(chain.from_iterable(mixes))}
        models = tuple(tuple(found_models[name] for name in mix) for mix in mixes)
        named = table.parsed("clusters", _names, "a list of different clusters") or ()
        boards = table.parsed("boards", _boards, f'"1..12", a list of 1..{MAX_BOARDS}, or "{ALL_BOARDS}"') or ()
        strategies = _choices(table, "strategies", (*STRATEGIES, AUTO))
        objectives = _choices(table, "objectives", tuple(OBJECTIVES))
        images = table.integer("images", 1, MOST_IMAGES)
        seed = table.integer("seed", 0, 2**31 - 1, 0)
        configs, search = _configurations(table, path.parent)
        table.refuse_unknown()
        clusters = tuple(_cluster(table, cluster, path.parent) for cluster in named)
        table.raise_faults("illegal experiment", str(path), REMEDY)
        found = tuple(cluster for cluster in clusters if cluster is not None)
        return cls(name, models, found, boards, strategies, objectives, images, seed, configs, search)


def _names(value: object) -> tuple[str, ...] | None:
    """Return a list of different names, or None for anything else."""
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) and entry for entry in value):
        return None
    return tuple(value) if len(set(value)) == len(value) else None


def _mixes(value: object) -> tuple[tuple[str, ...], ...] | None:
    if not isinstance(value, list) or not value:
        return None
    found = []
    for entry in value:
        mix = (entry,) if isinstance(entry, str) else tuple(entry) if isinstance(entry, list) else ()
        if not mix or not all(isinstance(model, str) and model for model in mix):
            return None
        found.append(mix)
    return tuple(found) if len(set(found)) == len(found) else None


def _model(table: TomlTable, name: str, folder: Path) -> str:
    """Return the path of a file beside the experiment's or below, or a model of the zoo."""
    try:
        path = inside(folder, name)
    except ConfigError as fault:
        table.fault("models", f"holds one that cannot be used ({fault})")
        return name
    if path is None and name not in BUILDERS:
        table.fault("models", f"holds {name!r} (allowed: {', '.join(BUILDERS)}, or a file in {folder} or below it)")
    return name if path is None else str(path)


def _boards(value: object) -> tuple[int, ...] | None:
    if value == ALL_BOARDS:
        return ()
    if isinstance(value, str) and (match := _RANGE.fullmatch(value)):
        first, last = map(int, match.groups())
        return tuple(range(first, last + 1)) if 1 <= first <= last <= MAX_BOARDS else None
    counts = [value] if isinstance(value, int) else value
    if not isinstance(counts, list) or not counts or len(set(map(str, counts))) != len(counts):
        return None
    legal = all(type(count) is int and 1 <= count <= MAX_BOARDS for count in counts)
    return tuple(counts) if legal else None


def _choices(table: TomlTable, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = table.parsed(key, _names, f"a list of different ones of {', '.join(known)}") or ()
    for name in names:
        if name not in known:
            table.fault(key, f"holds {name!r} (allowed: {', '.join(known)})")
    return names


def _configurations(table: TomlTable, folder: Path) -> tuple[tuple[VTAConfig | IllegalConfig, ...], Search | None]:
    if not table.has("configurations"):
        return (), None
    inner = table.table("configurations")
    configs: list[VTAConfig | IllegalConfig] = []
    if inner.has("names"):
        for name in inner.parsed("names", _names, "a list of different VTA configurations") or ():
            try:
                path = find_beside("vta_configs", name, ".json", folder)
            except ConfigError as fault:
                inner.fault("names", f"holds one that cannot be used ({fault})")
            else:
                configs.append(_named_config(path))
    search = None
    if inner.has("part") or not inner.has("names"):
        search = Search(*_part_and_clock(inner, folder), inner.integer("limit", 1, 100_000, 200))
    inner.refuse_unknown()
    return tuple(configs), search


def _part_and_clock(table: TomlTable, folder: Path) -> tuple[str, float]:
    """Return a shipped part's name, or the path of a file beside the experiment's or below, and the clock."""
    name, clock_mhz = table.text("part"), table.number("clock_mhz", 1, FASTEST_MHZ)
    if not name:
        return name, clock_mhz
    try:
        path = find_beside("parts", name, ".toml", folder)
        fastest_mhz = load_part(str(path)).clocks[-1].mhz
    except ConfigError as fault:
        table.fault("part", f"cannot be used ({fault})")
        return name, clock_mhz
    if clock_mhz > fastest_mhz:
        table.fault("clock_mhz", f"is {clock_mhz:g} (allowed: a number 1..{fastest_mhz:g}, the highest with a source)")
    return name if path.parent == HW_ROOT / "parts" else str(path), clock_mhz


def _named_config(path: Path) -> VTAConfig | IllegalConfig:
    try:
        return VTAConfig.load(path)
    except ConfigError as fault:
        return IllegalConfig(path.stem, str(fault))


def _cluster(table: TomlTable, name: str, folder: Path) -> Cluster | None:
    try:
        return Cluster.load(str(find_beside("clusters", name, ".toml", folder)))
    except ConfigError as fault:
        table.fault("clusters", f"holds one that cannot be used ({fault})")
        return None
