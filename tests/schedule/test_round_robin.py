"""Turns of replicas of unequal speed."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.schedule.round_robin import MAX_TURNS, deal, repeating_turns


def test_equal_replicas_take_turns_in_order():
    assert repeating_turns([5, 5, 5], 1000) == (0, 1, 2)


def test_twice_as_fast_has_twice_the_turns():
    turns = repeating_turns([10, 5], 1000)
    assert sorted(turns) == [0, 1, 1]


def test_much_slower_replica_gets_no_turn_in_a_short_job():
    assert set(repeating_turns([1000, 1], 10)) == {1}


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=3), st.integers(1, 6))
def test_dealing_ends_as_early_as_any_other(period_ns, count):
    def end(order):
        return max(period_ns[r] * order.count(r) for r in range(len(period_ns)))

    everything = product(range(len(period_ns)), repeat=count)
    assert end(deal(period_ns, count)) == min(end(order) for order in everything)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.integers(50, 400), min_size=1, max_size=17))
def test_repeated_turns_come_close_to_the_sum_of_the_rates(period_ns):
    turns = repeating_turns(period_ns, MAX_TURNS + 1)
    assert len(turns) <= MAX_TURNS
    rate = len(turns) / max(period_ns[r] * turns.count(r) for r in set(turns))
    ideal = sum(1 / period for period in period_ns)
    assert ideal * 0.8 <= rate <= ideal * (1 + 1e-9)
