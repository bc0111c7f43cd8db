"""A TOML file read key by key, so that every fault in it is reported at once with what is allowed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mpi_vta.disk import read_text
from mpi_vta.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


T = TypeVar("T")


class TomlTable:
    """One table of a TOML file with a list of faults shared with its sub-tables.

    Parameters
    ----------
    data : mapping
        Parsed content.
    prefix : str
        Path of the table inside the file, for messages; empty for the file itself.
    faults : list of str
        Collects what is wrong; the caller raises once at the end with `raise_faults`.
    """

    def __init__(self, data: Mapping[str, Any], prefix: str, faults: list[str]) -> None:
        self._data = data
        self._prefix = prefix
        self._faults = faults
        self._read: list[str] = []

    @classmethod
    def load(cls, path: Path) -> TomlTable:
        """Parse a file; raises `ConfigError` if it cannot be read or is not TOML."""
        try:
            return cls(tomllib.loads(read_text(path)), "", [])
        except OSError as fault:
            raise ConfigError(
                f"cannot read the file ({fault.strerror})", where=str(path), allowed="a TOML file that can be read"
            ) from fault
        except (ValueError, RecursionError) as fault:
            raise ConfigError(f"not TOML ({fault})", where=str(path), allowed="TOML in UTF-8") from fault

    @property
    def faults(self) -> list[str]:
        """Everything found wrong so far, in this table and its sub-tables."""
        return self._faults

    def fault(self, key: str, text: str) -> None:
        """Note that `key` is wrong."""
        self._faults.append(f"{self._prefix}{key} {text}")

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """Read a number in [low, high]; a key that is absent takes `default` if there is one."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.fault(key, f"is {_shown(value)} (allowed: a number {low:g}..{high:g})")
            return low
        return float(value)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Read an integer in [low, high]."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fault(key, f"is {_shown(value)} (allowed: an integer {low}..{high})")
            return low
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Read a non-empty string."""
        value = self._take(key, default)
        if not isinstance(value, str) or (not value and value != default):
            self.fault(key, f"is {_shown(value)} (allowed: a text)")
            return ""
        return value

    def table(self, key: str) -> TomlTable:
        """Read a sub-table."""
        value = self._take(key, None)
        if not isinstance(value, Mapping):
            self.fault(key, f"is {_shown(value)} (allowed: a table [{self._prefix}{key}])")
            value = {}
        return TomlTable(value, f"{self._prefix}{key}.", self._faults)

    def tables(self, key: str) -> Sequence[TomlTable]:
        """Read an array of at least one table."""
        value = self._take(key, None)
        if not isinstance(value, list) or not value or not all(isinstance(entry, Mapping) for entry in value):
            self.fault(key, f"is {_shown(value)} (allowed: one or more tables [[{self._prefix}{key}]])")
            return []
        return [TomlTable(entry, f"{self._prefix}{key}[{i}].", self._faults) for i, entry in enumerate(value)]

    def parsed(self, key: str, parse: Callable[[object], T | None], allowed: str) -> T | None:
        """Read a value of any shape; None from `parse`, to which an absent key is None too, is a fault."""
        value = self._take(key, None)
        found = parse(value)
        if found is None:
            self.fault(key, f"is {_shown(value)} (allowed: {allowed})")
        return found

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._data

    def refuse_unknown(self) -> None:
        """Note every key that nobody asked for: a misspelt key must not be ignored silently."""
        for key in self._data:
            if key not in self._read:
                self.fault(key, f"is unknown (allowed: {', '.join(self._read)})")

    def raise_faults(self, what: str, where: str, remedy: str = "see docs/clusters.md") -> None:
        """Raise `ConfigError` with all faults, if there are any."""
        if self._faults:
            raise ConfigError(f"{what}: " + " | ".join(self._faults), where=where, remedy=remedy)

    def _take(self, key: str, default: object) -> Any:
        self._read.append(key)
        return self._data.get(key, default)


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value)
