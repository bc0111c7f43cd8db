"""A cluster: boards in rank order and the network between them; read from TOML or the stated default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mpi_vta.errors import ConfigError
from mpi_vta.hw.board import Board, load_config
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.energy import NetworkPower
from mpi_vta.hw.paths import find, find_beside
from mpi_vta.hw.targets import load_target
from mpi_vta.hw.toml_table import TomlTable
from mpi_vta.json_fields import Count
from mpi_vta.text_table import counted

DEFAULT_TARGET = "pynq"
MAX_BOARDS = 4096


@dataclass(frozen=True)
class Link:
    """The port between a board and the switch, the same for all boards.

    Attributes
    ----------
    bandwidth_mb_s : float
        Payload that one direction of the port carries, 1e6 bytes per second.
    latency_ns : int
        From the last byte's leaving one host to its arrival at the other, cables and interfaces.
    per_message_ns : int
        Processor time per message, at the sender and again at the receiver.
    per_byte_ns : float
        Processor time per byte (copies, checksums), at the sender and again at the receiver.
    """

    bandwidth_mb_s: float
    latency_ns: Count
    per_message_ns: Count
    per_byte_ns: float


# Fitted to MPI over a shaped 1 Gb/s link: docs/network_model.md
GIGABIT = Link(bandwidth_mb_s=97.0, latency_ns=48_000, per_message_ns=12_000, per_byte_ns=1.0)
GIGABIT_SWITCH_LATENCY_NS = 2_000
GIGABIT_POWER = NetworkPower(
    port_w=0.15,
    switch_w=2.0,
    switch_port_w=0.5,
    source="Estimate, not a measurement: an unmanaged 1 Gb/s switch; interfaces that hardly draw more under load",
)


@dataclass(frozen=True)
class Cluster:
    """Boards in rank order behind one non-blocking switch.

    Attributes
    ----------
    name : str
        Name for tables.
    boards : tuple of Board
        ``boards[rank]`` is the board of that rank.
    link : Link
        Every board's port.
    switch_latency_ns : int
        Time through the switch.
    power : NetworkPower
        Of the boards' ports and the switch.
    """

    name: str
    boards: tuple[Board, ...]
    link: Link
    switch_latency_ns: Count
    power: NetworkPower = GIGABIT_POWER

    @classmethod
    def default(cls, ranks: int, config: VTAConfig | None = None) -> Cluster:
        """Return the cluster that is assumed when none is named.

        It has one board per rank: PYNQ-Z1 with the 1x16 build at 100 MHz, or, for a `config` of
        another target, that target's board; linked at 1 Gb/s.
        """
        board = Board.load(load_target(config.target if config else DEFAULT_TARGET).board)
        board = board if config is None else board.with_config(config)
        return cls(f"{ranks} x {board.name} (default)", (board,) * ranks, GIGABIT, GIGABIT_SWITCH_LATENCY_NS)

    @classmethod
    def load(cls, name_or_path: str) -> Cluster:
        """Read a shipped cluster by name or a file by path.

        Raises
        ------
        ConfigError
            If there is no such cluster, or with every fault of the file.
        """
        path = find("clusters", name_or_path, ".toml")
        table = TomlTable.load(path)
        name = table.text("name")
        table.text("description", "")
        link_table = table.table("link")
        link = Link(
            link_table.number("bandwidth_mb_s", 0.001, 1e6),
            link_table.integer("latency_ns", 0, 10**9),
            link_table.integer("per_message_ns", 0, 10**9),
            link_table.number("per_byte_ns", 0, 10_000),
        )
        link_table.refuse_unknown()
        switch_table = table.table("switch")
        switch_latency_ns = switch_table.integer("latency_ns", 0, 10**9)
        switch_table.refuse_unknown()
        power = _power(table.table("power")) if table.has("power") else GIGABIT_POWER
        boards: list[Board] = []
        for entry in table.tables("boards"):
            boards += _board_entry(entry, path.parent)
        table.refuse_unknown()
        table.raise_faults("illegal cluster", str(path))
        return cls(name, tuple(boards), link, switch_latency_ns, power)

    def first(self, ranks: int) -> Cluster:
        """Return the cluster of the first `ranks` boards.

        Raises
        ------
        ConfigError
            If there are fewer boards than ranks.
        """
        if ranks > len(self.boards):
            raise ConfigError(
                f"{counted(ranks, 'rank')} but only {counted(len(self.boards), 'board')}",
                where=f"cluster {self.name}",
                remedy=f"start at most {counted(len(self.boards), 'rank')} (mpirun -n {len(self.boards)}), or "
                "add [[boards]] to the cluster file",
            )
        return replace(self, boards=self.boards[:ranks])

    def with_config(self, config: VTAConfig) -> Cluster:
        """Return the cluster with every board carrying `config`; raises `ConfigError` where it cannot."""
        return replace(self, boards=tuple(board.with_config(config) for board in self.boards))

    @property
    def configs(self) -> tuple[VTAConfig, ...]:
        """The distinct VTA builds, in order of first use."""
        return tuple(dict.fromkeys(board.config for board in self.boards))


def select_cluster(name_or_path: str | None, ranks: int, config: VTAConfig | None) -> Cluster:
    """Return the cluster for a command line: ``--cluster``, the number of ranks, ``--config``.

    Parameters
    ----------
    name_or_path : str or None
        A shipped cluster or a file; None for `Cluster.default`.
    ranks : int
        Boards wanted; a larger cluster gives its first ones.
    config : VTAConfig or None
        Replaces the build of every board.

    Raises
    ------
    ConfigError
        If the cluster is illegal or too small, or the configuration does not suit a board.
    """
    if ranks < 1:
        raise ConfigError(counted(ranks, "rank"), where="--ranks", allowed="1 or more")
    if name_or_path is None:
        return Cluster.default(ranks, config)
    cluster = Cluster.load(name_or_path).first(ranks)
    return cluster if config is None else cluster.with_config(config)


def _power(table: TomlTable) -> NetworkPower:
    power = NetworkPower(
        table.number("port_w", 0, 1000),
        table.number("switch_w", 0, 100_000),
        table.number("switch_port_w", 0, 1000),
        table.text("source"),
    )
    table.refuse_unknown()
    return power


def _board_entry(entry: TomlTable, folder: Path) -> list[Board]:
    name = entry.text("board")
    count = entry.integer("count", 1, MAX_BOARDS, 1)
    config_name = entry.text("config", "")
    entry.refuse_unknown()
    if not name:
        return []
    try:
        board = Board.load(str(find_beside("boards", name, ".toml", folder)))
        if config_name:
            config = load_config(config_name, folder, entry)
            board = board if config is None else board.with_config(config)
    except ConfigError as fault:
        entry.fault("board", f"cannot be used ({fault})")
        return []
    return [board] * count
