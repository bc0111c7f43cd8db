"""Pipeline: consecutive layers per board, so cut that the busiest board is as little busy as possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import PlanError
from mpi_vta.schedule.problem import Draft, Placement, Problem
from mpi_vta.schedule.segment_load import NEVER_NS, all_segment_loads
from mpi_vta.schedule.segments import find_segments


@dataclass(frozen=True)
class Cut:
    """A division into segments: ``(first, end, rank)`` per stage, and the period that it allows."""

    segments: tuple[tuple[int, int, int], ...]
    period_ns: int


def place(problem: Problem) -> Draft:
    """Cut the topological order of the layers for the boards in rank order.

    Among all cuts, boards without layers included, it takes one of the shortest period, of those one
    with the fewest stages, and of those one that sends the fewest bytes. Layer costs are those of the
    whole model's program and add up; the plan's figures come from the stages as compiled.
    """
    periods = segment_periods(problem)
    segments = find_segments(problem.graph, problem.layout_config)
    cut = best_cut(periods, segments.bytes_in, problem.stages)
    nodes = [node.name for node in problem.graph.nodes]
    placements = tuple(Placement(tuple(nodes[first:end]), (rank,)) for first, end, rank in cut.segments)
    return Draft(placements, _notes(problem, cut, periods))


def segment_periods(problem: Problem) -> NDArray[np.int64]:
    """Return how long each rank is busy per image group with each segment.

    Returns
    -------
    ndarray of int64, shape (ranks, n + 1, n + 1)
        Nanoseconds for layers [i, j) at ``[rank, i, j]``; the largest of VTA, processor and ports.
        Rank 0's include what the source sends and the sink receives. `NEVER_NS` where i > j.
    """
    return np.stack([loads.max(axis=0) for loads in all_segment_loads(problem)])


def best_cut(periods: NDArray[np.int64], bytes_in: NDArray[np.int64], stages: int | None) -> Cut:
    """Return the best division, exactly: least period, then fewest stages, then fewest bytes sent.

    Parameters
    ----------
    periods : ndarray of int64, shape (ranks, n + 1, n + 1)
        See `segment_periods`. ``[0, i, i]`` is what rank 0 has to do without layers.
    bytes_in : ndarray of int64, shape (n + 1, n + 1)
        Bytes that enter a segment.
    stages : int or None
        Wanted number of stages; None for the best.

    Raises
    ------
    PlanError
        If there is no division into that many stages.
    """
    ranks, width, _ = periods.shape
    limit = min(ranks, width - 1)
    shortest = _least(periods, periods, limit, np.maximum)[0][-1][:, -1]
    wanted = range(1, limit + 1) if stages is None else [stages]
    if not 1 <= wanted[0] <= limit or shortest[wanted].min() >= NEVER_NS:
        raise PlanError(f"no division of {width - 1} layers into {stages} stages on {ranks} ranks", where="--stages")
    number = min(wanted, key=lambda c: (shortest[c], c))
    period_ns = int(shortest[number])
    allowed = np.where(periods <= period_ns, bytes_in[None], NEVER_NS)
    _, choices = _least(allowed, np.where(periods <= period_ns, 0, NEVER_NS), number, np.add)
    return Cut(_walk_back(choices, number, width - 1), period_ns)


def _least(
    cost: NDArray[np.int64], idle: NDArray[np.int64], limit: int, combine: np.ufunc
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Dynamic program over (rank, stages used, layers done).

    Returns the table after each rank, and per rank where the rank's segment began (-1: no layers).
    """
    ranks, width, _ = cost.shape
    table = np.full((limit + 1, width), NEVER_NS, dtype=np.int64)
    table[0, 0] = 0
    tables, choices = [], []
    upper = np.triu(np.ones((width, width), dtype=bool), 1)
    for rank in range(ranks):
        segment = np.where(upper, cost[rank], NEVER_NS)
        skipped = np.minimum(combine(table, np.diagonal(idle[rank])[None, :]), NEVER_NS)
        after, begun = skipped.copy(), np.full(table.shape, -1, dtype=np.int64)
        for used in range(1, limit + 1):
            options = np.minimum(combine(table[used - 1][:, None], segment), NEVER_NS)
            start = options.argmin(axis=0)
            value = options[start, np.arange(width)]
            better = value < after[used]
            after[used][better], begun[used][better] = value[better], start[better]
        table = after
        tables.append(table)
        choices.append(begun)
    return tables, choices


def _walk_back(choices: list[NDArray[np.int64]], used: int, end: int) -> tuple[tuple[int, int, int], ...]:
    segments = []
    for rank in range(len(choices) - 1, -1, -1):
        first = int(choices[rank][used, end])
        if first >= 0:
            segments.append((first, end, rank))
            used, end = used - 1, first
    return tuple(reversed(segments))


def _notes(problem: Problem, cut: Cut, periods: NDArray[np.int64]) -> tuple[str, ...]:
    idle = problem.ranks - len(cut.segments)
    if not idle:
        return ()
    first, end, rank = max(cut.segments, key=lambda s: (periods[s[2], s[0], s[1]], -s[2]))
    names = [problem.graph.nodes[i].name for i in (first, end - 1)]
    layers = names[0] if end - first == 1 else f"{names[0]} to {names[1]}"
    many = "board stays" if idle == 1 else "boards stay"
    if problem.stages is not None:
        return (f"{idle} {many} idle: {problem.stages} stages were asked for",)
    if problem.ranks > len(problem.graph.nodes):
        return (f"{idle} {many} idle: the model has {len(problem.graph.nodes)} layers",)
    return (
        f"{idle} {many} idle: another stage would not shorten the period of {cut.period_ns / 1e6:.3f} ms, "
        f"set by {layers} on rank {rank} (modelled)",
    )
