"""What the runtime asks of a board: take a program once, then launch it once per image group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Binding, Program
from mpi_vta.errors import InputError
from mpi_vta.hw.board import Board
from mpi_vta.trace.schema import StageProfile

Buffers = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class DeviceSetup:
    """What a real board needs to be opened; simulated ones need nothing of it.

    Attributes
    ----------
    board : Board or None
        Build, clock and part.
    bitstream : str
        File on the board; empty for the one that the board file names.
    """

    board: Board | None = None
    bitstream: str = ""


def input_of(program: Program, binding: Binding, inputs: Buffers) -> NDArray[np.uint8]:
    """Return what is given for an input of a program; raises `InputError` if it is not of its size."""
    given = inputs[binding.value]
    if given.size != binding.size_bytes:
        raise InputError(
            f"{given.size} bytes for input {binding.value}",
            where=program.name,
            allowed=f"{binding.size_bytes} bytes",
        )
    return given


class LoadedProgram(Protocol):
    """A program in a board's memory, ready to launch.

    Attributes
    ----------
    cycles : int or None
        Modelled VTA cycles of one launch, from start to FINISH; None for a device that does not model time.
    profile : StageProfile or None
        Where those cycles go; None for a device that cannot tell.
    launch_ns : int or None
        Measured time of the latest launch; None before one, and for a simulated device.
    """

    cycles: int | None
    profile: StageProfile | None
    launch_ns: int | None

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
    simulated : bool
        Whether a launch has no time of its own, so that in real time it has to be held for its modelled one.
    """

    name: str
    carries_data: bool
    simulated: bool

    def load(self, program: Program) -> LoadedProgram:
        """Place a program in the board's memory; several may be loaded at once."""
        ...
