"""What a bitstream is: which VTA build it holds, and how it is driven. Needs no pynq."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpi_vta.disk import read_bytes, read_text
from mpi_vta.errors import ConfigError, DeviceError
from mpi_vta.hw.board import PORTS, Board
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import HW_ROOT, find
from mpi_vta.hw.targets import FASTEST_MHZ
from mpi_vta.hw.toml_table import TomlTable
from mpi_vta.runtime.devices.hardware_description import read_description
from mpi_vta.runtime.devices.register_map import RegisterMap, published_map

PUBLISHED = HW_ROOT / "bitstreams.toml"
_SUFFIXES = (".bit", ".bin")
_NEEDED = ("config", "part", "clock_mhz", "input_clock_mhz")
_CLOCK_TOLERANCE = 0.01


@dataclass(frozen=True)
class Facts:
    """What the table of published bitstreams or a manifest states of a file.

    Attributes
    ----------
    config : VTAConfig
        The build, and with its ``hw_ver`` the instruction set.
    part : str
        The FPGA.
    clock_mhz : float
        Of VTA.
    input_clock_mhz : float
        Of the PLL that makes it: PS clock 0.
    port : str
        One of `PORTS`; empty if not stated.
    ignores_acc_pads : bool
        Whether loads of the accumulator take no notice of their padding.
    """

    config: VTAConfig
    part: str
    clock_mhz: float
    input_clock_mhz: float
    port: str = ""
    ignores_acc_pads: bool = False


@dataclass(frozen=True)
class Design:
    """A VTA design that was checked against a board, and how its driver has to treat it.

    Attributes
    ----------
    path : Path
        The ``.bit`` or ``.bin`` file.
    sha256 : str
        Of the file.
    facts : Facts
        What it holds.
    registers : RegisterMap
        Where its registers lie.
    port : str
        One of `PORTS`: how it reaches memory.
    address_window_bytes : int
        Addresses that it maps to memory, from 0 on.
    hwh : Path or None
        The hardware description beside it, if there is one.
    """

    path: Path
    sha256: str
    facts: Facts
    registers: RegisterMap
    port: str
    address_window_bytes: int
    hwh: Path | None

    @property
    def config(self) -> VTAConfig:
        """The build."""
        return self.facts.config

    @property
    def coherent(self) -> bool:
        """Whether VTA sees the processor's caches: then buffers are cacheable and need no maintenance."""
        return self.port == "acp"

    @classmethod
    def check(cls, path: Path, board: Board) -> Design:
        """Read and check a bitstream for a board.

        Parameters
        ----------
        path : Path
            A published file, or one with a manifest ``<stem>.json`` beside it; a ``<stem>.hwh`` is read too.
        board : Board
            Where it is to be loaded.

        Raises
        ------
        DeviceError
            If the file cannot be read, is not known, holds another VTA build or instruction set, is for another part
            or clock, or is not what its manifest or its ``.hwh`` says.
        """
        sha256, facts = identify(path)
        _check_build(path, facts, board.config)
        if not _plain_part(facts.part).startswith(_plain_part(board.part)):
            raise _wrong_part(path, facts.part, board)
        if path.suffix == ".bit":
            _check_part(path, read_bytes(path), board)
        if abs(facts.clock_mhz - board.clock_mhz) > _CLOCK_TOLERANCE * facts.clock_mhz:
            raise DeviceError(
                f"the design's VTA runs at {facts.clock_mhz:g} MHz, the board file says {board.clock_mhz:g}",
                where=str(path),
                remedy=f"write clock_mhz = {facts.clock_mhz:g} into the board file: the design's PLL makes this clock",
            )
        hwh = path.with_suffix(".hwh")
        window = board.address_window_bytes
        if not hwh.is_file():
            return cls(path, sha256, facts, published_map(board.part), _port(path, facts.port, board), window, None)
        described = read_description(hwh, board.part)
        port = _port(hwh, described.port or facts.port, board)
        window = min(window, described.address_window_bytes or window)
        return cls(path, sha256, facts, described.registers, port, window, hwh)


def identify(path: Path) -> tuple[str, Facts]:
    """Return a bitstream's SHA-256 and what it holds, from the table of published ones or its manifest.

    Raises
    ------
    DeviceError
        If it cannot be read, or nobody says what it holds.
    """
    if path.suffix not in _SUFFIXES:
        raise DeviceError("not a bitstream", where=str(path), allowed=f"a {' or '.join(_SUFFIXES)} file")
    try:
        sha256 = hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError as fault:
        raise DeviceError(
            f"cannot read the bitstream ({fault.strerror})",
            where=str(path),
            remedy="the path is one on the board itself: copy the file there, or name another with --bitstream",
        ) from fault
    manifest = path.with_suffix(".json")
    if manifest.is_file():
        return sha256, _read_manifest(manifest, sha256)
    published = published_bitstreams()
    if sha256 not in published:
        raise DeviceError(
            "not one of the published bitstreams",
            where=str(path),
            allowed=f"a manifest {manifest.name} beside it that says what it holds",
            remedy="see docs/boards.md",
        )
    return sha256, published[sha256]


def published_bitstreams() -> dict[str, Facts]:
    """Return what ``hw/bitstreams.toml`` says, by SHA-256.

    Raises
    ------
    ConfigError
        With every fault of the file.
    """
    table = TomlTable.load(PUBLISHED)
    found = {}
    for entry in table.tables("bitstreams"):
        found[entry.text("sha256")] = Facts(
            VTAConfig.load(find("vta_configs", entry.text("config"), ".json")),
            entry.text("part"),
            entry.number("clock_mhz", 1, FASTEST_MHZ),
            entry.number("input_clock_mhz", 1, FASTEST_MHZ),
            ignores_acc_pads=entry.parsed("ignores_acc_pads", lambda value: bool(value), "true or false") or False
            if entry.has("ignores_acc_pads")
            else False,
        )
        entry.refuse_unknown()
    table.raise_faults("illegal table of bitstreams", str(PUBLISHED))
    return found


def _port(where: Path, stated: str, board: Board) -> str:
    if stated and board.port and stated != board.port:
        raise DeviceError(
            f"the design uses the port {stated}, the board file says {board.port}",
            where=str(where),
            remedy=f'write port = "{stated}" into the board file',
        )
    if not stated and not board.port:
        raise DeviceError(
            "the port to memory is not known",
            where=str(where),
            allowed="a .hwh beside the bitstream that shows it",
            remedy=f'or write port = "..." into the board file: {", ".join(PORTS)}',
        )
    return stated or board.port


def _check_build(path: Path, facts: Facts, wanted: VTAConfig) -> None:
    held = facts.config
    if held.hw_ver != wanted.hw_ver and replace(held, hw_ver=wanted.hw_ver) == wanted:
        raise DeviceError(
            f"the bitstream executes HW_VER {held.hw_ver}, the job is for {wanted.hw_ver}",
            where=str(path),
            remedy=f"choose a --config with HW_VER {held.hw_ver}, or another bitstream",
        )
    if held != wanted:
        raise DeviceError(
            f"the bitstream holds {held.name} (HW_VER {held.hw_ver}), the job is for {wanted.name} ({wanted.hw_ver})",
            where=str(path),
            remedy="load the bitstream of this configuration, or choose another --config",
        )


def _read_manifest(manifest: Path, sha256: str) -> Facts:
    try:
        data: Any = json.loads(read_text(manifest))
    except (OSError, ValueError, RecursionError) as fault:
        raise DeviceError(f"not a manifest ({fault})", where=str(manifest)) from fault
    facts = _facts(manifest, data)
    if data.get("sha256", sha256) != sha256:
        raise DeviceError(
            f"the bitstream is not the one described: its sha256 is {sha256}",
            where=str(manifest),
            allowed=str(data["sha256"]),
            remedy="copy the two files anew",
        )
    return facts


def _facts(manifest: Path, data: Any) -> Facts:
    what = ""
    optional = ("sha256", "port", "ignores_acc_pads")
    if not isinstance(data, Mapping):
        what = "it is no object"
    else:
        missing = [key for key in _NEEDED if key not in data]
        unknown = [key for key in data if key not in (*_NEEDED, *optional)]
        clocks = [data.get("clock_mhz"), data.get("input_clock_mhz")]
        if missing:
            what = f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing"
        elif unknown:
            what = f"{', '.join(unknown)} is unknown"
        elif not isinstance(data["part"], str) or data.get("port", PORTS[0]) not in PORTS:
            what = f"part is a text, port one of {', '.join(PORTS)}"
        elif not all(isinstance(mhz, int | float) and 1 <= mhz <= FASTEST_MHZ for mhz in clocks):
            what = f"clocks are numbers 1..{FASTEST_MHZ}"
        elif not isinstance(data["config"], Mapping) or "HW_VER" not in data["config"]:
            what = "config has no HW_VER, which says the instruction set"
    if what:
        allowed = f"an object of {', '.join(_NEEDED)} and perhaps {', '.join(optional)}"
        raise DeviceError(f"not a manifest ({what})", where=str(manifest), allowed=allowed)
    try:
        config = VTAConfig.from_dict(data["config"], where=str(manifest))
    except ConfigError as fault:
        raise DeviceError(fault.what, where=str(manifest), remedy=fault.remedy) from fault
    mhz, input_mhz = float(data["clock_mhz"]), float(data["input_clock_mhz"])
    return Facts(config, data["part"], mhz, input_mhz, data.get("port", ""), data.get("ignores_acc_pads") is True)


def _check_part(path: Path, content: bytes, board: Board) -> None:
    part = bit_part(content)
    if part is None:
        raise DeviceError("no .bit header", where=str(path), remedy="name a raw bitstream .bin")
    if not _plain_part(part).startswith(_plain_part(board.part)):
        raise _wrong_part(path, part, board)


def _wrong_part(path: Path, part: str, board: Board) -> DeviceError:
    return DeviceError(
        f"the bitstream is for the part {part}", where=str(path), allowed=f"{board.part}, that of board {board.name}"
    )


def _plain_part(part: str) -> str:
    return part.lower().removeprefix("xc")


def bit_part(content: bytes) -> str | None:
    """Return the part that the header of a ``.bit`` file names, or None if it has none.

    The header is a preamble, then fields of a letter, a 16-bit big-endian length and a text; ``b`` is the part.
    """
    if len(content) < 2:
        return None
    at = 4 + int.from_bytes(content[:2], "big")
    while at + 3 <= len(content) and content[at : at + 1] in b"abcd":
        size = int.from_bytes(content[at + 1 : at + 3], "big")
        if content[at : at + 1] == b"b":
            return content[at + 3 : at + 3 + size].rstrip(b"\0").decode("ascii", "replace")
        at += 3 + size
    return None
