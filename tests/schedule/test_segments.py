"""Traffic of runs of layers, against the messages of real plans."""

from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import graphs

from mpi_vta.hw.cluster import Cluster
from mpi_vta.schedule.cut_points import find_cut_points
from mpi_vta.schedule.segments import find_segments
from mpi_vta.schedule.validate import edges_between

CONFIG = Cluster.default(1).boards[0].config


@settings(deadline=None, max_examples=80)
@given(graphs(), st.data())
def test_traffic_of_a_middle_segment_is_that_of_its_stage(graph, data):
    count = len(graph.nodes)
    first = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(first + 1, count))
    names = [node.name for node in graph.nodes]
    parts = [part for part in (names[:first], names[first:end], names[end:]) if part]
    stage = parts.index(names[first:end])
    on_rank_0 = data.draw(st.booleans())
    own = {stage, -1, -2} if on_rank_0 else {stage}
    edges = edges_between(graph, parts, CONFIG)
    received = sum(e.size_bytes for e in edges if e.consumer in own and e.producer not in own)
    sent = sum(e.size_bytes for e in edges if e.producer in own and e.consumer not in own)
    segments = find_segments(graph, CONFIG, find_cut_points(graph))
    found_in = sum(t.size_bytes * int(t.received(on_rank_0=on_rank_0)[first, end]) for t in segments.tensors)
    found_out = sum(t.size_bytes * int(t.sent(on_rank_0=on_rank_0)[first, end]) for t in segments.tensors)
    assert (found_in, found_out) == (received, sent)
    entering = sum(e.size_bytes for e in edges if e.consumer == stage)
    assert segments.bytes_in(on_rank_0=False)[first, end] == entering
    assert segments.reads_images[first, end] == (first == 0)


@settings(deadline=None, max_examples=30)
@given(graphs())
def test_rank_without_layers_moves_only_what_source_and_sink_move(graph):
    segments = find_segments(graph, CONFIG, find_cut_points(graph))
    for at in range(segments.cuts.count):
        assert all(
            int(t.received(on_rank_0=False)[at, at]) == 0 == int(t.sent(on_rank_0=False)[at, at])
            for t in segments.tensors
        )
        assert [bool(t.sent(on_rank_0=True)[at, at]) for t in segments.tensors] == [
            t.from_source for t in segments.tensors
        ]
        assert [bool(t.received(on_rank_0=True)[at, at]) for t in segments.tensors] == [
            t.to_sink for t in segments.tensors
        ]
