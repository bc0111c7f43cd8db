"""Compiled programs and their timing on disk, found by the hash of what they were made from.

An entry begins with a line that states this hash and the SHA-256 of its content: what was damaged, or made from
something else, is made again. Programs that are handed out are compared with their graph as well, see
`ProgramCache.check`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.codegen.program import Program
from mpi_vta.disk import NO_LOCKS, cache_directory, is_same_file, open_own, read_bytes, sources_hash, write_atomically
from mpi_vta.errors import ArtifactError, InputError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig

TIMING_VERSION = 1
_ENTRY_VERSION = 1
# of hw the compiler knows the VTA build alone: a new board or cluster leaves programs as they are
_COMPILER_ROOMS = ("codegen", "simulator", "isa", "graph", "hw/config.py")  # schedules are chosen by simulated cycles
_REMEDY = "set MPI_VTA_CACHE to a folder that can be written"
_SIMULATOR_ROOMS = ("simulator", "isa", "hw/config.py")


def cache_path(directory: Path, kind: str, *parts: str) -> Path:
    """Return where a cache keeps what was made from `parts`, all that decides it."""
    key = hashlib.sha256("|".join((kind, *parts)).encode()).hexdigest()
    return directory / key[:2] / f"{key[2:]}.{kind}"


def read_kept(path: Path, what: str) -> bytes | None:
    """Return what the cache of `what` holds at a path that `cache_path` gave.

    Returns
    -------
    bytes or None
        None for nothing, or for what is damaged or another entry, which is removed.

    Raises
    ------
    InputError
        If it cannot be read, or is a pipe, a device, a socket or a folder.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise unusable(path, what, fault) from fault
    head, _, data = content.partition(b"\n")
    if head == _head(path, data):
        return data
    discard(path, what)
    return None


def discard(path: Path, what: str) -> None:
    """Remove an entry that cannot be believed; raises `InputError` if that is not possible."""
    try:
        path.unlink(missing_ok=True)
    except OSError as fault:
        raise unusable(path, what, fault) from fault


def keep(path: Path, data: bytes, what: str) -> None:
    """Put something into the cache of `what`; raises `InputError` if it cannot be written."""
    write_atomically(path, _head(path, data) + b"\n" + data, f"the {what} cache", _REMEDY)


def _head(path: Path, data: bytes) -> bytes:
    """Return the first line of an entry: the hash of what it was made from, and that of its content."""
    made_from = f"{path.parent.name}{path.stem} {path.suffix[1:]}"
    return f"mpi_vta cache {_ENTRY_VERSION} {made_from} {hashlib.sha256(data).hexdigest()}".encode()


def unusable(path: Path, what: str, fault: OSError) -> InputError:
    """Return the error of a cache that cannot be used because of an entry."""
    own = fault.errno in (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EFBIG)
    return InputError(
        f"the {what} cache cannot be used ({fault.strerror})",
        where=str(path if own else path.parent.parent),
        remedy="remove it" if own else _REMEDY,
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


class FindChange(Protocol):
    """Says how a program differs from what the compiler makes of its graph; empty if it does not."""

    def __call__(self, graph: Graph, config: VTAConfig, program: Program, *, every_instruction: bool) -> str:
        """See `mpi_vta.codegen.rederivation.find_change`."""


@dataclass
class ProgramCache:
    """Compiles and times a graph, unless that was done before.

    An entry is named by the SHA-256 of the graph, the configuration and the sources of the compiler
    (for a timing: of the program, and of the simulator), and states it. Entries are written atomically; one that is
    damaged, or another's, is made again. Of several processes that lack the same program, one compiles it and the
    others wait.

    Parameters
    ----------
    compile_graph : callable
        ``(graph, config) -> Program``.
    time_program : callable
        ``(program) -> ProgramTiming``.
    directory : Path
        Where entries lie; made when needed.
    find_change : callable
        As `mpi_vta.codegen.rederivation.find_change`; by default nothing is found.

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
    find_change: FindChange = lambda graph, config, program, *, every_instruction: ""
    hits: int = 0
    misses: int = 0
    seconds: float = 0.0
    _from_disk: set[str] = field(default_factory=set)

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

    def check(self, graph: Graph, config: VTAConfig, program: Program, *, every_instruction: bool) -> None:
        """Compare a program that came from the disk with its graph; one compiled here is not looked at.

        Parameters
        ----------
        graph, config, program
            As given to `program`, and what it returned.
        every_instruction : bool
            Whether its instructions and its timing are made again, and not only its weights and biases.

        Raises
        ------
        ArtifactError
            If the program is not what the compiler makes of the graph, or its timing not what the simulator says.
        """
        begun_s = time.perf_counter()
        if program.sha256 in self._from_disk:
            path = self._program_path(graph, config)
            change = self.find_change(graph, config, program, every_instruction=every_instruction)
            if change:
                raise _unbelievable(path, "program", change)
            if every_instruction:
                kept, made = self._timing(program), self.time_program(program)
                if kept.cycles != made.cycles or not np.array_equal(kept.layer_cycles, made.layer_cycles):
                    path = self._path("timing", _SIMULATOR_ROOMS, program.sha256)
                    raise _unbelievable(path, "timing", f"{kept.cycles} cycles for {made.cycles}")
        self.seconds += time.perf_counter() - begun_s

    def _program(self, graph: Graph, config: VTAConfig) -> Program:
        path = self._program_path(graph, config)
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
            discard(path, "program")
            return None
        self.hits += 1
        self._from_disk.add(program.sha256)
        return program

    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """Keep other processes from making the same entry; the lock ends with the process, however that ends."""
        lock = path.with_suffix(".lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = _locked(lock)
        except OSError as fault:
            raise unusable(lock, "program", fault) from fault
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            os.close(file)

    def _timing(self, program: Program) -> ProgramTiming:
        path = self._path("timing", _SIMULATOR_ROOMS, program.sha256)
        data = read_kept(path, "program")
        if data is not None:
            try:
                header, arrays = artifact.unpack(data, "timing", TIMING_VERSION, str(path))
                timing = ProgramTiming(int(header["cycles"]), arrays["layer_cycles"])
            except (ArtifactError, KeyError, TypeError, ValueError):
                discard(path, "program")
            else:
                self.hits += 1
                return timing
        self.misses += 1
        timing = self.time_program(program)
        arrays = {"layer_cycles": timing.layer_cycles}
        keep(path, artifact.pack("timing", TIMING_VERSION, {"cycles": timing.cycles}, arrays), "program")
        return timing

    def _program_path(self, graph: Graph, config: VTAConfig) -> Path:
        return self._path("program", _COMPILER_ROOMS, graph.sha256, json.dumps(config.to_dict(), sort_keys=True))

    def _path(self, kind: str, rooms: tuple[str, ...], *parts: str) -> Path:
        return cache_path(self.directory, kind, sources_hash(rooms), *parts)


def _unbelievable(path: Path, what: str, change: str) -> ArtifactError:
    """Remove an entry that was altered and sealed again; return the error that says so."""
    discard(path, "program")
    return ArtifactError(
        f"the {what} in the cache is not what this release makes: {change}",
        where=str(path),
        remedy="it was altered, and is now removed: start again, and see who can write there",
    )


def _locked(path: Path) -> int:
    """Return the descriptor of a lock file, locked as soon as nobody else has it."""
    while True:
        file = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            # a record lock, as it is not inherited by the compiler's worker processes
            fcntl.lockf(file, fcntl.LOCK_EX)
        except OSError as fault:
            if fault.errno not in NO_LOCKS:
                os.close(file)
                raise
            # then two may compile the same program, and the entry is written twice
            return file
        if is_same_file(path, file):
            return file
        # whoever had it has removed it
        os.close(file)
