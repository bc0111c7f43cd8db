"""One program of the selftest with what it must give, put together from assembly text for any VTA build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Binding, Layer, Program, Segment
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.assembly import assemble
from mpi_vta.isa.codec import encode_uops

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class CaseLaunch:
    """Inputs and right outputs of one launch, by value name."""

    inputs: Mapping[str, Bytes]
    outputs: Mapping[str, Bytes]


@dataclass(frozen=True)
class Case:
    """A program and its launches, which follow each other.

    Attributes
    ----------
    name : str
        Short, unique.
    shows : str
        What the hardware has to do right.
    meaning : str
        What wrong bytes mean, if they are not stale.
    program : Program
        For one build.
    launches : tuple of CaseLaunch
        One or more.
    """

    name: str
    shows: str
    meaning: str
    program: Program
    launches: tuple[CaseLaunch, ...]


class CaseProgram:
    """Puts a program together: segments, micro-ops, and assembly lines with the segment that each moves.

    Parameters
    ----------
    name : str
        Of the program.
    config : VTAConfig
        The build.
    """

    def __init__(self, name: str, config: VTAConfig) -> None:
        self._name, self.config = name, config
        self._segments: list[Segment] = []
        self._data: dict[str, Bytes] = {}
        self._inputs: list[Binding] = []
        self._outputs: list[Binding] = []
        self._lines: list[str] = []
        self._moved: list[int] = []

    def micro_ops(self, triples: Sequence[tuple[int, int, int]]) -> None:
        """Place (dst, src, wgt) micro-ops in DRAM and load them from index 0 on."""
        dst, src, wgt = (np.array(column) for column in zip(*triples, strict=True))
        raw = encode_uops(dst, src, wgt, self.config).astype("<u4").view(np.uint8)
        self.constant("uops", raw)
        self.emit(f"LOAD memory_type=UOP y_size=1 x_size={len(triples)} x_stride={len(triples)}", "uops")

    def constant(self, name: str, content: Bytes) -> None:
        """Add a segment with content."""
        self._segments.append(Segment(name, "const", content.size))
        self._data[name] = content

    def input(self, name: str, size_bytes: int) -> None:
        """Add an input value."""
        self._segments.append(Segment(name, "input", size_bytes))
        self._inputs.append(Binding(name, name, (1, 1, 1, 1), 0, size_bytes))

    def output(self, name: str, size_bytes: int) -> None:
        """Add an output value."""
        self._segments.append(Segment(name, "output", size_bytes))
        self._outputs.append(Binding(name, name, (1, 1, 1, 1), 0, size_bytes))

    def emit(self, line: str, segment: str = "") -> None:
        """Append an instruction; a LOAD or STORE that moves something names its segment."""
        self._lines.append(line)
        names = [entry.name for entry in self._segments]
        self._moved.append(names.index(segment) if segment else -1)

    def done(self) -> Program:
        """Return the program."""
        return Program(
            f"selftest {self._name}",
            self.config,
            assemble("\n".join(self._lines), self.config),
            np.array(self._moved, np.int16),
            np.zeros(len(self._lines), np.int16),
            tuple(self._segments),
            tuple(self._inputs),
            tuple(self._outputs),
            (Layer(self._name, "selftest", "", 0, 0, 0, 0),),
            self._data,
        )


def int8_bytes(values: Ints) -> Bytes:
    """Return the low bytes of integers, as STORE leaves them."""
    return (values & 0xFF).astype(np.uint8).reshape(-1)


def int32_bytes(values: Ints) -> Bytes:
    """Return 32-bit words of integers, little endian, as accumulators lie in DRAM."""
    return (values & 0xFFFF_FFFF).astype("<u4").view(np.uint8).reshape(-1)


def wrap_int32(values: Ints) -> Ints:
    """Return what 32-bit accumulators hold of integers."""
    wrapped: Ints = ((values + (1 << 31)) & 0xFFFF_FFFF) - (1 << 31)
    return wrapped
