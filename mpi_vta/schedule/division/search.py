"""The search for the shortest period: bisection over a dynamic program, exact to one nanosecond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import PlanError
from mpi_vta.schedule.division.fluid_model import SLACK, BoardType, Division, Share, Wish
from mpi_vta.text_table import counted

IMPOSSIBLE = np.int64(1) << 61
# Costs are boards of the first type, then stages, then bytes: one number, boards first
BOARD_COST = np.int64(1) << 50
STAGE_COST = np.int64(1) << 40

Mix = tuple[int, ...]
_ANY = Wish()


def divide(types: Sequence[BoardType], wish: Wish = _ANY, loss: float = 0.0) -> Division:
    """Return the division of the shortest period, with as few boards, then stages, then bytes as it allows.

    Parameters
    ----------
    types : sequence of BoardType
        At least one, each with at least one board.
    wish : Wish
        Restrictions.
    loss : float
        Fraction by which the period may exceed the shortest where that saves boards.

    Raises
    ------
    PlanError
        If no division meets the wish with these boards.
    """
    # The most numerous type is counted, the others are enumerated
    order = sorted(range(len(types)), key=lambda t: (types[t].idle_ns > 0, -len(types[t].ranks)))
    search = _Search([types[t] for t in order], wish)
    low, high = 0, max(kind.longest_ns for kind in types)
    if search.solve(high) is None:
        stages = "" if wish.stages is None else f" into {counted(wish.stages, 'stage')}"
        boards = counted(sum(len(kind.ranks) for kind in types), "board")
        raise PlanError(
            f"there is no division{stages} over {boards} that fits their memory",
            remedy="use more boards, or fewer restrictions",
        )
    while low < high:
        middle = (low + high) // 2
        if search.solve(middle) is None:
            low = middle + 1
        else:
            high = middle
    shares = search.solve(int(high * (1 + loss)))
    assert shares is not None
    place = {t: i for i, t in enumerate(order)}
    ordered = tuple(Share(s.first, s.end, tuple(s.counts[place[t]] for t in range(len(types)))) for s in shares)
    return Division(ordered, high)


class _Search:
    """The dynamic program for one period, over types of which the first is counted."""

    def __init__(self, types: Sequence[BoardType], wish: Wish) -> None:
        self._types, self._wish = types, wish
        self._most = len(types[0].ranks)
        self._width = types[0].load_ns.shape[-1]
        # A last dimension of one keeps slices of the table arrays when there is only one type
        self._limits = (*(len(kind.ranks) for kind in types[1:]), 0)
        mixes = list(product(*(range(limit + 1) for limit in self._limits)))
        self._mixes = [mix for mix in mixes if wish.replicas or sum(mix) <= 1]
        zero = np.zeros((self._width, self._width), dtype=np.int64)
        self._bytes_in = zero if types[0].bytes_in is None else types[0].bytes_in
        alone = [kind.bytes_in if kind.alone_bytes_in is None else kind.alone_bytes_in for kind in types]
        self._alone_bytes_in = [self._bytes_in if table is None else table for table in alone]

    def solve(self, period_ns: int) -> list[Share] | None:
        """Return stages that keep up with the period, with the fewest boards, stages and bytes, or None."""
        needed = self._needed(period_ns)
        levels = (self._wish.stages or 0) + 1
        cost = np.full((levels, self._width, *(limit + 1 for limit in self._limits)), IMPOSSIBLE, dtype=np.int64)
        cost[(0, 0, *(0 for _ in self._limits))] = 0
        first = np.full((*cost.shape, 2), -1, dtype=np.int64)
        for end in range(1, self._width):
            for number, mix in enumerate(self._mixes):
                firsts = np.flatnonzero(needed[mix][:end, end] <= self._most)
                if firsts.size:
                    self._relax(cost, first, end, number, firsts, self._price(needed[mix], mix, firsts, end))
        state = self._final(cost[-1, -1], period_ns)
        return None if state is None else self._walk_back(first, needed, state)

    def _needed(self, period_ns: int) -> dict[Mix, NDArray[np.int64]]:
        """Return how many boards of the first type each stage needs besides each mix of the others.

        More than all boards where it is impossible, or where the mix would do with one board less.
        """
        ruled_out = self._most + 1
        able = [kind.capacity(period_ns) for kind in self._types]
        alone = [kind.keeps_up(period_ns) for kind in self._types]
        counted = {mix: self._counted(able, alone, mix) for mix in self._mixes}
        result = {}
        for mix, boards in counted.items():
            spare = np.zeros(boards.shape, dtype=np.bool_)
            for t, used in enumerate(mix):
                if used and sum(mix) > 1:
                    spare |= counted[(*mix[:t], used - 1, *mix[t + 1 :])] == 0
            result[mix] = np.where(spare, ruled_out, boards)
        for (first, end), wanted in self._wish.boards.items():
            for mix in self._mixes:
                count = wanted - sum(mix)
                possible = 0 <= count <= self._most and (self._wish.replicas or wanted == 1)
                enough = possible and self._suffices(able, alone, (count, *mix[:-1]), (first, end))
                result[mix][first, end] = count if enough else ruled_out
        if self._wish.allowed is not None:
            for boards in result.values():
                boards[~self._wish.allowed] = ruled_out
        return result

    def _counted(
        self, able: Sequence[NDArray[np.float64]], alone: Sequence[NDArray[np.bool_]], mix: Mix
    ) -> NDArray[np.int64]:
        ruled_out = self._most + 1
        missing: NDArray[np.float64] = np.full_like(able[0], 1.0 - SLACK)
        for count, more in zip(mix, able[1:], strict=False):
            if count:
                missing = missing - count * more
        with np.errstate(divide="ignore", invalid="ignore"):
            boards = np.maximum(np.ceil(missing / able[0]), 1.0)
        boards = np.where(np.isfinite(boards) & (boards <= self._most), boards, ruled_out)
        if not sum(mix):
            boards = np.where(alone[0], 1.0, np.maximum(boards, 2.0) if self._wish.replicas else ruled_out)
            boards = np.where(boards <= self._most, boards, ruled_out)
        elif sum(mix) == 1:
            boards = np.where(alone[1 + mix.index(1)], 0.0, boards if self._wish.replicas else ruled_out)
        else:
            boards = np.where(missing > 0, boards, 0.0)
        return boards.astype(np.int64)

    def _suffices(
        self,
        able: Sequence[NDArray[np.float64]],
        alone: Sequence[NDArray[np.bool_]],
        counts: Sequence[int],
        stage: tuple[int, int],
    ) -> bool:
        if sum(counts) == 1:
            return bool(alone[list(counts).index(1)][stage])
        return sum(n * float(a[stage]) for n, a in zip(counts, able, strict=True) if n) >= 1.0 - SLACK

    def _price(self, needed: NDArray[np.int64], mix: Mix, firsts: NDArray[np.intp], end: int) -> NDArray[np.int64]:
        count = needed[firsts, end]
        single = self._alone_bytes_in[1 + mix.index(1) if 1 in mix else 0]
        received = np.where(count + sum(mix) == 1, single[firsts, end], self._bytes_in[firsts, end])
        return np.asarray(count * BOARD_COST + STAGE_COST + received)

    def _relax(
        self,
        cost: NDArray[np.int64],
        choice: NDArray[np.int64],
        end: int,
        number: int,
        firsts: NDArray[np.intp],
        price: NDArray[np.int64],
    ) -> None:
        """Try the stages from `firsts` to `end` on mix `number`, for every number of boards used before."""
        mix = self._mixes[number]
        before, after = (slice(0, -1), slice(1, None)) if self._wish.stages else (slice(None), slice(None))
        reach = tuple(slice(0, limit + 1 - used) for limit, used in zip(self._limits, mix, strict=True))
        shifted = tuple(slice(used, limit + 1) for limit, used in zip(self._limits, mix, strict=True))
        offers = cost[(before, firsts, *reach)] + price.reshape(1, -1, *(1 for _ in mix))
        best = offers.argmin(axis=1)
        offered = np.take_along_axis(offers, best[:, None], axis=1)[:, 0]
        here = cost[(after, end, *shifted)]
        better = (offered < here) & (offered < (self._most + 1) * BOARD_COST)
        here[better] = offered[better]
        noted = choice[(after, end, *shifted)]
        noted[better] = np.stack([firsts[best[better]], np.full(int(better.sum()), number)], axis=-1)

    def _final(self, final: NDArray[np.int64], period_ns: int) -> Mix | None:
        reached = [
            state
            for state in np.ndindex(final.shape)
            if final[state] < IMPOSSIBLE
            and all(used or kind.idle_ns <= period_ns for used, kind in zip(state, self._types[1:], strict=False))
        ]
        if not reached:
            return None
        return min(reached, key=lambda s: (sum(s) + final[s] // BOARD_COST, final[s] % BOARD_COST, s))

    def _walk_back(self, choice: NDArray[np.int64], needed: Mapping[Mix, NDArray[np.int64]], state: Mix) -> list[Share]:
        level, end, shares = choice.shape[0] - 1, self._width - 1, []
        while end:
            first, number = (int(entry) for entry in choice[(level, end, *state)])
            mix = self._mixes[number]
            shares.append(Share(first, end, (int(needed[mix][first, end]), *mix[:-1])))
            state = tuple(at - used for at, used in zip(state, mix, strict=True))
            level, end = max(level - 1, 0), first
        return shares[::-1]
