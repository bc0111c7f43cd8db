"""Frozen dataclasses and JSON from one description: a field's type says what may stand there, its `Range` how much.

`to_json` gives objects that `from_json` reads back. A type may be a dataclass, ``int`` (with a `Range`), ``float``,
``bool``, ``str``, ``X | Y | None`` (the first that fits), ``tuple[X, ...]``, ``tuple[X, Y]``, ``Mapping[str, X]`` or
``Any``. A dataclass is read from an object, or from a list of its fields in order; what its method ``check_read``, if
there is one, refuses with `ValueError` is refused here. One with a class method ``from_text`` is a text, its `str`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

MOST = 1 << 62  # sums of a few such numbers still fit 64 bits
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Range:
    """The least and the most that a whole number may be."""

    least: int = 0
    most: int = MOST


Count = Annotated[int, Range()]
Positive = Annotated[int, Range(1)]
Exponent = Annotated[int, Range(-1024, 1024)]


def to_json(value: Any) -> Any:
    """Return dataclasses as objects or texts, tuples as lists, mappings as objects; everything else as it is."""
    if is_dataclass(value) and not isinstance(value, type):
        if hasattr(value, "from_text"):
            return str(value)
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(entry) for key, entry in value.items()}
    return [to_json(entry) for entry in value] if isinstance(value, tuple | list) else value


def from_json(kind: type[Kind], value: Any) -> Kind:
    """Read a dataclass from what `json.loads` gave.

    Raises
    ------
    ValueError
        If something is missing, unknown, of another type or out of range; the message says where.
    """
    read: Kind = _read(kind, value, "")
    return read


def ranges_of(kind: Any) -> Mapping[str, Range]:
    """Return the `Range` that stands at each field of a dataclass, by name; fields without one are left out."""
    return {name: noted for name, one in _types(kind).items() if (noted := _range(one)) is not None}


def _range(kind: Any) -> Range | None:
    return next((note for note in get_args(kind)[1:] if isinstance(note, Range)), None)


def _read(kind: Any, value: Any, where: str) -> Any:
    if get_origin(kind) is Annotated:
        bare = get_args(kind)[0]
        return _whole(value, _range(kind) or Range(-MOST), where) if bare is int else _read(bare, value, where)
    if kind in _PLAIN:
        return _PLAIN[kind](value, where)
    origin, kinds = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _first_that_fits(kinds, value, where)
    if origin is tuple:
        return _tuple(kinds, value, where)
    if origin in (dict, Mapping):
        return {name: _read(kinds[1], entry, f"{where}.{name}") for name, entry in _object(value, where).items()}
    if is_dataclass(kind):
        return kind.from_text(_text(value, where)) if hasattr(kind, "from_text") else _dataclass(kind, value, where)
    raise TypeError(f"no JSON is read as {kind}")


def _first_that_fits(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not NoneType)
    for kind in others:
        with suppress(ValueError):
            return _read(kind, value, where)
    return _read(last, value, where)


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    types = _types(kind)
    if isinstance(value, list):
        if len(value) != len(types):
            raise ValueError(f"{_at(where)}{shown(value)} has not {len(types)} entries")
        value = dict(zip(types, value, strict=True))
    given = _object(value, where)
    if unknown := sorted(given.keys() - types.keys()):
        raise ValueError(f"{_at(where)}unknown: {', '.join(unknown)}")
    read = {}
    for field in fields(kind):
        if field.name in given:
            read[field.name] = _read(types[field.name], given[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{_at(where)}{field.name!r} is missing")
    made = kind(**read)
    if hasattr(made, "check_read"):
        made.check_read()
    return made


@cache
def _types(kind: Any) -> Mapping[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{_at(where)}{shown(value)} is not a list")
    if kinds[-1] is Ellipsis:
        return tuple(_read(kinds[0], entry, f"{where}[{i}]") for i, entry in enumerate(value))
    if len(value) != len(kinds):
        raise ValueError(f"{_at(where)}{shown(value)} has not {len(kinds)} entries")
    return tuple(_read(one, entry, f"{where}[{i}]") for i, (one, entry) in enumerate(zip(kinds, value, strict=True)))


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_at(where)}{shown(value)} is not an object")
    return value


def _whole(value: Any, span: Range, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not span.least <= value <= span.most:
        raise ValueError(f"{_at(where)}{shown(value)} is not a whole number from {span.least} to {span.most}")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MOST**16:
        raise ValueError(f"{_at(where)}{shown(value)} is not a number")
    return float(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_at(where)}{shown(value)} is not a text")
    return value


def _truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{_at(where)}{shown(value)} is neither true nor false")
    return value


_PLAIN: Mapping[Any, Any] = {
    int: lambda value, where: _whole(value, Range(-MOST), where),
    float: _number,
    str: _text,
    bool: _truth,
    Any: lambda value, where: value,
}


def _at(where: str) -> str:
    return f"{where.lstrip('.')}: " if where else ""


def shown(value: Any) -> str:
    """Return a value as a message shows it, cut to a readable length."""
    shown_value = repr(value)
    return shown_value if len(shown_value) <= 40 else f"{shown_value[:37]}..."
