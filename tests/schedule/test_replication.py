"""The exact division with replicas, against trying everything."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.errors import PlanError
from mpi_vta.schedule.replication import SLACK, BoardType, divide


def board_type(first_rank, count, load_ns, fixed_ns=(0, 0)):
    return BoardType(tuple(range(first_rank, first_rank + count)), load_ns, np.array(fixed_ns))


def chain_loads(per_layer, sent=0):
    """Loads of two resources: the layers' sum, and a constant for messages."""
    total = np.concatenate([[0], np.cumsum(per_layer)])
    compute = np.maximum(total[None, :] - total[:, None], 0)
    return np.stack([compute, np.full_like(compute, sent)])


def suffices(types, stages, period_ns):
    able = [kind.capacity(period_ns) for kind in types]
    for first, end, counts in stages:
        if sum(n * a[first, end] for n, a in zip(counts, able, strict=True) if n) < 1 - SLACK:
            return False
    return True


def all_divisions(types, layers, wanted):
    limits = [len(kind.ranks) for kind in types]
    shares = [counts for counts in product(*(range(n + 1) for n in limits)) if sum(counts)]
    for number in range(1, layers + 1):
        if wanted not in (None, number):
            continue
        for cuts in combinations(range(1, layers), number - 1):
            parts = list(zip((0, *cuts), (*cuts, layers), strict=True))
            for choice in product(shares, repeat=number):
                if all(sum(c[t] for c in choice) <= limits[t] for t in range(len(types))):
                    yield [(i, j, counts) for (i, j), counts in zip(parts, choice, strict=True)]


def boards_of(stages):
    return sum(sum(counts) for _, _, counts in stages)


def check_division(data):
    layers = data.draw(st.integers(1, 3))
    counts = data.draw(st.lists(st.integers(1, 2), min_size=1, max_size=2))
    types, rank = [], 0
    for count in counts:
        draw_ns = st.integers(0, 40)
        load_ns = np.array([[[data.draw(draw_ns) for _ in range(layers + 1)] for _ in range(layers + 1)] for _ in "ab"])
        types.append(board_type(rank, count, load_ns, (0, data.draw(st.integers(0, 9)))))
        rank += count
    wanted = data.draw(st.sampled_from([None, *range(1, min(layers, sum(counts)) + 1)]))
    every = list(all_divisions(types, layers, wanted))
    found = divide(types, wanted)
    stages = [(share.first, share.end, share.counts) for share in found.shares]
    assert stages in every
    assert suffices(types, stages, found.period_ns)
    least = max(kind.fixed_ns.max() for kind in types)
    assert found.period_ns == least or not any(suffices(types, other, found.period_ns - 1) for other in every)
    rivals = [other for other in every if suffices(types, other, found.period_ns)]
    assert (boards_of(stages), len(stages)) == min((boards_of(other), len(other)) for other in rivals)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_division_equals_trying_everything(data):
    check_division(data)


@pytest.mark.slow
@settings(deadline=None, max_examples=2000)
@given(st.data())
def test_division_equals_trying_everything_in_many_cases(data):
    check_division(data)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.permutations([0, 1, 2]))
def test_order_of_the_types_changes_nothing(per_layer, order):
    loads = chain_loads(np.array(per_layer))
    types = [board_type(0, 1, loads), board_type(1, 2, loads // 3), board_type(3, 2, loads * 2)]
    assert divide([types[t] for t in order]).period_ns == divide(types).period_ns


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.integers(0, 50))
def test_another_board_never_lengthens_the_period(per_layer, sent):
    loads = chain_loads(np.array(per_layer), sent)
    periods = [
        divide([board_type(0, slow, loads), board_type(9, fast, loads // 3)]).period_ns
        for slow, fast in [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3)]
    ]
    assert periods == sorted(periods, reverse=True)


def test_two_slow_and_two_fast_boards_are_used_for_what_they_are():
    loads = chain_loads(np.array([300, 300, 100, 100]))
    types = [board_type(0, 2, loads), board_type(2, 2, loads // 3)]
    assert divide(types).period_ns == pytest.approx(800 / (2 + 6), abs=2)


def test_cheaper_division_is_taken_within_the_loss():
    loads = chain_loads(np.array([1000, 1]))
    assert [share.counts for share in divide([board_type(0, 1, loads), board_type(1, 1, loads * 1000)]).shares] == [
        (1, 1)
    ]
    cheaper = divide([board_type(0, 1, loads), board_type(1, 1, loads * 1000)], loss=0.01)
    assert [share.counts for share in cheaper.shares] == [(1, 0)]


def test_impossible_number_of_stages_is_refused():
    with pytest.raises(PlanError, match=r"--stages: 4 stages; allowed: 1..2"):
        divide([board_type(0, 2, chain_loads(np.array([5, 5, 5])))], 4)
