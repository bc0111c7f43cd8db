"""Where the shipped hardware descriptions lie: the repository's ``hw/`` or its copy in the wheel."""

from __future__ import annotations

from pathlib import Path

from mpi_vta.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent.parent
HW_ROOT = _PACKAGE / "_hw" if (_PACKAGE / "_hw").is_dir() else _PACKAGE.parent / "hw"


def is_shipped(kind: str, name: str) -> bool:
    """Return whether there is a shipped description of that name; see `find`."""
    return Path(name).name == name and any((HW_ROOT / kind).glob(f"{name}.*"))


def find(kind: str, name: str, suffix: str) -> Path:
    """Return the file that `name` stands for: a path, or a shipped name without suffix.

    Parameters
    ----------
    kind : str
        Folder under ``hw/``: ``vta_configs``, ``boards`` or ``clusters``.
    name : str
        A path to a file, or the stem of a shipped one.
    suffix : str
        ``.json`` or ``.toml``.
    """
    direct = Path(name)
    if direct.is_file():
        return direct
    shipped = HW_ROOT / kind / f"{name}{suffix}"
    if Path(name).name == name and shipped.is_file():
        return shipped
    known = ", ".join(sorted(path.stem for path in (HW_ROOT / kind).glob(f"*{suffix}")))
    raise ConfigError(
        f"no such file and no shipped {kind} entry",
        where=name,
        allowed=f"a {suffix} file, or one of: {known}",
    )
