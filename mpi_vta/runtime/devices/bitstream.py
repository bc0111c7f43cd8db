"""What a bitstream is: which VTA build it holds and at which addresses its units answer. Needs no pynq."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mpi_vta.disk import read_bytes, read_text
from mpi_vta.errors import ConfigError, DeviceError
from mpi_vta.hw.board import Board
from mpi_vta.hw.config import VTAConfig

UNITS = ("fetch", "load", "compute", "store")
UNIT_SPAN_BYTES = 0x1000
ZYNQ_BASE = 0x43C0_0000
ULTRASCALE_BASE = 0xA000_0000
_SUFFIXES = (".bit", ".bin")
# an instance as Vivado names it: fetch_0, or the same inside a hierarchy
_INSTANCE = re.compile(r"(?:.*[/_])?(fetch|load|compute|store)(?:_\d+)?$")


@dataclass(frozen=True)
class BitstreamFile:
    """A bitstream that was checked against the board's VTA build.

    Attributes
    ----------
    path : Path
        The ``.bit`` or ``.bin`` file.
    sha256 : str
        Of the file.
    units : mapping of str to int
        Physical address of the registers of each of `UNITS`.
    hwh : Path or None
        The hardware description beside it, if there is one; the addresses are its own then.
    """

    path: Path
    sha256: str
    units: Mapping[str, int]
    hwh: Path | None

    @classmethod
    def check(cls, path: Path, board: Board) -> BitstreamFile:
        """Read and check a bitstream for a board.

        Parameters
        ----------
        path : Path
            A file whose name without suffix is the build's name, with or without its target
            (``1x16_i8w8a32_15_15_18_17.bit``), or any name with a manifest ``<stem>.json`` beside it: an object of
            ``config`` (TVM's configuration keys) and, if wanted, ``sha256`` of the bitstream.
        board : Board
            Where it is to be loaded.

        Raises
        ------
        DeviceError
            If the file cannot be read, holds another VTA build, is for another part, or is not what its manifest
            or its ``.hwh`` says.
        """
        if path.suffix not in _SUFFIXES:
            raise DeviceError("not a bitstream", where=str(path), allowed=f"a {' or '.join(_SUFFIXES)} file")
        try:
            content = read_bytes(path)
        except OSError as fault:
            raise DeviceError(
                f"cannot read the bitstream ({fault.strerror})",
                where=str(path),
                remedy="the path is one on the board itself: copy the file there, or name another with --bitstream",
            ) from fault
        sha256 = hashlib.sha256(content).hexdigest()
        _check_build(path, board.config, sha256)
        if path.suffix == ".bit":
            _check_part(path, content, board)
        hwh = path.with_suffix(".hwh")
        if hwh.is_file():
            return cls(path, sha256, read_units(hwh), hwh)
        return cls(path, sha256, default_units(board.part), None)


def default_units(part: str) -> dict[str, int]:
    """Return where VTA's published builds have their units on a part: one block each, side by side."""
    base = ZYNQ_BASE if part.upper().startswith("XC7Z") else ULTRASCALE_BASE
    return {unit: base + index * UNIT_SPAN_BYTES for index, unit in enumerate(UNITS)}


def read_units(hwh: Path) -> dict[str, int]:
    """Return the register addresses of the units from a ``.hwh`` file.

    Raises
    ------
    DeviceError
        If it is not XML, or does not name each unit at one address.
    """
    try:
        root = ElementTree.parse(hwh).getroot()
    except (OSError, ElementTree.ParseError) as fault:
        raise DeviceError(f"not a hardware description ({fault})", where=str(hwh)) from fault
    found: dict[str, set[int]] = {unit: set() for unit in UNITS}
    for block in root.iter("MEMRANGE"):
        match = _INSTANCE.fullmatch(block.get("INSTANCE", ""))
        if match and block.get("MEMTYPE", "REGISTER") == "REGISTER":
            found[match[1]].add(int(block.get("BASEVALUE", "0"), 0))
    unclear = [unit for unit in UNITS if len(found[unit]) != 1]
    if unclear:
        raise DeviceError(
            f"no single address for the unit {', '.join(unclear)}",
            where=str(hwh),
            remedy="is this the .hwh of a VTA design? Without the file the published addresses are used",
        )
    return {unit: addresses.pop() for unit, addresses in found.items()}


def _check_build(path: Path, wanted: VTAConfig, sha256: str) -> None:
    manifest = path.with_suffix(".json")
    if manifest.is_file():
        _check_manifest(manifest, wanted, sha256)
        return
    names = (wanted.name.partition("_")[2], wanted.name)
    if path.stem not in names:
        raise DeviceError(
            f"the bitstream's name does not say that it holds {wanted.name}",
            where=str(path),
            allowed=f"{names[0]}{path.suffix}, or a manifest {manifest.name} beside it",
            remedy="load the bitstream of this configuration, or choose another --config",
        )


def _check_manifest(manifest: Path, wanted: VTAConfig, sha256: str) -> None:
    try:
        data: Any = json.loads(read_text(manifest))
    except (OSError, ValueError) as fault:
        raise DeviceError(f"not a manifest ({fault})", where=str(manifest)) from fault
    if not isinstance(data, Mapping) or not {"config"} <= set(data) <= {"config", "sha256"}:
        raise DeviceError("not a manifest", where=str(manifest), allowed="an object of config and perhaps sha256")
    try:
        held = VTAConfig.from_dict(data["config"], where=str(manifest))
    except ConfigError as fault:
        raise DeviceError(fault.what, where=str(manifest), remedy=fault.remedy) from fault
    if held.to_dict() != wanted.to_dict():
        raise DeviceError(
            f"the bitstream holds {held.name}, the job is for {wanted.name}",
            where=str(manifest),
            remedy="load the bitstream of this configuration, or choose another --config",
        )
    if data.get("sha256", sha256) != sha256:
        raise DeviceError(
            f"the bitstream is not the one described: its sha256 is {sha256}",
            where=str(manifest),
            allowed=str(data["sha256"]),
            remedy="copy the two files anew",
        )


def _check_part(path: Path, content: bytes, board: Board) -> None:
    part = bit_part(content)
    if part is None:
        raise DeviceError("no .bit header", where=str(path), remedy="name a raw bitstream .bin")
    if not _plain_part(part).startswith(_plain_part(board.part)):
        raise DeviceError(
            f"the bitstream is for the part {part}",
            where=str(path),
            allowed=f"{board.part}, that of board {board.name}",
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
