import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.simulator.alu import independent_runs

INDICES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=40)


def lengths(runs):
    return [run.stop - run.start for run in runs]


def test_distinct_elements_are_one_run():
    assert lengths(independent_runs(np.arange(9), np.arange(9))) == [9]


def test_window_taps_are_a_run_each():
    dst = np.tile(np.arange(5), 4)
    assert lengths(independent_runs(dst, 10 + np.arange(20))) == [5, 5, 5, 5]


def test_chain_is_as_many_runs_as_links():
    assert lengths(independent_runs(np.arange(1, 6), np.arange(5))) == [1] * 5


def test_long_program_without_dependence_is_one_run():
    assert lengths(independent_runs(np.arange(1000), 1000 + np.arange(1000))) == [1000]


@settings(deadline=None, max_examples=200)
@given(INDICES, st.booleans())
def test_runs_are_consecutive_longest_and_independent(pairs, immediate):
    dst, src = (np.array(column) for column in zip(*pairs, strict=True))
    runs = independent_runs(dst, None if immediate else src)
    assert [run.start for run in runs] == [0, *(run.stop for run in runs[:-1])]
    assert runs[-1].stop == dst.size
    for run in runs:
        written = set()
        for position in range(run.start, run.stop):
            assert dst[position] not in written
            assert immediate or src[position] not in written
            written.add(dst[position])
        if run.stop < dst.size:
            following = run.stop
            assert dst[following] in written or (not immediate and src[following] in written)
