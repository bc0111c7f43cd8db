"""The exact division over boards of several types, against trying everything."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.errors import PlanError
from mpi_vta.schedule.division.fluid_model import NEVER_NS, SLACK, BoardType, Wish
from mpi_vta.schedule.division.search import divide


def board_type(first_rank, count, load_ns, fixed_ns=(0, 0), **more):
    return BoardType(tuple(range(first_rank, first_rank + count)), load_ns, np.array(fixed_ns), **more)


def chain_loads(per_layer, sent=0):
    """Loads of two resources: the layers' sum, and a constant for messages."""
    total = np.concatenate([[0], np.cumsum(per_layer)])
    compute = np.maximum(total[None, :] - total[:, None], 0)
    return np.stack([compute, np.full_like(compute, sent)])


def group_rate(kind, first, end, period_ns):
    """Image groups that one board of a type handles per period, written out."""
    rates = []
    for load, fixed in zip(kind.load_ns[:, first, end].tolist(), kind.fixed_ns.tolist(), strict=True):
        if load >= NEVER_NS or fixed > period_ns:
            return 0.0
        rates.append((period_ns - fixed) / load if load else float("inf"))
    return min(rates)


def suffices(types, stages, period_ns):
    for first, end, counts in stages:
        if sum(counts) == 1 and types[counts.index(1)].alone_ns is not None:
            if types[counts.index(1)].alone_ns[first, end] > period_ns:
                return False
            continue
        rates = [group_rate(kind, first, end, period_ns) for kind in types]
        if sum(n * rate for n, rate in zip(counts, rates, strict=True) if n) < 1 - SLACK:
            return False
    used = [sum(counts[t] for _, _, counts in stages) for t in range(len(types))]
    return all(n or kind.idle_ns <= period_ns for n, kind in zip(used, types, strict=True))


def all_divisions(types, width, wish):
    limits = [len(kind.ranks) for kind in types]
    shares = [counts for counts in product(*(range(n + 1) for n in limits)) if sum(counts)]
    for number in range(1, width):
        if wish.stages not in (None, number):
            continue
        for cuts in combinations(range(1, width - 1), number - 1):
            parts = list(zip((0, *cuts), (*cuts, width - 1), strict=True))
            if wish.allowed is not None and not all(wish.allowed[part] for part in parts):
                continue
            options = [[c for c in shares if wish.boards.get(part, sum(c)) == sum(c)] for part in parts]
            for choice in product(*options):
                single = wish.replicas or all(sum(counts) == 1 for counts in choice)
                if single and all(sum(c[t] for c in choice) <= limits[t] for t in range(len(types))):
                    yield [(i, j, counts) for (i, j), counts in zip(parts, choice, strict=True)]


def boards_of(stages):
    return sum(sum(counts) for _, _, counts in stages)


def bytes_of(types, stages):
    total = 0
    for first, end, counts in stages:
        alone = types[counts.index(1)].alone_bytes_in if sum(counts) == 1 else None
        total += int((types[0].bytes_in if alone is None else alone)[first, end])
    return total


@st.composite
def divisions(draw):
    """Any costs, missing stages, short memories, a board with duties of its own, and a wish."""
    width = draw(st.integers(2, 4))
    counts = draw(st.lists(st.integers(1, 2), min_size=1, max_size=2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    impossible = rng.random((width, width)) < draw(st.sampled_from([0.0, 0.2]))
    bytes_in = rng.integers(0, 9, (width, width))
    types, rank = [], 0
    for index, count in enumerate(counts):
        load_ns = rng.integers(0, 40, (2, width, width))
        load_ns[:, impossible | (rng.random((width, width)) < draw(st.sampled_from([0.0, 0.1])))] = NEVER_NS
        fixed_ns = np.array([0, int(rng.integers(0, 9))])
        more = {}
        if index == len(counts) - 1 and draw(st.booleans()):
            count = 1
            alone_ns = np.where(load_ns.max(axis=0) >= NEVER_NS, NEVER_NS, rng.integers(0, 40, (width, width)))
            more = {"alone_ns": alone_ns, "idle_ns": int(fixed_ns.max())}
            more["alone_bytes_in"] = rng.integers(-2, 9, (width, width))
        types.append(board_type(rank, count, load_ns, fixed_ns, bytes_in=bytes_in, **more))
        rank += count
    stages = draw(st.sampled_from([None, None, *range(1, width)]))
    allowed = rng.random((width, width)) < 0.8 if draw(st.booleans()) else None
    boards = {(0, 1): draw(st.integers(1, 2))} if draw(st.booleans()) else {}
    return types, width, Wish(stages, draw(st.booleans()), allowed, boards)


def check_division(case):
    types, width, wish = case
    every = list(all_divisions(types, width, wish))
    most = max(kind.longest_ns for kind in types)
    if not any(suffices(types, other, most) for other in every):
        with pytest.raises(PlanError, match="there is no division"):
            divide(types, wish)
        return
    found = divide(types, wish)
    stages = [(share.first, share.end, share.counts) for share in found.shares]
    assert stages in every
    assert suffices(types, stages, found.period_ns)
    assert found.period_ns == 0 or not any(suffices(types, other, found.period_ns - 1) for other in every)
    rivals = [other for other in every if suffices(types, other, found.period_ns)]
    price = [(boards_of(other), len(other), bytes_of(types, other)) for other in rivals]
    assert (boards_of(stages), len(stages), bytes_of(types, stages)) == min(price)


@settings(deadline=None, max_examples=200)
@given(divisions())
def test_division_equals_trying_everything(case):
    check_division(case)


@pytest.mark.slow
@settings(deadline=None, max_examples=3000)
@given(divisions())
def test_division_equals_trying_everything_in_many_cases(case):
    check_division(case)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.permutations([0, 1, 2]), st.booleans())
def test_order_of_the_types_changes_nothing(per_layer, order, replicas):
    loads = chain_loads(np.array(per_layer))
    types = [board_type(0, 1, loads), board_type(1, 2, loads // 3), board_type(3, 2, loads * 2)]
    wish = Wish(replicas=replicas)
    assert divide([types[t] for t in order], wish).period_ns == divide(types, wish).period_ns


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.integers(0, 50), st.booleans())
def test_another_board_never_lengthens_the_period(per_layer, sent, replicas):
    loads = chain_loads(np.array(per_layer), sent)
    periods = [
        divide([board_type(0, slow, loads), board_type(9, fast, loads // 3)], Wish(replicas=replicas)).period_ns
        for slow, fast in [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3)]
    ]
    assert periods == sorted(periods, reverse=True)


def test_two_slow_and_two_fast_boards_are_used_for_what_they_are():
    loads = chain_loads(np.array([300, 300, 100, 100]))
    types = [board_type(0, 2, loads), board_type(2, 2, loads // 3)]
    assert divide(types).period_ns == pytest.approx(800 / (2 + 6), abs=2)


def test_cheaper_division_is_taken_within_the_loss():
    loads = chain_loads(np.array([1000, 1]))
    types = [board_type(0, 1, loads), board_type(1, 1, loads * 1000)]
    assert [share.counts for share in divide(types).shares] == [(1, 1)]
    assert [share.counts for share in divide(types, loss=0.01).shares] == [(1, 0)]


def test_impossible_number_of_stages_is_refused():
    with pytest.raises(PlanError, match="there is no division into 4 stages over 2 boards"):
        divide([board_type(0, 2, chain_loads(np.array([5, 5, 5])))], Wish(4))
