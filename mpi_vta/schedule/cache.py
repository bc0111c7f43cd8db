"""Compiled programs and their timing on disk, found by the hash of what they were made from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.codegen.program import Program
from mpi_vta.disk import write_atomically
from mpi_vta.errors import ArtifactError, InputError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig

TIMING_VERSION = 1
_PACKAGE = Path(__file__).resolve().parent.parent
# of hw the compiler knows the VTA build alone: a new board or cluster leaves programs as they are
_COMPILER_ROOMS = ("codegen", "simulator", "isa", "graph", "hw/config.py")  # schedules are chosen by simulated cycles
_SIMULATOR_ROOMS = ("simulator", "isa", "hw/config.py")


CACHE_REMEDY = "set MPI_VTA_CACHE to a folder that can be written"


def cache_directory() -> Path:
    """Return ``MPI_VTA_CACHE``, or ``~/.cache/mpi_vta``."""
    named = os.environ.get("MPI_VTA_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "mpi_vta"


@cache
def sources_hash(rooms: tuple[str, ...]) -> str:
    """Return the SHA-256 of the source files of some rooms or modules: the version of what they compute."""
    digest = hashlib.sha256()
    for room in rooms:
        place = _PACKAGE / room
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            digest.update(f"{path.relative_to(_PACKAGE).as_posix()}|".encode() + path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class ProgramTiming:
    """Modelled cycles of one launch of a program.

    Attributes
    ----------
    cycles : int
        Launch to FINISH.
    layer_cycles : ndarray of int64, shape (layers,)
        The share of each of ``program.layers``; they sum to `cycles`.
    """

    cycles: int
    layer_cycles: NDArray[np.int64]


@dataclass
class ProgramCache:
    """Compiles and times a graph, unless that was done before.

    An entry is named by the SHA-256 of the graph, the configuration and the sources of the compiler
    (for a timing: of the program, and of the simulator). Entries are written atomically; one that is
    damaged is made again. Of several processes that lack the same program, one compiles it and the others wait.

    Parameters
    ----------
    compile_graph : callable
        ``(graph, config) -> Program``.
    time_program : callable
        ``(program) -> ProgramTiming``.
    directory : Path
        Where entries lie; made when needed.

    Attributes
    ----------
    hits, misses : int
        Lookups of programs and timings answered from disk, and not.
    seconds : float
        Time spent in all of them.
    """

    compile_graph: Callable[[Graph, VTAConfig], Program]
    time_program: Callable[[Program], ProgramTiming]
    directory: Path = field(default_factory=cache_directory)
    hits: int = 0
    misses: int = 0
    seconds: float = 0.0

    def program(self, graph: Graph, config: VTAConfig) -> Program:
        """Return the compiled graph.

        Raises
        ------
        InputError
            If the cache directory cannot be written.
        """
        begun_s = time.perf_counter()
        program = self._program(graph, config)
        self.seconds += time.perf_counter() - begun_s
        return program

    def timing(self, program: Program) -> ProgramTiming:
        """Return the modelled cycles of a program; see `program` for the errors."""
        begun_s = time.perf_counter()
        timing = self._timing(program)
        self.seconds += time.perf_counter() - begun_s
        return timing

    def _program(self, graph: Graph, config: VTAConfig) -> Program:
        path = self._path("program", _COMPILER_ROOMS, graph.sha256, json.dumps(config.to_dict(), sort_keys=True))
        program = self._known_program(path)
        if program is not None:
            return program
        with self._alone(path):
            # perhaps another process made it meanwhile
            program = self._known_program(path)
            if program is None:
                self.misses += 1
                program = self.compile_graph(graph, config)
                self._write(path, program.to_bytes())
        return program

    def _known_program(self, path: Path) -> Program | None:
        data = self._read(path)
        if data is None:
            return None
        try:
            program = Program.from_bytes(data, where=str(path))
        except ArtifactError:
            path.unlink(missing_ok=True)
            return None
        self.hits += 1
        return program

    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """Keep other processes from making the same entry; the lock ends with the process, however that ends."""
        lock = path.with_suffix(".lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            stream = lock.open("w")
            # a record lock, as it is not inherited by the compiler's worker processes
            fcntl.lockf(stream, fcntl.LOCK_EX)
        except OSError as fault:
            raise self._unusable(fault) from fault
        with stream:
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)

    def _timing(self, program: Program) -> ProgramTiming:
        path = self._path("timing", _SIMULATOR_ROOMS, program.sha256)
        data = self._read(path)
        if data is not None:
            try:
                header, arrays = artifact.unpack(data, "timing", TIMING_VERSION, str(path))
            except ArtifactError:
                path.unlink(missing_ok=True)
            else:
                self.hits += 1
                return ProgramTiming(header["cycles"], arrays["layer_cycles"])
        self.misses += 1
        timing = self.time_program(program)
        arrays = {"layer_cycles": timing.layer_cycles}
        self._write(path, artifact.pack("timing", TIMING_VERSION, {"cycles": timing.cycles}, arrays))
        return timing

    def _path(self, kind: str, rooms: tuple[str, ...], *parts: str) -> Path:
        key = hashlib.sha256("|".join((kind, sources_hash(rooms), *parts)).encode()).hexdigest()
        return self.directory / key[:2] / f"{key[2:]}.{kind}"

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise self._unusable(fault) from fault

    def _write(self, path: Path, data: bytes) -> None:
        write_atomically(path, data, "the program cache", CACHE_REMEDY)

    def _unusable(self, fault: OSError) -> InputError:
        return InputError(
            f"the program cache cannot be used ({fault.strerror})",
            where=str(self.directory),
            remedy=CACHE_REMEDY,
        )
