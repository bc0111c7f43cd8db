"""Scatter-gather: the whole model on every board, image groups dealt out by speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpi_vta.errors import PlanError
from mpi_vta.plans.notes import Note
from mpi_vta.plans.plan import Plan
from mpi_vta.schedule.assembly import one_board_ns, one_image_ns
from mpi_vta.schedule.figures import group_count
from mpi_vta.schedule.problem import Draft, Placement, Problem
from mpi_vta.schedule.round_robin import repeating_turns
from mpi_vta.schedule.strategy import Strategy
from mpi_vta.schedule.validate import edges_between
from mpi_vta.text_table import counted

NAME = "scatter-gather"


def place(problem: Problem, within: Sequence[int] | None = None) -> Draft:
    """Put every layer on every rank and deal the image groups out.

    Equal boards take turns; of unequal ones the faster has more turns. A board that would only delay
    the end gets none. For latency, as images then go one at a time, one board does them all.

    Parameters
    ----------
    problem : Problem
        Model and boards.
    within : sequence of int, optional
        Use only these ranks.

    Raises
    ------
    PlanError
        If more than one stage is asked for.
    """
    if problem.stages not in (None, 1):
        raise PlanError(
            f"{counted(problem.stages, 'stage')} with {NAME}",
            where="--stages",
            allowed="1, as every board has the whole model",
            remedy="take --strategy pipeline",
        )
    nodes = tuple(node.name for node in problem.graph.nodes)
    boards = problem.cluster.boards
    able = [
        rank for rank in within or range(problem.ranks) if (frozenset(nodes), boards[rank]) not in problem.ruled_out
    ]
    if not able:
        raise PlanError("the whole model fits no board's memory", where=NAME, remedy="take --strategy fused")
    period_ns = [one_board_ns(problem, rank) for rank in able]
    groups = group_count(problem.images, problem.layout_config.batch)
    one_at_a_time = problem.objective == "latency"
    order = (_quickest(problem, able),) if one_at_a_time else [able[i] for i in repeating_turns(period_ns, groups)]
    used = tuple(sorted(set(order)))
    turns = tuple(used.index(rank) for rank in order)
    round_robin = tuple(i % len(used) for i in range(len(turns)))
    placement = Placement(nodes, used, () if turns == round_robin else turns)
    return Draft((placement,), () if one_at_a_time else _notes(problem, used, able, period_ns))


def fewer_boards(problem: Problem, plan: Plan) -> Iterator[tuple[str, Draft]]:
    """Yield drafts with ever fewer of the fastest of a plan's boards, and with rank 0 alone."""
    fastest = sorted(plan.stages[0].ranks, key=lambda rank: (one_board_ns(problem, rank), rank))
    count = len(fastest) // 2
    while count:
        yield _on(problem, tuple(sorted(fastest[:count])))
        count //= 2
    if 0 in fastest[1:]:
        yield _on(problem, (0,))


def _on(problem: Problem, ranks: tuple[int, ...]) -> tuple[str, Draft]:
    name = "rank 0 alone" if ranks == (0,) else f"{NAME} on {len(ranks)}"
    return name, place(problem, ranks)


def _quickest(problem: Problem, able: list[int]) -> int:
    """Return the rank of `able` that has one image group done first, messages from and to rank 0 included."""
    edges = edges_between(problem.graph, [[node.name for node in problem.graph.nodes]], problem.layout_config)
    messages_ns = sum(problem.network.message_ns(edge.size_bytes) for edge in edges)
    return min(able, key=lambda r: (one_image_ns(problem, r) + (messages_ns if r else 0), r))


def _notes(problem: Problem, used: tuple[int, ...], able: list[int], period_ns: list[int]) -> tuple[Note, ...]:
    notes = []
    boards = problem.cluster.boards
    lacking = sum(
        (frozenset(node.name for node in problem.graph.nodes), board) in problem.ruled_out for board in boards
    )
    if lacking:
        notes.append(Note("idle, too small", idle=lacking))
    idle = len(able) - len(used)
    groups = group_count(problem.images, problem.layout_config.batch)
    if idle and groups <= len(used):
        notes.append(Note("idle, few groups", idle=idle, groups=groups))
    elif idle:
        notes.append(Note("idle, too slow", idle=idle, period_ms=max(period_ns) / 1e6))
    return tuple(notes)


STRATEGY = Strategy(NAME, place, replicates=True, fewer_boards=fewer_boards)
