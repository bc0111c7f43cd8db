"""The core's RTLIL as modules: those of one content are kept once, however many parts are made of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_CELL = re.compile(r"^(  cell )(\\\S+)", re.MULTILINE)
_WIRE_OF_PORT = re.compile(r"^  wire .*(?:input|output) .*$", re.MULTILINE)
_PORT_NUMBER = re.compile(r"(input|output) \d+")


@dataclass(frozen=True)
class Module:
    """A module of a netlist.

    Attributes
    ----------
    name : str
        As in the text, with its backslash.
    attributes, body : str
        The lines before its ``module`` line, and those between that one and ``end``.
    """

    name: str
    attributes: str
    body: str

    @property
    def text(self) -> str:
        """The module in RTLIL."""
        return f"{self.attributes}module {self.name}\n{self.body}end\n"

    @property
    def parts(self) -> list[str]:
        """Modules of which it has parts, one per part."""
        return [name for _, name in _CELL.findall(self.body)]

    @property
    def ports(self) -> list[str]:
        """The lines that declare its ports."""
        return _WIRE_OF_PORT.findall(self.body)

    def with_parts(self, rename: Callable[[str], str]) -> Module:
        """Return the module with parts of other modules."""
        return Module(self.name, self.attributes, _CELL.sub(lambda cell: cell[1] + rename(cell[2]), self.body))

    def renamed(self, name: str) -> Module:
        """Return the module under another name."""
        return Module(name, self.attributes, self.body)

    @property
    def ports_only(self) -> Module:
        """The module without its content, a black box."""
        return Module(self.name, "attribute \\blackbox 1\n", "\n".join((*self.ports, "")))


def read_modules(text: str) -> Iterator[Module]:
    """Yield the modules of a netlist, in its order: a module before its parts."""
    attributes: list[str] = []
    body: list[str] = []
    name = ""
    for line in text.splitlines(keepends=True):
        if name:
            if line == "end\n":
                yield Module(name, "".join(attributes), "".join(body))
                name, attributes, body = "", [], []
            else:
                body.append(line)
        elif line.startswith("module "):
            name = line.split()[1]
        elif line.startswith("attribute "):
            attributes.append(line)


def content(body: str) -> str:
    """Return the hash of what a module says; the order of its ports means nothing."""
    ports = sorted(_PORT_NUMBER.sub(r"\1", line) for line in _WIRE_OF_PORT.findall(body))
    lines = [line for line in _WIRE_OF_PORT.sub("", body).splitlines() if line]
    return hashlib.sha256("\n".join((*ports, *lines)).encode()).hexdigest()


def merged(text: str) -> str:
    """Return a netlist in which modules of one content are one; which says the same."""
    kept: dict[str, Module] = {}
    names: dict[str, str] = {}
    for module in reversed(list(read_modules(text))):
        module = module.with_parts(lambda name: names.get(name, name))
        digest = content(module.body)
        names[module.name] = kept.setdefault(digest, module).name
    return "\n".join(module.text for module in reversed(kept.values()))
