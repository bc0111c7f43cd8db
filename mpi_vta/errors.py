"""Errors that a user can act on: what is wrong, where, what was allowed, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mpi_vta.printable import printable


class MpiVtaError(Exception):
    """Base of every error that the user, not the programmer, can mend.

    Parameters
    ----------
    what : str
        What is wrong, without a full stop.
    where : str
        The file, key, layer, instruction or rank concerned; may be empty.
    allowed : str
        What would have been accepted; may be empty.
    remedy : str
        What to do about it; may be empty.
    """

    exit_status = 2

    def __init__(self, what: str, *, where: str = "", allowed: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.allowed = allowed
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        """Return the whole message as one line, without characters that a terminal obeys."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.remedy:
            parts.append(self.remedy)
        return "; ".join(printable(" ".join(part.split())) for part in parts)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the four parts when the error crosses a process boundary."""
        return (_rebuild, (type(self), self.what, self.where, self.allowed, self.remedy))


Fault = TypeVar("Fault", bound=MpiVtaError)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a remedy that names the known name which is most like a wrong one; empty if none is."""
    # a guardian, of which every rank has one, need not hold it in memory
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""


def unknown_name(kind: type[Fault], what: str, *, where: str, name: str, known: Iterable[str]) -> Fault:
    """Return the error of a name that is none of the known ones; it names all of them, and the one most like it."""
    names = list(known)
    return kind(what, where=where, allowed=", ".join(names), remedy=did_you_mean(name, names))


def _rebuild(kind: type[MpiVtaError], what: str, where: str, allowed: str, remedy: str) -> MpiVtaError:
    return kind(what, where=where, allowed=allowed, remedy=remedy)


@contextmanager
def about(path: str | Path, known_as: str = "") -> Iterator[None]:
    """Name a file in every fault of the body that does not, in front of the place or, of `known_as`, in its stead."""
    try:
        yield
    except MpiVtaError as fault:
        if str(path) in fault.where:
            raise
        where = f"{path}: {fault.where}" if fault.where not in ("", known_as) else str(path)
        raise _rebuild(type(fault), fault.what, where, fault.allowed, fault.remedy) from fault


class ConfigError(MpiVtaError):
    """A VTA configuration, board or cluster file that cannot be used."""


class IsaError(MpiVtaError):
    """An instruction, micro-op or assembly text that the ISA does not allow."""


class ModelError(MpiVtaError):
    """A model file that is missing, broken or uses an operator that we lack."""


class GraphError(MpiVtaError):
    """A graph that breaks the rules of the intermediate representation."""


class CompileError(MpiVtaError):
    """A layer that cannot be lowered to the given VTA configuration."""


class SimulationError(MpiVtaError):
    """A program that leaves the subset of behaviour on which all VTA builds agree."""


class PlanError(MpiVtaError):
    """A distribution of the work that cannot be run."""


class LaunchError(MpiVtaError):
    """An MPI start that cannot work: wrong pairing, too few ranks."""


class DeviceError(MpiVtaError):
    """A board that is missing, carries another VTA build, or does not answer."""


class IntegrityError(MpiVtaError):
    """Data that changed on the way from one rank to another."""


class InputError(MpiVtaError):
    """A picture, option or data file that cannot be read or used."""


class OutputLostError(InputError):
    """The output folder of a job is gone while it runs: there is nothing to go on with."""


class ArtifactError(MpiVtaError):
    """A saved graph, program, plan or trace that is damaged or of another version."""
