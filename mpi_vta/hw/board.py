"""A board: its VTA build, clock, memory, what its processor costs, and its power; read from TOML."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mpi_vta.errors import ConfigError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find, find_beside
from mpi_vta.hw.targets import FASTEST_MHZ
from mpi_vta.hw.toml_table import TomlTable
from mpi_vta.json_fields import Count

MEBIBYTE = 1 << 20
# how VTA reaches memory: through the Zynq-7000's coherency port into its L2, or past the caches
PORTS = ("acp", "hp", "hpc")


@dataclass(frozen=True)
class Power:
    """Electrical power of the whole board.

    Attributes
    ----------
    idle_w, active_w : float
        With VTA idle, and with VTA running.
    source : str
        Where the two numbers come from.
    """

    idle_w: float
    active_w: float
    source: str


@dataclass(frozen=True)
class Board:
    """One type of board.

    Attributes
    ----------
    name : str
        Type, for example ``pynq_z1``.
    part : str
        The FPGA.
    config : VTAConfig
        The VTA build that it carries.
    clock_mhz : float
        Clock of VTA.
    memory_bytes : int
        Contiguous memory (CMA) that VTA's buffers may use.
    cpu_ns_per_packed_byte : float
        Time that the processor takes per byte of stage input that it gathers or packs.
    launch_overhead_ns : int
        Time of one launch beyond VTA's own cycles: cache maintenance, registers, polling.
    power : Power
        Idle and active power.
    bitstream : str
        File on the board itself that holds the VTA build; empty if a job has to name one.
    input_clock_mhz : float
        Clock 0 of the processing system, from which the design's PLL makes VTA's clock.
    port : str
        One of `PORTS`, by which VTA reaches memory; empty if the bitstream's ``.hwh`` has to say it.
    address_window_bytes : int
        Addresses that the design maps to DRAM, from 0 on.
    image_name : str
        What the board's Linux image calls it; empty if unknown.
    """

    name: str
    part: str
    config: VTAConfig
    clock_mhz: float
    memory_bytes: Count
    cpu_ns_per_packed_byte: float
    launch_overhead_ns: Count
    power: Power
    bitstream: str = ""
    input_clock_mhz: float = 100.0
    port: str = ""
    address_window_bytes: Count = 1 << 30
    image_name: str = ""

    @classmethod
    def load(cls, name_or_path: str) -> Board:
        """Read a shipped board by name or a file by path.

        Raises
        ------
        ConfigError
            If there is no such board, or with every fault of the file.
        """
        path = find("boards", name_or_path, ".toml")
        table = TomlTable.load(path)
        name = table.text("name")
        part = table.text("part")
        config_name = table.text("config")
        clock_mhz = table.number("clock_mhz", 1, FASTEST_MHZ)
        memory_bytes = table.integer("memory_mib", 16, 1 << 16) * MEBIBYTE
        cpu = table.number("cpu_ns_per_packed_byte", 0, 10_000)
        overhead = table.integer("launch_overhead_ns", 0, 1_000_000_000)
        bitstream = table.text("bitstream", "")
        input_clock_mhz = table.number("input_clock_mhz", 1, FASTEST_MHZ, 100.0)
        port = table.text("port", "")
        if port and port not in PORTS:
            table.fault("port", f"is {port!r} (allowed: {', '.join(PORTS)}, or none)")
        window_bytes = table.integer("address_window_mib", 64, 4096, 1024) * MEBIBYTE
        image_name = table.text("image_name", "")
        power_table = table.table("power")
        power = Power(
            power_table.number("idle_w", 0, 1000),
            power_table.number("active_w", 0, 1000),
            power_table.text("source"),
        )
        if power.active_w < power.idle_w:
            power_table.fault(
                "active_w", f"is {power.active_w:g}, less than idle_w (allowed: at least {power.idle_w:g})"
            )
        power_table.refuse_unknown()
        table.refuse_unknown()
        config = load_config(config_name, path.parent, table) if config_name else None
        table.raise_faults("illegal board", str(path))
        assert config is not None
        return cls(
            name,
            part,
            config,
            clock_mhz,
            memory_bytes,
            cpu,
            overhead,
            power,
            bitstream,
            input_clock_mhz,
            port,
            window_bytes,
            image_name,
        )

    def with_config(self, config: VTAConfig) -> Board:
        """Return this board carrying another VTA build.

        Raises
        ------
        ConfigError
            If the build is for another memory bus: it belongs to another family of boards.
        """
        if config.bus_bits != self.config.bus_bits:
            raise ConfigError(
                f"configuration {config.name} has a {config.bus_bits}-bit memory bus, "
                f"board {self.name} has {self.config.bus_bits} bits",
                where="--config",
                remedy="choose a configuration for this board, or another --cluster",
            )
        return replace(self, config=config)

    def compute_ns(self, cycles: int) -> int:
        """Return the time of one launch of `cycles` VTA cycles, overhead included, rounded up."""
        clock_khz = round(self.clock_mhz * 1000)
        return -(-cycles * 1_000_000 // clock_khz) + self.launch_overhead_ns

    def pack_ns(self, packed_bytes: int) -> int:
        """Return the processor's time to gather or pack that many bytes, rounded up."""
        return -(-packed_bytes * round(self.cpu_ns_per_packed_byte * 1000) // 1000)


def load_config(name: str, folder: Path, table: TomlTable) -> VTAConfig | None:
    """Load the VTA configuration that a board or cluster file names, noting a fault in `table`.

    `name` is a path relative to `folder`, or a shipped configuration.
    """
    try:
        return VTAConfig.load(find_beside("vta_configs", name, ".json", folder))
    except ConfigError as fault:
        table.fault("config", f"cannot be used ({fault})")
        return None
