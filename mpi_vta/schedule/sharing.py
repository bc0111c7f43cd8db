"""Boards divided among several models that run at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb, prod

from mpi_vta.errors import PlanError
from mpi_vta.hw.board import Board
from mpi_vta.hw.cluster import Cluster
from mpi_vta.text_table import counted

# Up to so many divisions all are tried; beyond, boards go one by one to the model that is worst off
MOST_DIVISIONS = 200_000

Counts = tuple[int, ...]


@dataclass(frozen=True)
class Demand:
    """What a model makes of boards, and what it is entitled to.

    Attributes
    ----------
    name : str
        Names the model in messages.
    rates : mapping of Board to float
        Images per second of one board of each kind, working alone with the whole model.
    weight : float
        The division makes the least of throughput over weight as large as it can.
    """

    name: str
    rates: Mapping[Board, float]
    weight: float = 1.0

    def merit(self, kinds: Sequence[Board], counts: Counts) -> float:
        """Return the throughput over the weight, if boards add up."""
        return sum(self.rates[kind] * count for kind, count in zip(kinds, counts, strict=True)) / self.weight


def share_boards(cluster: Cluster, demands: Sequence[Demand]) -> tuple[tuple[int, ...], ...]:
    """Divide the boards among models, max-min fair: raise the worst off, then the next, and so on.

    Parameters
    ----------
    cluster : Cluster
        One board per rank.
    demands : sequence of Demand
        One per model.

    Returns
    -------
    tuple of tuple of int
        The ranks of each model, ascending, at least one each; together all ranks.

    Raises
    ------
    PlanError
        If there are more models than boards.
    """
    if len(demands) > len(cluster.boards):
        raise PlanError(
            f"{counted(len(demands), 'model')} on {counted(len(cluster.boards), 'board')}",
            where="--model",
            allowed=f"at most {counted(len(cluster.boards), 'model')}, as each has boards of its own",
            remedy=f"start mpirun -n {len(demands)}",
        )
    free: dict[Board, list[int]] = {}
    for rank, board in enumerate(cluster.boards):
        free.setdefault(board, []).append(rank)
    kinds, limits = list(free), [len(ranks) for ranks in free.values()]
    division = _best(kinds, limits, demands)
    return tuple(
        tuple(sorted(free[kind].pop(0) for kind, count in zip(kinds, counts, strict=True) for _ in range(count)))
        for counts in division
    )


def _best(kinds: Sequence[Board], limits: Sequence[int], demands: Sequence[Demand]) -> tuple[Counts, ...]:
    if prod(comb(limit + len(demands) - 1, len(demands) - 1) for limit in limits) > MOST_DIVISIONS:
        return _one_by_one(kinds, limits, demands)

    def fairness(division: tuple[Counts, ...]) -> tuple[float, ...]:
        return tuple(sorted(d.merit(kinds, counts) for d, counts in zip(demands, division, strict=True)))

    whole = (d for d in _divisions(limits, len(demands)) if all(sum(counts) for counts in d))
    return max(whole, key=lambda division: (fairness(division), division))


def _divisions(limits: Sequence[int], models: int) -> Iterator[tuple[Counts, ...]]:
    """Yield every way to give all boards, by counts of each kind per model."""
    if models == 1:
        yield (tuple(limits),)
        return
    for own in _up_to(limits):
        rest = [limit - count for limit, count in zip(limits, own, strict=True)]
        for others in _divisions(rest, models - 1):
            yield (own, *others)


def _up_to(limits: Sequence[int]) -> Iterator[Counts]:
    if not limits:
        yield ()
        return
    for first in range(limits[0] + 1):
        for rest in _up_to(limits[1:]):
            yield (first, *rest)


def _one_by_one(kinds: Sequence[Board], limits: Sequence[int], demands: Sequence[Demand]) -> tuple[Counts, ...]:
    given = [[0] * len(kinds) for _ in demands]
    left = list(limits)
    while any(left):
        poorest = min(range(len(demands)), key=lambda m: (demands[m].merit(kinds, tuple(given[m])), m))
        kind = max((k for k in range(len(kinds)) if left[k]), key=lambda k: (demands[poorest].rates[kinds[k]], -k))
        given[poorest][kind] += 1
        left[kind] -= 1
    return tuple(tuple(counts) for counts in given)


def parse_shares(text: str, names: Sequence[str]) -> dict[str, float]:
    """Read ``--share name=part,name=part``.

    Raises
    ------
    PlanError
        If it is malformed, names another model, or leaves one out.
    """
    where = f"--share {text}"
    shares: dict[str, float] = {}
    for entry in text.split(","):
        name, _, part = entry.strip().rpartition("=")
        try:
            shares[name] = float(part)
        except ValueError:
            shares[name] = 0.0
        if not 0 < shares[name] < float("inf"):
            raise PlanError("not understood", where=where, allowed="model=part,model=part, parts above 0")
    if sorted(shares) != sorted(names):
        raise PlanError("it must name every model once", where=where, allowed=", ".join(names))
    return shares
