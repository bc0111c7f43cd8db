"""What a ``TARGET`` of VTA's configurations implies: memory bus, clock, usual board; one file of ``hw/targets``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from mpi_vta.errors import ConfigError
from mpi_vta.hw.paths import HW_ROOT, find
from mpi_vta.hw.toml_table import TomlTable

BUS_BITS = (64, 128)  # the two that VTA's memory ports are timed for
FASTEST_MHZ = 2000  # of any clock that a file or an option may name


@dataclass(frozen=True)
class Target:
    """A family of boards.

    Attributes
    ----------
    name : str
        As in ``TARGET``.
    bus_bits : int
        Width of the memory bus.
    clock_mhz : float
        Clock of VTA in the published bitstreams, or of a design with none.
    board : str
        The shipped board that stands for it where none is named.
    """

    name: str
    bus_bits: int
    clock_mhz: float
    board: str


def load_target(name: object) -> Target:
    """Return a target by name.

    Raises
    ------
    ConfigError
        If there is no such file under ``hw/targets``, or with every fault of it.
    """
    # what a file states may be a list, which no cache can look up
    if not isinstance(name, str):
        raise _no_target(name)
    return named_target(name)


@cache
def named_target(name: str) -> Target:
    """Return a target by a name that is a text; see `load_target` for errors."""
    if name not in target_names():
        raise _no_target(name)
    path = find("targets", name, ".toml")
    table = TomlTable.load(path)
    bus_bits = table.integer("bus_bits", BUS_BITS[0], BUS_BITS[-1])
    if bus_bits not in BUS_BITS:
        table.fault("bus_bits", f"is {bus_bits} (allowed: {', '.join(map(str, BUS_BITS))})")
    target = Target(name, bus_bits, table.number("clock_mhz", 1, FASTEST_MHZ), table.text("board"))
    table.refuse_unknown()
    table.raise_faults("illegal target", str(path), "see docs/vta_configuration.md")
    return target


def _no_target(name: object) -> ConfigError:
    return ConfigError(f"no target {name!r}", where="hw/targets", allowed=", ".join(target_names()))


def target_names() -> list[str]:
    """Return the names of all targets, in alphabetical order."""
    return sorted(path.stem for path in (HW_ROOT / "targets").glob("*.toml"))
