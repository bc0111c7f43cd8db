"""Boards divided among models: fair, complete, and clear about what cannot be."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.errors import PlanError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.schedule import sharing
from mpi_vta.schedule.sharing import Demand, parse_shares, share_boards

MIXED = Cluster.load("mixed17")
SLOW, FAST = MIXED.boards[0], MIXED.boards[16]


def cluster_of(boards):
    return Cluster("drawn", tuple(boards), MIXED.link, MIXED.switch_latency_ns)


def merits(division, cluster, demands):
    return sorted(
        sum(d.rates[cluster.boards[r]] for r in ranks) / d.weight for d, ranks in zip(demands, division, strict=True)
    )


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.sampled_from([SLOW, FAST]), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)), min_size=1, max_size=3),
)
def test_division_equals_trying_everything(boards, models):
    cluster = cluster_of(boards)
    demands = [Demand(f"m{i}", {SLOW: a, FAST: b}, w) for i, (a, b, w) in enumerate(models)]
    if len(demands) > len(boards):
        with pytest.raises(PlanError, match=f"--model: {len(demands)} models on {len(boards)} board"):
            share_boards(cluster, demands)
        return
    division = share_boards(cluster, demands)
    assert sorted(rank for ranks in division for rank in ranks) == list(range(len(boards)))
    every = []
    for owners in product(range(len(demands)), repeat=len(boards)):
        ranks = [[r for r, owner in enumerate(owners) if owner == m] for m in range(len(demands))]
        if all(ranks):
            every.append(merits(ranks, cluster, demands))
    assert merits(division, cluster, demands) == max(every)


def test_heavier_model_gets_more_boards():
    demands = [Demand("light", {SLOW: 30.0, FAST: 90.0}), Demand("heavy", {SLOW: 10.0, FAST: 30.0})]
    light, heavy = share_boards(cluster_of([SLOW] * 12), demands)
    assert (len(light), len(heavy)) == (3, 9)


def test_many_models_get_boards_one_by_one(monkeypatch):
    monkeypatch.setattr(sharing, "MOST_DIVISIONS", 1)
    demands = [Demand(f"m{i}", {SLOW: 1.0, FAST: 3.0}) for i in range(4)]
    division = share_boards(MIXED, demands)
    assert sorted(rank for ranks in division for rank in ranks) == list(range(17))
    assert min(merits(division, MIXED, demands)) >= 6


def test_shares_are_read():
    assert parse_shares("a=0.5, b=2", ["a", "b"]) == {"a": 0.5, "b": 2.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "--share a: not understood; allowed: model=part,model=part, parts above 0"),
        ("a=0,b=1", "--share a=0,b=1: not understood"),
        ("a=x,b=1", "--share a=x,b=1: not understood"),
        ("a=1", "--share a=1: it must name every model once; allowed: a, b"),
        ("a=1,c=1", "--share a=1,c=1: it must name every model once; allowed: a, b"),
    ],
)
def test_wrong_shares_are_refused(text, message):
    with pytest.raises(PlanError) as caught:
        parse_shares(text, ["a", "b"])
    assert str(caught.value).startswith(message)
