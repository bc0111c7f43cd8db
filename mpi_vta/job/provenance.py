"""Where a result comes from: the command, the versions, the commit."""

from __future__ import annotations

import platform
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from mpi_vta import __version__

_PACKAGE = Path(__file__).resolve().parent
UNKNOWN = "unknown"


def commit() -> str:
    """Return the commit of the source tree, with ``+changed`` if files differ; `UNKNOWN` outside of one."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return head + ("+changed" if changed else "")


def versions_and_argv(argv: Sequence[str]) -> dict[str, str]:
    """Return how a run was started and with what, as attributes of a trace."""
    return {
        "argv": shlex.join(argv),
        "commit": commit(),
        "mpi_vta_version": __version__,
        "python_version": platform.python_version(),
        "numpy_version": version("numpy"),
        "h5py_version": version("h5py"),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_PACKAGE, capture_output=True, text=True, check=True)
    return done.stdout.strip()
