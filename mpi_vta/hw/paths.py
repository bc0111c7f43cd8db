"""Where the shipped hardware descriptions lie: the repository's ``hw/`` or its copy in the wheel."""

from __future__ import annotations

from pathlib import Path

from mpi_vta.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).resolve().parent.parent
HW_ROOT = _PACKAGE / "_hw" if (_PACKAGE / "_hw").is_dir() else _PACKAGE.parent / "hw"


def is_shipped(kind: str, name: str) -> bool:
    """Return whether there is a shipped description of that name; see `find`."""
    return Path(name).name == name and any((HW_ROOT / kind).glob(f"{name}.*"))


def shipped_names(kind: str) -> tuple[str, ...]:
    """Return the names of all shipped descriptions of a kind, in order; see `find`."""
    return tuple(sorted(path.stem for path in (HW_ROOT / kind).iterdir()))


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
    return direct if is_file(direct) else _shipped(kind, name, suffix)


def find_beside(kind: str, name: str, suffix: str, folder: Path) -> Path:
    """Return the file that a name in a file stands for: one in that file's `folder` or below it, or a shipped one.

    Raises
    ------
    ConfigError
        If there is none, or the name leads out of the folder.
    """
    return inside(folder, name) or _shipped(kind, name, suffix)


def inside(folder: Path, name: str) -> Path | None:
    """Return a file that lies in a folder or below it, None if there is none; a name that leads out is refused."""
    path = folder / name
    if not is_file(path):
        # what is not there is not followed either, but a path must not be taken for a name
        if Path(name).name != name:
            raise ConfigError("no such file", where=name, allowed=f"a file in {folder} or below it")
        return None
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError("it leads out of the folder", where=name, allowed=f"a file in {folder} or below it")
    return path


def is_file(path: Path) -> bool:
    """Return whether there is such a file; what no file system takes for a name is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _shipped(kind: str, name: str, suffix: str) -> Path:
    shipped = HW_ROOT / kind / f"{name}{suffix}"
    if Path(name).name == name and is_file(shipped):
        return shipped
    known = shipped_names(kind)
    raise ConfigError(
        f"no such file and no shipped {kind} entry",
        where=name,
        allowed=f"a {suffix} file, or one of: {', '.join(known)}",
        remedy=did_you_mean(name, known),
    )
