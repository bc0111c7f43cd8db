"""The argument parser of every command: a wrong option is one line, like every other fault."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from mpi_vta.errors import InputError


class OneLineParser(argparse.ArgumentParser):
    """Raises a wrong option as the one-line error that every other fault is, an empty path as a wrong option.

    `prog` is the module, ``mpi_vta.plan`` for one; usage and help show it as it was called, in a form to be typed.
    """

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog=_as_called(prog), **options)
        self.register("type", Path, _path)

    def error(self, message: str) -> NoReturn:
        """Raise `InputError`; a sub-command's parser names the command's help."""
        raise InputError(message, where="command line", remedy=f"see {_command(self.prog)} --help")


def _as_called(module: str) -> str:
    """Return ``mpi-vta plan`` if the installed script was called, ``python -m mpi_vta.plan`` otherwise."""
    if not module.startswith("mpi_vta."):
        return module
    is_script = Path(sys.argv[0]).name == "mpi-vta"
    return f"mpi-vta {module.removeprefix('mpi_vta.')}" if is_script else f"python -m {module}"


def _command(prog: str) -> str:
    """Return a parser's command without that of a sub-command."""
    words = prog.split()
    return " ".join(words[: 2 if words[0] == "mpi-vta" else 3])


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return Path(text)
