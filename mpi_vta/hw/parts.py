"""An FPGA: what a VTA build can use of it, and the clocks at which builds were run; read from TOML."""

from __future__ import annotations

from dataclasses import dataclass

from mpi_vta.hw.paths import find
from mpi_vta.hw.targets import FASTEST_MHZ, load_target, target_names
from mpi_vta.hw.toml_table import TomlTable


@dataclass(frozen=True)
class PublishedClock:
    """A clock at which a VTA build was run on a part, and who says so."""

    mhz: float
    source: str


@dataclass(frozen=True)
class Fpga:
    """Programmable logic of one FPGA.

    Attributes
    ----------
    name : str
        As in the board files, for example ``XC7Z020``.
    target : str
        ``TARGET`` of VTA configurations for it.
    dsp, bram36, uram, lut, ff : int
        DSP slices, block RAMs of 36 Kb, UltraRAMs of 288 Kb, look-up tables, flip-flops.
    source : str
        Where these numbers come from.
    clocks : tuple of PublishedClock
        Clocks of published builds, rising.
    """

    name: str
    target: str
    dsp: int
    bram36: int
    uram: int
    lut: int
    ff: int
    source: str
    clocks: tuple[PublishedClock, ...]

    @property
    def fastest_mhz(self) -> float:
        """The highest clock for which there is a source."""
        return self.clocks[-1].mhz

    @property
    def default_clock_mhz(self) -> float:
        """The clock of the target's published bitstreams."""
        return load_target(self.target).clock_mhz


def load_part(name_or_path: str) -> Fpga:
    """Read a shipped part by name or a file by path.

    Raises
    ------
    ConfigError
        If there is no such part, or with every fault of the file.
    """
    path = find("parts", name_or_path, ".toml")
    table = TomlTable.load(path)
    name = table.text("name")
    target = table.text("target")
    if target and target not in target_names():
        table.fault("target", f"is {target!r} (allowed: {', '.join(target_names())})")
    dsp, bram36, lut, ff = (table.integer(key, 1, 10_000_000) for key in ("dsp", "bram36", "lut", "ff"))
    uram = table.integer("uram", 0, 10_000)
    source = table.text("source")
    clocks = []
    for entry in table.tables("clocks"):
        clocks.append(PublishedClock(entry.number("mhz", 1, FASTEST_MHZ), entry.text("source")))
        entry.refuse_unknown()
    table.refuse_unknown()
    table.raise_faults("illegal part", str(path))
    return Fpga(name, target, dsp, bram36, uram, lut, ff, source, tuple(sorted(clocks, key=lambda clock: clock.mhz)))
