"""The first words between ranks: what each runs, and which process it is. Ranks of other sources end the job.

A rank with other sources might compute other results, or take one message for another, and nothing later would show
it. So before anything else each rank tells rank 0, and rank 0 every rank, in messages of a size that never changes.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mpi_vta
from mpi_vta.codegen import program
from mpi_vta.errors import LaunchError
from mpi_vta.graph import ir
from mpi_vta.plans import plan
from mpi_vta.runtime.faults.attended_clock import AttendedClock
from mpi_vta.runtime.faults.process import ProcessId
from mpi_vta.runtime.transport.protocol import MessageRequest, Pause, Transport
from mpi_vta.trace import schema

# whatever else changes, size and tag of the message, `host` and `facts` in it may not: releases read each other
FRAME_BYTES = 2048
TAG = -2
# a rank that is stopped meanwhile is named by its guardian, earlier
LONGEST_WAIT_S = 60.0
_SHOWN_DIGITS = 12
_SHOWN_HOSTS = 4
REMEDY = "install the same release on every host, and see that PYTHONPATH leads to the same sources everywhere"


class IntroductionError(LaunchError):
    """Ranks that run other sources, or one that has said nothing.

    Attributes
    ----------
    is_mutual : bool
        Whether every rank has heard of it, and leaves.
    """

    is_mutual = True


@cache
def own_facts() -> Mapping[str, str]:
    """Return what has to be the same on every rank: release, hash of the sources, instruction set, file formats."""
    root = Path(mpi_vta.__file__).parent
    # an installation without sources has the compiled ones in their place
    everything = sorted(root.rglob("*.py")) or sorted(root.rglob("*.pyc"))
    sources, isa = hashlib.sha256(), hashlib.sha256()
    for path in everything:
        name, text = path.relative_to(root), path.read_bytes()
        for digest in (sources, isa) if name.parts[0] == "isa" else (sources,):
            digest.update(name.as_posix().encode() + b"\0" + len(text).to_bytes(8, "little") + text)
    formats = {
        "plan": plan.FORMAT_VERSION,
        "program": program.FORMAT_VERSION,
        "graph": ir.FORMAT_VERSION,
        "trace": schema.VERSION,
    }
    return {
        "mpi_vta": mpi_vta.__version__,
        "sources": sources.hexdigest(),
        "ISA": isa.hexdigest(),
        "formats": ", ".join(f"{name} {version}" for name, version in formats.items()),
    }


@dataclass(frozen=True)
class RankStatement:
    """What a rank says of itself.

    Attributes
    ----------
    facts : mapping of str to str
        See `own_facts`.
    process : ProcessId
        Which process it is.
    """

    facts: Mapping[str, str]
    process: ProcessId

    @classmethod
    def own(cls) -> RankStatement:
        """Return this process's."""
        return cls(own_facts(), ProcessId.own())

    def to_frame(self) -> NDArray[np.uint8]:
        """Return the statement as a message of `FRAME_BYTES`."""
        text = json.dumps({"facts": dict(self.facts), "process": asdict(self.process), "host": self.process.host})
        frame = np.full(FRAME_BYTES, ord(" "), np.uint8)
        written = np.frombuffer(text.encode()[:FRAME_BYTES], np.uint8)
        frame[: len(written)] = written
        return frame

    @classmethod
    def from_frame(cls, frame: NDArray[np.uint8]) -> RankStatement:
        """Read what any release's `to_frame` wrote: what cannot be understood is a fact that differs."""
        try:
            said = json.loads(frame.tobytes())
            facts = {str(name): str(value) for name, value in said["facts"].items()}
            host = str(said["host"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls({"mpi_vta": "of an unknown release"}, ProcessId("a host that cannot be named", "", 0, 0))
        try:
            return cls(facts, ProcessId(**said["process"]))
        except (KeyError, TypeError):
            # of a release that describes processes otherwise
            return cls(facts, ProcessId(host, "", 0, 0))

    @property
    def short(self) -> str:
        """Release and sources, as an error names them."""
        sources = self.facts.get("sources", "")
        return f"mpi_vta {self.facts.get('mpi_vta', 'unknown')}, sources {sources[:_SHOWN_DIGITS] or 'unknown'}"


def difference(statements: Sequence[RankStatement]) -> str:
    """Say which hosts run what, rank by rank in `statements`; empty if all run the same."""
    running: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
    for rank, statement in enumerate(statements):
        running[tuple(sorted(statement.facts.items()))].append(rank)
    if len(running) < 2:
        return ""
    names = sorted({name for facts in running for name, _ in facts})
    differing = [name for name in names if len({dict(facts).get(name) for facts in running}) > 1]
    return f"{' and '.join(differing)} differ: " + "; ".join(
        f"{statements[ranks[0]].short} on {_places(ranks, statements)}" for ranks in running.values()
    )


def _places(ranks: Sequence[int], statements: Sequence[RankStatement]) -> str:
    by_host: dict[str, list[int]] = defaultdict(list)
    for rank in ranks:
        by_host[statements[rank].process.host].append(rank)
    places = [f"{host} (rank {', '.join(map(str, held))})" for host, held in by_host.items()]
    more = f" and {len(places) - _SHOWN_HOSTS} more" if len(places) > _SHOWN_HOSTS else ""
    return ", ".join(places[:_SHOWN_HOSTS]) + more


def introduce(transport: Transport, own: RankStatement) -> tuple[RankStatement, ...]:
    """Tell the others what this rank runs, and hear it of them; every rank calls this before anything else.

    Returns
    -------
    tuple of RankStatement
        At rank 0, of every rank; elsewhere, of rank 0 alone.

    Raises
    ------
    IntroductionError
        If not all run the same, or a rank says nothing: on every rank.
    """
    frame = own.to_frame()
    if transport.rank:
        answer = np.zeros(FRAME_BYTES, np.uint8)
        sent, received = transport.isend(frame, 0, TAG), transport.irecv(answer, 0, TAG)
        # rank 0 has the word first
        _await({0: received}, 2 * LONGEST_WAIT_S, own)
        _await({0: sent}, LONGEST_WAIT_S, own)
        said = (RankStatement.from_frame(answer),)
        _check((said[0], own))
        return said
    frames = {rank: np.zeros(FRAME_BYTES, np.uint8) for rank in range(1, transport.size)}
    _await({rank: transport.irecv(buffer, rank, TAG) for rank, buffer in frames.items()}, LONGEST_WAIT_S, own)
    statements = (own, *(RankStatement.from_frame(buffer) for buffer in frames.values()))
    others = next((said for said in statements if said.facts != own.facts), own)
    # where one differs, every rank is told what it runs, and so leaves
    _await(
        {
            rank: transport.isend((others if said.facts == own.facts else own).to_frame(), rank, TAG)
            for rank, said in enumerate(statements)
            if rank
        },
        LONGEST_WAIT_S,
        own,
    )
    _check(statements)
    return statements


def _check(statements: Sequence[RankStatement]) -> None:
    if text := difference(statements):
        raise IntroductionError(text, where="MPI", remedy=REMEDY)


def _await(requests: Mapping[int, MessageRequest], longest_s: float, own: RankStatement) -> None:
    """Wait for what the ranks named say or take."""
    pause, attended, missing = Pause(), AttendedClock(), dict(requests)
    while missing:
        missing = {rank: request for rank, request in missing.items() if not request.done()}
        if attended.now_s() > longest_s:
            ranks = ", ".join(map(str, missing))
            fault = IntroductionError(
                f"nothing heard from rank {ranks} for {longest_s:g} s, since MPI began; here it is {own.short}",
                where="MPI",
                remedy=REMEDY,
            )
            fault.is_mutual = False
            raise fault
        pause.once()
