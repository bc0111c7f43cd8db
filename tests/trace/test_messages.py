"""Both ends of messages brought together, links counted."""

import numpy as np
from trace_cases import IMAGES, US, write_ranks, write_run

from mpi_vta.trace.merge import read_rank_file
from mpi_vta.trace.messages import link_counters, match_messages
from mpi_vta.trace.reader import read
from mpi_vta.trace.schema import EventKind


def events_of(tmp_path):
    return {file.rank: file.events for file in (read_rank_file(data, "a rank") for data in write_ranks(tmp_path))}


def test_every_message_is_matched_once(tmp_path):
    messages = match_messages(events_of(tmp_path))
    assert len(messages.matched) == 2 * IMAGES
    assert not messages.unmatched
    assert not messages.backward.any()
    first = messages.matched[0]
    ends = [first[name] // US for name in ("send_start_ns", "send_end_ns", "receive_start_ns", "receive_end_ns")]
    assert ends == [12, 15, 16, 18]
    assert (first["source"], first["target"], first["producer"], first["consumer"], first["bytes"]) == (
        0,
        1,
        0,
        1,
        1000,
    )


def test_ends_without_their_other_end_are_counted(tmp_path):
    events = events_of(tmp_path)
    rows = events[1]
    events[1] = rows[~((rows["kind"] == EventKind.RECEIVE) & (rows["image"] >= 2))]
    messages = match_messages(events)
    assert messages.unmatched == {(0, 1): 2}
    assert link_counters(messages)["unmatched"].tolist() == [2, 0]


def test_messages_that_arrive_before_they_are_sent_are_counted_and_kept(tmp_path):
    events = events_of(tmp_path)
    events[1]["start_ns"] -= 20 * US
    events[1]["end_ns"] -= 20 * US
    messages = match_messages(events)
    assert messages.backward.sum() == IMAGES
    links = link_counters(messages)
    assert links["backward"].tolist() == [IMAGES, 0]
    assert links["message_ns"].tolist() == [-14 * US * IMAGES, 22 * US * IMAGES]


def test_link_counters_are_in_the_file(tmp_path):
    links = read(write_run(tmp_path)).links
    assert links[["source", "target", "messages", "bytes"]].tolist() == [(0, 1, 4, 4000), (1, 0, 4, 400)]
    assert links["message_ns"].tolist() == [4 * 6 * US, 4 * 2 * US]
    assert links["send_ns"].tolist() == [4 * 3 * US, 4 * US]


def test_no_events_give_no_messages(tmp_path):
    empty = {rank: rows[:0] for rank, rows in events_of(tmp_path).items()}
    assert match_messages(empty).matched.size == 0
    assert isinstance(link_counters(match_messages(empty)), np.ndarray)
