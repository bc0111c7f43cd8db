"""The block diagram of a core, drawn from the netlist that Amaranth makes of it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from mpi_vta.gateware.core import Core
from mpi_vta.gateware.verilog import TOP, core_rtlil

_SIGNAL = re.compile(r"[\\$]\S+")
_OUTPUTS = ("\\Y", "\\Q")
_COMMON = ("\\clk", "\\rst")


@dataclass
class Cell:
    """A part of a module, or a gate: its type, and the signals at each of its ports."""

    kind: str
    ports: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class NetlistModule:
    """A module: which of its ports are inputs, its cells by name, and which signals make each signal."""

    inputs: set[str] = field(default_factory=set)
    cells: dict[str, Cell] = field(default_factory=dict)
    made_of: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def read_netlist(text: str) -> dict[str, NetlistModule]:
    """Return what a netlist in RTLIL says, by module name."""
    modules: dict[str, NetlistModule] = {}
    module, cell = NetlistModule(), None
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "module":
            module = modules[words[1]] = NetlistModule()
        elif words[0] == "wire" and "input" in words:
            module.inputs.add(words[-1])
        elif words[0] == "cell":
            cell = module.cells[words[2]] = Cell(words[1])
        elif words[0] == "end":
            cell = None
        elif words[0] == "connect" and cell is not None:
            cell.ports[words[1]] = _SIGNAL.findall(" ".join(words[2:]))
        elif words[0] in ("connect", "assign"):
            # an assignment of a whole signal, a slice or a concatenation; of a process, one of its cases
            target, _, source = line.strip().partition(" ")[2].partition(" ")
            for name in _SIGNAL.findall(target):
                module.made_of[name].update(_SIGNAL.findall(source))
    return modules


def edges(modules: dict[str, NetlistModule], name: str) -> list[tuple[str, str]]:
    """Return which part of a module feeds which; gates and registers between them count as wires."""
    module = modules[name]
    driver: dict[str, str] = {}
    made_of = {signal: set(sources) for signal, sources in module.made_of.items()}
    for part, cell in module.cells.items():
        if cell.kind in modules:
            for port, signals in cell.ports.items():
                if port not in modules[cell.kind].inputs:
                    driver.update(dict.fromkeys(signals, part))
            continue
        sources = {signal for port, signals in cell.ports.items() if port not in _OUTPUTS for signal in signals}
        for port in _OUTPUTS:
            for signal in cell.ports.get(port, ()):
                made_of.setdefault(signal, set()).update(sources)
    found = set()
    for part, cell in module.cells.items():
        inputs = modules[cell.kind].inputs - set(_COMMON) if cell.kind in modules else set()
        for source in _drivers([s for port in inputs for s in cell.ports.get(port, ())], made_of, driver):
            if source != part:
                found.add((source, part))
    return sorted(found)


def _drivers(signals: list[str], made_of: dict[str, set[str]], driver: dict[str, str]) -> set[str]:
    """Return the parts that signals come from."""
    found, seen, left = set(), set(_COMMON), list(signals)
    while left:
        signal = left.pop()
        if signal in seen:
            continue
        seen.add(signal)
        if signal in driver:
            found.add(driver[signal])
        else:
            left += made_of.get(signal, ())
    return found


def mermaid(core: Core) -> str:
    """Return the parts of a core, the parts of its units inside, and what feeds what, as a Mermaid flow chart."""
    modules = read_netlist(core_rtlil(core))
    top = f"\\{TOP}"
    lines = ["flowchart LR"]
    for part, cell in modules[top].cells.items():
        if cell.kind in modules:
            inner = [_plain(name) for name, held in modules[cell.kind].cells.items() if held.kind in modules]
            label = f"{_plain(part)}<br/>({', '.join(_grouped(inner))})" if inner else _plain(part)
            lines.append(f'    {_plain(part)}["{label}"]')
    lines += [f"    {_plain(source)} --> {_plain(target)}" for source, target in edges(modules, top)]
    return "\n".join(lines)


def _grouped(names: list[str]) -> list[str]:
    """Return names with those that only a number tells apart as one: ``lane0`` to ``lane15`` are ``16 lanes``."""
    numbers = Counter(name.rstrip("0123456789") for name in names)
    return [f"{number} {name}s" if number > 1 else name for name, number in numbers.items()]


def _plain(name: str) -> str:
    return name.removeprefix("\\").partition("$")[0]
