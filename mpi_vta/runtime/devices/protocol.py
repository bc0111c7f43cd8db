"""What the runtime asks of a board: take a program once, then launch it once per image group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.trace.schema import StageProfile

Buffers = Mapping[str, NDArray[np.uint8]]


class LoadedProgram(Protocol):
    """A program in a board's memory, ready to launch.

    Attributes
    ----------
    cycles : int
        VTA cycles of one launch, from start to FINISH (modelled for simulated devices).
    profile : StageProfile or None
        Where those cycles go; None for a device that cannot tell.
    """

    cycles: int
    profile: StageProfile | None

    def run(self, inputs: Buffers) -> dict[str, NDArray[np.uint8]]:
        """Launch once.

        Parameters
        ----------
        inputs : mapping of str to ndarray of uint8
            By value name, one GEMM batch each, in `mpi_vta.graph.layout` order.

        Returns
        -------
        dict of str to ndarray of uint8
            The program's outputs likewise; empty for a device that carries no data.
        """
        ...


class Device(Protocol):
    """A board.

    Attributes
    ----------
    name : str
        As given to ``--device``.
    carries_data : bool
        Whether launches compute; if not, only time passes.
    """

    name: str
    carries_data: bool

    def load(self, program: Program) -> LoadedProgram:
        """Place a program in the board's memory; several may be loaded at once."""
        ...
