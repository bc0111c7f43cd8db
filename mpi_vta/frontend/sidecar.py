"""A file beside a model that says how pictures become its inputs: ``net.toml`` beside ``net.onnx``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mpi_vta.disk import write_atomically
from mpi_vta.errors import InputError
from mpi_vta.frontend.images import Preprocess
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.hw.toml_table import TomlTable
from mpi_vta.picture_options import BGR, ORDERS, RESIZES, RGB, PictureOptions

T = TypeVar("T")
_REMEDY = "see docs/your_model.md"


def sidecar_of(name_or_path: str) -> Path | None:
    """Return where a model's sidecar lies, whether it is there or not; None for the zoo's models."""
    return None if name_or_path in BUILDERS else Path(name_or_path).with_suffix(".toml")


def with_sidecar(name_or_path: str, options: PictureOptions) -> PictureOptions:
    """Return options completed by what the file beside the model says, if there is one.

    Raises
    ------
    ConfigError
        If that file cannot be read, or says something that is not allowed.
    """
    path = sidecar_of(name_or_path)
    if path is None or not path.is_file():
        return options
    return options.completed(read_sidecar(path))


def read_sidecar(path: Path) -> PictureOptions:
    """Return what a sidecar says; see `with_sidecar` for errors."""
    table = TomlTable.load(path)
    mean, std = (_stated(table, key, _numbers, "numbers") for key in ("mean", "std"))
    channels, resize = (_word(table, key, allowed) for key, allowed in (("channels", ORDERS), ("resize", RESIZES)))
    levels = _stated(table, "range", _level, "1 or 255")
    names = _stated(table, "labels", _names, "a list of names")
    table.refuse_unknown()
    table.raise_faults("not a usable description of a model's pictures", str(path), _REMEDY)
    try:
        return PictureOptions(mean, std, channels, levels, resize, names or ())
    except InputError as fault:
        raise InputError(fault.what, where=f"{path}: {fault.where}", allowed=fault.allowed) from fault


def save_beside(name_or_path: str, preprocess: Preprocess, class_names: tuple[str, ...]) -> Path:
    """Write a model's preprocessing beside it; raises `InputError` for the zoo's models, or if the disk refuses."""
    path = sidecar_of(name_or_path)
    if path is None:
        raise InputError(f"{name_or_path} comes with its own", where="--save-preprocess", allowed="a model's file")
    lines = [
        "# how pictures become this model's inputs: (pixel - mean) / std, pixels in 0..range",
        f"mean = {json.dumps(list(preprocess.mean))}",
        f"std = {json.dumps(list(preprocess.std))}",
        f'channels = "{BGR if preprocess.reversed_channels else RGB}"',
        "range = 1",
        f'resize = "{preprocess.fit}"',
    ]
    if class_names:
        lines.append(f"labels = {json.dumps(list(class_names), ensure_ascii=False)}")
    write_atomically(path, ("\n".join(lines) + "\n").encode(), "the description of the model's pictures")
    return path


def _stated(table: TomlTable, key: str, parse: Callable[[object], T | None], allowed: str) -> T | None:
    """Read a key that may be absent, for None."""
    found = table.parsed(key, lambda value: () if value is None else parse(value), allowed)
    return None if found == () else found  # type: ignore[return-value]


def _word(table: TomlTable, key: str, allowed: tuple[str, ...]) -> str | None:
    return _stated(table, key, lambda value: str(value) if value in allowed else None, ", ".join(allowed))


def _level(value: object) -> float | None:
    return float(str(value)) if value in (1, 255) and not isinstance(value, bool) else None


def _numbers(value: object) -> tuple[float, ...] | None:
    listed = value if isinstance(value, list) else [value]
    numbers = [float(each) for each in listed if isinstance(each, int | float) and not isinstance(each, bool)]
    return tuple(numbers) if numbers and len(numbers) == len(listed) else None


def _names(value: object) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and value and all(isinstance(each, str) for each in value) else None
