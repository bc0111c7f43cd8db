"""The argument parser of every command: a wrong option is one line, like every other fault."""

from __future__ import annotations

import argparse
from typing import NoReturn

from mpi_vta.errors import InputError


class OneLineParser(argparse.ArgumentParser):
    """Raises a wrong option as the one-line error that every other fault is."""

    def error(self, message: str) -> NoReturn:
        """Raise `InputError`; a sub-command's parser names the command's help."""
        raise InputError(message, where="command line", remedy=f"see python -m {self.prog.split()[0]} --help")
