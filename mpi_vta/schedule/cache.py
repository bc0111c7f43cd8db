"""Compiled programs and their timing on disk, found by the hash of what they were made from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.codegen.program import Program
from mpi_vta.disk import cache_directory, sources_hash, write_atomically
from mpi_vta.errors import ArtifactError, InputError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig

TIMING_VERSION = 1
# of hw the compiler knows the VTA build alone: a new board or cluster leaves programs as they are
_COMPILER_ROOMS = ("codegen", "simulator", "isa", "graph", "hw/config.py")  # schedules are chosen by simulated cycles
_REMEDY = "set MPI_VTA_CACHE to a folder that can be written"
_SIMULATOR_ROOMS = ("simulator", "isa", "hw/config.py")


def cache_path(directory: Path, kind: str, *parts: str) -> Path:
    """Return where a cache keeps what was made from `parts`, all that decides it."""
    key = hashlib.sha256("|".join((kind, *parts)).encode()).hexdigest()
    return directory / key[:2] / f"{key[2:]}.{kind}"


def read_kept(path: Path, what: str) -> bytes | None:
    """Return what the cache of `what` holds at a path, None for nothing; raises `InputError` if it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise unusable(path, what, fault) from fault


def keep(path: Path, data: bytes, what: str) -> None:
    """Put something into the cache of `what`; raises `InputError` if it cannot be written."""
    write_atomically(path, data, f"the {what} cache", _REMEDY)


def unusable(path: Path, what: str, fault: OSError) -> InputError:
    """Return the error of a cache that cannot be used."""
    return InputError(
        f"the {what} cache cannot be used ({fault.strerror})", where=str(path.parent.parent), remedy=_REMEDY
    )


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
                keep(path, program.to_bytes(), "program")
        return program

    def _known_program(self, path: Path) -> Program | None:
        data = read_kept(path, "program")
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
            raise unusable(path, "program", fault) from fault
        with stream:
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)

    def _timing(self, program: Program) -> ProgramTiming:
        path = self._path("timing", _SIMULATOR_ROOMS, program.sha256)
        data = read_kept(path, "program")
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
        keep(path, artifact.pack("timing", TIMING_VERSION, {"cycles": timing.cycles}, arrays), "program")
        return timing

    def _path(self, kind: str, rooms: tuple[str, ...], *parts: str) -> Path:
        return cache_path(self.directory, kind, sources_hash(rooms), *parts)
