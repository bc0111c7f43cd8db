"""Link constants: found again from times that they made, whatever the link; measured over a local transport."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.errors import InputError
from mpi_vta.hw.cluster import GIGABIT, Link
from mpi_vta.runtime.link_probe import PING_BYTES, LinkTimes, fit_link, median_link, probe_links
from mpi_vta.runtime.transport.local import run_ranks


def times_of(link, sizes=PING_BYTES):
    """What the model says that a link does."""
    wire_ns = 1000 / link.bandwidth_mb_s
    one_way = tuple(
        2 * link.per_message_ns + link.latency_ns + size * (wire_ns + 2 * link.per_byte_ns) for size in sizes
    )
    return LinkTimes(tuple(sizes), one_way, link.per_message_ns, wire_ns * 1_000_000, 1_000_000)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(Link, st.floats(1, 5000), st.integers(0, 10**6), st.integers(1, 10**6), st.floats(0, 20)),
)
def test_constants_are_found_again(link):
    found = fit_link(times_of(link))
    assert found.bandwidth_mb_s == pytest.approx(link.bandwidth_mb_s, rel=1e-6)
    assert found.latency_ns == pytest.approx(link.latency_ns, abs=2 + 1e-6 * link.latency_ns)
    assert found.per_message_ns == pytest.approx(link.per_message_ns, abs=1)
    assert found.per_byte_ns == pytest.approx(link.per_byte_ns, rel=1e-6, abs=1e-6)


def test_no_constant_is_negative_where_the_streams_are_slow():
    times = times_of(GIGABIT)
    slow = LinkTimes(times.sizes, times.one_way_ns, 10**9, 10**12, times.large_bytes)
    found = fit_link(slow)
    assert min(found.latency_ns, found.per_byte_ns) >= 0
    assert found.bandwidth_mb_s > 0


def test_times_without_a_line_are_refused():
    with pytest.raises(InputError, match="no line can be fitted; allowed: two sizes or more"):
        fit_link(times_of(GIGABIT, sizes=(8, 8)))
    backwards = LinkTimes((1, 1000), (100.0, 1.0), 1.0, 1.0, 1)
    with pytest.raises(InputError, match="larger messages take no longer"):
        fit_link(backwards)


def test_median_is_taken_of_each_constant():
    links = [Link(1, 30, 1, 0.0), Link(2, 10, 9, 0.5), Link(9, 20, 2, 0.1)]
    assert median_link(links) == Link(2.0, 20, 2, 0.1)


def test_probe_measures_every_peer_from_rank_0():
    first, *others = run_ranks(3, probe_links)
    assert [len(other) for other in others] == [0, 0]
    assert len(first) == 2
    for times in first:
        assert times.sizes == PING_BYTES
        assert min(*times.one_way_ns, times.small_gap_ns, times.large_gap_ns) > 0
