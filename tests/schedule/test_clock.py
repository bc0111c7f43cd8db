"""Virtual clocks: resources that do one thing at a time, messages over ports."""

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.plans.network import NetworkModel
from mpi_vta.schedule.clock import MAX_INTERVALS, RankClock, Resource, TimeInterval

NETWORK = NetworkModel(bytes_per_s=1_000_000_000, latency_ns=500, per_message_ns=10, per_byte_ps=0)


def test_resource_serialises():
    resource = Resource()
    assert resource.reserve(0, 10) == TimeInterval(0, 10)
    assert resource.reserve(3, 5) == TimeInterval(10, 15)


def test_later_request_takes_an_earlier_gap_that_fits():
    resource = Resource()
    resource.reserve(0, 10)
    resource.reserve(100, 10)
    assert resource.reserve(5, 90) == TimeInterval(10, 100)
    assert resource.reserve(0, 1) == TimeInterval(110, 111)


def test_gap_that_is_too_short_is_passed_over():
    resource = Resource()
    resource.reserve(10, 10)
    resource.reserve(25, 10)
    assert resource.reserve(0, 11) == TimeInterval(35, 46)
    assert resource.reserve(0, 5) == TimeInterval(0, 5)
    assert resource.reserve(0, 5) == TimeInterval(5, 10)


def test_shared_time_is_taken_in_pieces():
    resource = Resource()
    resource.reserve(10, 10)
    resource.reserve(25, 10)
    assert resource.share(0, 18) == TimeInterval(0, 38)
    assert resource.share(0, 1) == TimeInterval(38, 39)
    assert resource.busy_ns == 39


def test_shared_time_waits_for_what_is_under_way():
    resource = Resource()
    resource.reserve(0, 10)
    assert resource.share(4, 3) == TimeInterval(10, 13)
    assert resource.share(4, 0) == TimeInterval(4, 4)


def test_earlier_messages_interrupt_later_work_of_the_processor():
    clock = RankClock()
    clock.send(50, 1000, NETWORK)
    assert clock.host(0, 100) == TimeInterval(0, 110)


def test_nothing_takes_no_time_and_waits_for_nobody():
    resource = Resource()
    resource.reserve(0, 10)
    assert resource.reserve(4, 0) == TimeInterval(4, 4)


@pytest.mark.parametrize(("ready_ns", "duration_ns"), [(-1, 5), (5, -1)])
def test_negative_time_is_refused(ready_ns, duration_ns):
    with pytest.raises(ValueError, match="times cannot be negative"):
        Resource().reserve(ready_ns, duration_ns)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300), st.integers(0, 40)), max_size=40))
def test_reservations_never_overlap_and_take_the_first_time_that_is_free(requests):
    resource, busy = Resource(), set()
    for in_pieces, ready_ns, duration_ns in requests:
        if in_pieces:
            span = resource.share(ready_ns, duration_ns)
            free = (time for time in count(ready_ns) if time not in busy)
            wanted = [next(free) for _ in range(duration_ns)]
            expected = TimeInterval(wanted[0], wanted[-1] + 1) if wanted else TimeInterval(ready_ns, ready_ns)
        else:
            span = resource.reserve(ready_ns, duration_ns)
            start = next(t for t in count(ready_ns) if busy.isdisjoint(range(t, t + duration_ns)))
            wanted, expected = range(start, start + duration_ns), TimeInterval(start, start + duration_ns)
        assert span == expected
        busy.update(wanted)
    assert resource.busy_ns == len(busy)


def test_long_run_forgets_old_gaps_but_never_overlaps():
    resource = Resource()
    for i in range(3 * MAX_INTERVALS):
        assert resource.reserve(10 * i, 5) == TimeInterval(10 * i, 10 * i + 5)
    start_ns = resource.reserve(0, 5).start_ns
    assert start_ns % 10 == 5
    assert start_ns >= 10 * 2 * MAX_INTERVALS - 5


def test_send_departs_when_the_last_byte_leaves_the_port():
    clock = RankClock()
    assert clock.send(100, 1000, NETWORK) == TimeInterval(100, 1110)
    assert clock.send(100, 1000, NETWORK) == TimeInterval(110, 2110)


def test_message_arrives_after_latency_when_the_port_is_idle():
    clock = RankClock()
    assert clock.receive(1110, 1000, NETWORK) == TimeInterval(610, 1620)


def test_two_senders_share_the_receivers_port():
    clock = RankClock()
    clock.receive(1110, 1000, NETWORK)
    assert clock.receive(1110, 1000, NETWORK) == TimeInterval(1610, 2620)


def test_sending_and_receiving_use_different_ports():
    clock = RankClock()
    clock.send(0, 1000, NETWORK)
    assert clock.receive(1000, 1000, NETWORK).end_ns == 1510


def test_launches_and_processor_work_overlap():
    clock = RankClock()
    assert clock.launch(0, 100) == TimeInterval(0, 100)
    assert clock.host(0, 30) == TimeInterval(0, 30)
    assert clock.launch(20, 100) == TimeInterval(100, 200)
    assert (clock.vta.busy_ns, clock.cpu.busy_ns) == (200, 30)


def test_launch_is_never_interrupted():
    clock = RankClock()
    clock.launch(10, 5)
    # the gap before it is too short: VTA starts what it can finish
    assert clock.launch(0, 12) == TimeInterval(15, 27)
    assert clock.launch(0, 10) == TimeInterval(0, 10)


@pytest.mark.parametrize("forgotten", [0, 1])
def test_as_many_gaps_are_remembered_as_is_said(forgotten):
    resource = Resource()
    for i in range(MAX_INTERVALS + forgotten):
        resource.reserve(10 + 10 * i, 5)
    # the first gap is there until one more interval than that is kept, then the time before it is closed
    assert resource.reserve(0, 1) == (TimeInterval(15, 16) if forgotten else TimeInterval(0, 1))
