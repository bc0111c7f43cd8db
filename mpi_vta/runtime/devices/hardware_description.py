"""What Vivado's ``.hwh`` file says of a VTA design: addresses, registers, and the port to memory. Needs no pynq."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mpi_vta.disk import read_text
from mpi_vta.errors import DeviceError
from mpi_vta.runtime.devices.register_map import UNIT_SPAN_BYTES, UNITS, RegisterMap, stated_map

# an instance as Vivado names it: fetch_0, or the same inside a hierarchy
_INSTANCE = re.compile(r"(?:.*[/_])?(fetch|load|compute|store)(?:_\d+)?$")
# the core of mpi_vta.hardware: all four units in one block
_CORE = re.compile(r"(?:.*[/_])?vta_core(?:_\d+)?$")
# the processing system's ports as seen from the logic: S_AXI_ACP, S_AXI_HP0, S_AXI_HPC0_FPD
_PORT = re.compile(r"S_AXI_(ACP|HPC|HP)\d?(?:_FPD)?$")


@dataclass(frozen=True)
class HardwareDescription:
    """A ``.hwh`` file.

    Attributes
    ----------
    registers : RegisterMap
        Of the four units.
    port : str
        One of `mpi_vta.hw.board.PORTS`; empty if the file does not show it.
    address_window_bytes : int or None
        What the port maps of DRAM, from address 0 on; None if the file does not show it.
    """

    registers: RegisterMap
    port: str
    address_window_bytes: int | None


def read_description(hwh: Path, part: str) -> HardwareDescription:
    """Read a ``.hwh`` file.

    Raises
    ------
    DeviceError
        If it is not XML, does not name each unit at one address, lacks a register, or VTA uses ports of two kinds.
    """
    try:
        root = ElementTree.fromstring(read_text(hwh))
    except (OSError, ValueError, ElementTree.ParseError) as fault:
        raise DeviceError(f"not a hardware description ({fault})", where=str(hwh)) from fault
    ports, window = _ports(root)
    if len(ports) > 1:
        raise DeviceError(
            f"ports of several kinds lead to memory ({', '.join(sorted(ports))})",
            where=str(hwh),
            allowed="one kind, as the caches are kept for one",
        )
    registers = stated_map(_units(root, hwh), _registers(root), part, hwh.name)
    return HardwareDescription(registers, ports.pop() if ports else "", window)


def _units(root: ElementTree.Element, hwh: Path) -> dict[str, int]:
    found: dict[str, set[int]] = {unit: set() for unit in UNITS}
    for block in root.iter("MEMRANGE"):
        name = block.get("INSTANCE", "")
        if block.get("MEMTYPE", "REGISTER") != "REGISTER":
            continue
        if match := _INSTANCE.fullmatch(name):
            found[match[1]].add(_number(block.get("BASEVALUE", "0"), hwh))
        elif _CORE.fullmatch(name):
            base = _number(block.get("BASEVALUE", "0"), hwh)
            for index, unit in enumerate(UNITS):
                found[unit].add(base + index * UNIT_SPAN_BYTES)
    unclear = [unit for unit in UNITS if len(found[unit]) != 1]
    if unclear:
        raise DeviceError(
            f"no single address for the unit {', '.join(unclear)}",
            where=str(hwh),
            remedy="is this the .hwh of a VTA design? Without the file the published addresses are used",
        )
    return {unit: addresses.pop() for unit, addresses in found.items()}


def _registers(root: ElementTree.Element) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {unit: {} for unit in UNITS}
    for module in root.iter("MODULE"):
        match = _INSTANCE.fullmatch(module.get("INSTANCE", ""))
        for register in module.iter("REGISTER") if match else ():
            offset = register.find('./PROPERTY[@NAME="ADDRESS_OFFSET"]')
            if match and offset is not None:
                found[match[1]][register.get("NAME", "")] = int(offset.get("VALUE", "0"), 0)
    return found


def _ports(root: ElementTree.Element) -> tuple[set[str], int | None]:
    ports, window = set(), None
    for module in root.iter("MODULE"):
        # what the units reach, not what other masters of the design do
        name = module.get("INSTANCE", "")
        if not _INSTANCE.fullmatch(name) and not _CORE.fullmatch(name):
            continue
        for block in module.iter("MEMRANGE"):
            match = _PORT.fullmatch(block.get("SLAVEBUSINTERFACE", ""))
            if match and block.get("MEMTYPE", "MEMORY") == "MEMORY":
                ports.add(match[1].lower())
                if int(block.get("BASEVALUE", "0"), 0) == 0:
                    window = max(window or 0, int(block.get("HIGHVALUE", "0"), 0) + 1)
    return ports, window


def _number(text: str, hwh: Path) -> int:
    try:
        return int(text, 0)
    except ValueError as fault:
        raise DeviceError(f"not an address: {text!r}", where=str(hwh)) from fault
