"""Damage of files: bytes, JSON and TOML values, zip members, HDF5 parts, protobuf fields; all from one seed."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 255, 2**15, 2**31, 2**32, 2**63, 2**64, 10**30, -(2**63)),
    *(0.0, -1.5, 1e-9, 1e308, float("inf"), float("nan")),
    *("", "x", "a\nb", "ä\u202e\U0001f600", "\x00", "../../etc/passwd", "/etc/passwd", "9" * 5000, "%s{0}"),
    *([], {}, [[]], [None], [1, "x"], {"x": 1}, [0] * 3),
)
INTERESTING_BYTES = (0, 1, 127, 128, 255)


def damaged_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, overwrite, cut, double, drop or insert some bytes."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(7):
            case 0 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(found):
                found[at] = rng.choice(INTERESTING_BYTES)
            case 2:
                del found[at:]
            case 3:
                found[at:at] = found[at : at + rng.randrange(1, 64)]
            case 4:
                del found[at : at + rng.randrange(1, 64)]
            case 5:
                found[at:at] = rng.randbytes(rng.randrange(1, 16))
            case _:
                found[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2**16, 2**31 - 1, 2**32 - 1)))
    return bytes(found)


def damaged_value(rng: random.Random, value: Any) -> Any:
    """Return a JSON-like value with one to three of its parts changed, dropped, doubled or renamed."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _damaged_once(rng, value)
    return value


def _damaged_once(rng: random.Random, value: Any) -> Any:
    inner = isinstance(value, dict | list) and value and rng.random() < 0.9
    if not inner:
        return _odd_like(rng, value)
    value = dict(value) if isinstance(value, dict) else list(value)
    place = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    roll = rng.random()
    if roll < 0.1:
        del value[place]
    elif roll < 0.15 and isinstance(value, dict):
        value[rng.choice(("", "x", "ä", str(place) * 2))] = value.pop(place)
    elif roll < 0.2 and isinstance(value, list):
        value.insert(place, value[place])
    else:
        value[place] = _damaged_once(rng, value[place])
    return value


def _odd_like(rng: random.Random, value: Any) -> Any:
    """Return an odd value, often one of the same type, so that it gets past the first check."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and rng.random() < 0.6:
        return rng.choice((value + 1, value - 1, -value, value * 2, 0, 2**40, 2**62, value * 10**6))
    return rng.choice(ODD_VALUES)


def to_toml(value: Any) -> str:
    """Write a table as TOML, odd values too; what TOML has no word for becomes text that is not TOML."""
    lines = [f"{_key(name)} = {_toml_value(entry)}" for name, entry in value.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return json.dumps(name)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(repr(value), repr(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_toml_value(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if value is None:
        return "null"
    return json.dumps(value, ensure_ascii=False)


def damaged_zip(rng: random.Random, data: bytes) -> bytes:
    """Change members of a zip: their bytes, names, number and sizes, keeping the container readable."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    stream = io.BytesIO()
    how = rng.randrange(7)
    if how == 0:
        members[name] = damaged_bytes(rng, members[name])
    elif how == 1:
        del members[name]
    elif how == 2:
        members[rng.choice(("../evil.npy", "/tmp/evil.npy", "x.npy", "__header__", "a" * 300))] = members.pop(name)
    elif how == 3:
        members[name] = npy_with_header(rng, members[name])
    method = zipfile.ZIP_DEFLATED if how == 4 or (how == 5 and rng.random() < 0.5) else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", method) as archive:
        for each, content in members.items():
            archive.writestr(each, content if not (how == 4 and each == name) else bytes(1 << 27))
    return _with_sizes(rng, stream.getvalue()) if how >= 5 else stream.getvalue()


def npy_with_header(rng: random.Random, content: bytes) -> bytes:
    """Return the bytes of an .npy with a header that promises something else."""
    descr = rng.choice(("<i8", "|O", "<f8", "|V8", "<U1000000", "|i1", ">u8", "<M8[ns]"))
    shape = rng.choice(("()", "(0,)", "(1000000000000,)", "(-1,)", "(4294967296, 4294967296)", "(2,)", "(1, 2, 3, 4)"))
    header = f"{{'descr': '{descr}', 'fortran_order': {rng.choice(('False', 'True'))}, 'shape': {shape}, }}\n".encode()
    body = content[content.find(b"}") + 1 :]
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def _with_sizes(rng: random.Random, data: bytes) -> bytes:
    """Overwrite a size or checksum in a directory entry of a zip."""
    found = bytearray(data)
    entry = found.rfind(b"PK\x01\x02")
    field = entry + rng.choice((16, 20, 24, 42))
    found[field : field + 4] = struct.pack("<I", rng.choice((0, 1, 2**31, 2**32 - 1, zlib.crc32(data))))
    return bytes(found)
