from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mpi_vta.codegen.nest import HAZARD_DISTANCE, Dim, Nest, dealt, merged, offsets, split

LIMITS = (2048, 2048, 1024)


def visited(nest: Nest) -> np.ndarray:
    """Return the (dst, src, wgt) triples in the order in which hardware visits them."""
    triples = np.stack([nest.dst, nest.src, nest.wgt], axis=1)
    steps = [[dim.dst, dim.src, dim.wgt] for dim in (nest.outer, nest.inner)]
    out = np.arange(nest.outer.count)[:, None, None, None] * np.array(steps[0])
    inner = np.arange(nest.inner.count)[None, :, None, None] * np.array(steps[1])
    return (out + inner + triples).reshape(-1, 3)


@st.composite
def loop_nests(draw: st.DrawFn) -> list[Dim]:
    """Loops over distinct accumulators, and reductions."""
    spread, step = [], 1
    for _ in range(draw(st.integers(0, 3))):
        count = draw(st.integers(1, 5))
        spread.insert(0, Dim(count, step, draw(st.integers(0, 9)), draw(st.integers(0, 4))))
        step *= count
    reductions = [
        Dim(draw(st.integers(1, 4)), 0, draw(st.integers(0, 9)), draw(st.integers(0, 9)))
        for _ in range(draw(st.integers(0, 3)))
    ]
    return [*spread, *reductions]


def hazards(dst: np.ndarray) -> bool:
    return any(bool((dst[gap:] == dst[:-gap]).any()) for gap in range(1, HAZARD_DISTANCE) if len(dst) > gap)


@settings(deadline=None)
@given(loop_nests())
def test_split_visits_the_same_work_without_hazards(dims: list[Dim]) -> None:
    nest = split(dims, LIMITS)
    assume(nest is not None)
    wanted = np.stack(offsets(dims), axis=1)
    got = visited(nest)
    assert sorted(map(tuple, got.tolist())) == sorted(map(tuple, wanted.tolist()))
    assert nest.steps == len(wanted)
    assert not hazards(got[:, 0])


@settings(deadline=None)
@given(loop_nests())
def test_split_fails_only_with_too_few_accumulators(dims: list[Dim]) -> None:
    if split(dims, LIMITS) is None:
        spread = int(np.prod([dim.count for dim in dims if dim.dst]))
        assert spread < HAZARD_DISTANCE
        assert any(dim.dst == 0 and dim.count > 1 for dim in dims)


@settings(deadline=None)
@given(loop_nests())
def test_dealt_keeps_the_hazard_distance_and_the_sums(dims: list[Dim]) -> None:
    spread = int(np.prod([dim.count for dim in dims if dim.dst]))
    nest = dealt(dims, 1000)
    assert not hazards(visited(nest)[:, 0])
    folded = visited(nest)
    folded[:, 0] %= 1000
    wanted = np.stack(offsets(dims), axis=1)
    assert sorted(map(tuple, folded.tolist())) == sorted(map(tuple, wanted.tolist()))
    assert spread <= len(wanted)


def test_merged_joins_loops_that_walk_like_one() -> None:
    assert merged([Dim(4, 10, 10), Dim(10, 1, 1), Dim(1, 7)]) == [Dim(40, 1, 1)]
    assert merged([Dim(4, 11, 10), Dim(10, 1, 1)]) == [Dim(4, 11, 10), Dim(10, 1, 1)]
