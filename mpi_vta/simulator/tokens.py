"""Dependence tokens: which push each pop takes, the order they allow, and who waits when none does.

A queue has one unit that pushes and one that pops, each in program order, so its k-th pop takes the
token of its k-th push whatever the timing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import SimulationError
from mpi_vta.isa.assembly import format_instruction
from mpi_vta.isa.codec import Instruction
from mpi_vta.isa.table import FORMAT_OF, Opcode, Unit

Columns = Mapping[str, NDArray[np.int64]]


class Cause(IntEnum):
    """What decided when an instruction started."""

    UNIT = 0
    FETCH = 1
    LOAD_TOKEN = 2
    COMPUTE_TOKEN = 3
    STORE_TOKEN = 4


CAUSE_OF_UNIT = (int(Cause.LOAD_TOKEN), int(Cause.COMPUTE_TOKEN), int(Cause.STORE_TOKEN))
"""By unit of the instruction whose token was waited for."""


@dataclass(frozen=True)
class Queue:
    """A dependence queue: the unit and flag that push, the unit and flag that pop."""

    name: str
    producer: Unit
    push_flag: str
    consumer: Unit
    pop_flag: str


QUEUES: tuple[Queue, ...] = (
    Queue("load to compute", Unit.LOAD, "push_next", Unit.COMPUTE, "pop_prev"),
    Queue("compute to load", Unit.COMPUTE, "push_prev", Unit.LOAD, "pop_next"),
    Queue("compute to store", Unit.COMPUTE, "push_next", Unit.STORE, "pop_prev"),
    Queue("store to compute", Unit.STORE, "push_prev", Unit.COMPUTE, "pop_next"),
)


@dataclass(frozen=True)
class TokenMatch:
    """Who gives each instruction its tokens.

    Attributes
    ----------
    pushers : tuple of ndarray of int64
        Per queue: indices of the instructions that push, in order.
    poppers : tuple of ndarray of int64
        Per queue: indices of the instructions that pop, in order.
    producer : ndarray of int64, shape (n, 4)
        Per instruction and queue: the instruction whose token it takes; -1 if it takes none,
        -2 if that token never comes.
    """

    pushers: tuple[NDArray[np.int64], ...]
    poppers: tuple[NDArray[np.int64], ...]
    producer: NDArray[np.int64]


def match_tokens(columns: Columns) -> TokenMatch:
    """Pair the pops of a program with its pushes, queue by queue."""
    unit = columns["unit"]
    pushers, poppers = [], []
    producer = np.full((unit.size, len(QUEUES)), -1, dtype=np.int64)
    for number, queue in enumerate(QUEUES):
        push = np.flatnonzero((unit == queue.producer) & (columns[queue.push_flag] == 1))
        pop = np.flatnonzero((unit == queue.consumer) & (columns[queue.pop_flag] == 1))
        paired = min(push.size, pop.size)
        producer[pop[:paired], number] = push[:paired]
        producer[pop[paired:], number] = -2
        pushers.append(push)
        poppers.append(pop)
    return TokenMatch(tuple(pushers), tuple(poppers), producer)


def execution_order(columns: Columns, match: TokenMatch) -> NDArray[np.int64]:
    """Return an order of the instructions in which every token is pushed before it is taken.

    It is program order where that works, as it nearly always does.

    Raises
    ------
    SimulationError
        If the program deadlocks; the message says what each unit waits for.
    """
    unit = columns["unit"]
    own = np.arange(unit.size)
    if not (match.producer == -2).any() and (match.producer.max(axis=1, initial=-1) < own).all():
        return own
    pending = [np.flatnonzero(unit == kind).tolist()[::-1] for kind in Unit]
    producers = [[p for p in row if p != -1] for row in match.producer.tolist()]
    done = np.zeros(unit.size, dtype=bool)
    order: list[int] = []
    progress = True
    while progress:
        progress = False
        for queue in pending:
            while queue and all(p >= 0 and done[p] for p in producers[queue[-1]]):
                done[queue[-1]] = True
                order.append(queue.pop())
                progress = True
    if len(order) < unit.size:
        raise SimulationError(
            "the program deadlocks: " + ", ".join(_waits(columns, match, done)),
            remedy="give every pop a push that does not wait for it in turn",
        )
    return np.array(order, dtype=np.int64)


def _waits(columns: Columns, match: TokenMatch, done: NDArray[np.bool_]) -> list[str]:
    lines = []
    for kind in Unit:
        left = np.flatnonzero((columns["unit"] == kind) & ~done)
        if not left.size:
            lines.append(f"{kind.name.lower()} has finished")
            continue
        index = int(left[0])
        for number, queue in enumerate(QUEUES):
            producer = int(match.producer[index, number])
            if producer == -2:
                lines.append(
                    f"{kind.name.lower()} waits at {describe(columns, index)} for a token "
                    f"'{queue.name}' that is never pushed"
                )
            elif producer >= 0 and not done[producer]:
                lines.append(
                    f"{kind.name.lower()} waits at {describe(columns, index)} for the token "
                    f"'{queue.name}' of instruction {producer}"
                )
    return lines


def waiting_units(
    columns: Columns,
    match: TokenMatch,
    members: Sequence[Sequence[int]],
    ended: Sequence[int],
    end: Sequence[int],
    queue_depth: int,
) -> list[str]:
    """Return what each unit of a stuck timing simulation waits for.

    Parameters
    ----------
    columns, match
        The program.
    members : sequence of sequence of int
        Instructions by unit.
    ended : sequence of int
        How many of them have ended, by unit.
    end : sequence of int
        By instruction, negative if it has not ended.
    queue_depth : int
        Instructions that a unit's queue holds.
    """
    lines = []
    for kind in Unit:
        if ended[kind] == len(members[kind]):
            lines.append(f"{kind.name.lower()} has finished")
            continue
        index = members[kind][ended[kind]]
        reason = f"its dispatch, which waits for room in another unit's queue of {queue_depth}"
        for queue, producer in zip(QUEUES, match.producer[index].tolist(), strict=True):
            if producer == -2:
                reason = f"a token '{queue.name}' that is never pushed"
            elif producer >= 0 and end[producer] < 0:
                reason = f"the token '{queue.name}' of instruction {producer}"
        lines.append(f"{kind.name.lower()} waits at {describe(columns, index)} for {reason}")
    return lines


def instruction_at(columns: Columns, index: int) -> Instruction:
    """Return one instruction of decoded columns."""
    opcode = Opcode(int(columns["opcode"][index]))
    return Instruction(opcode, {f.name: int(columns[f.name][index]) for f in FORMAT_OF[opcode].fields[1:]})


def describe(columns: Columns, index: int) -> str:
    """Return ``instruction 12 (LOAD memory_type=INP ...)`` for messages."""
    return f"instruction {index} ({format_instruction(instruction_at(columns, index))})"


def breach(columns: Columns, index: int, what: str, *, allowed: str = "", remedy: str = "") -> SimulationError:
    """Return the error for an instruction that leaves the subset on which all builds agree."""
    return SimulationError(what, where=describe(columns, index), allowed=allowed, remedy=remedy)
