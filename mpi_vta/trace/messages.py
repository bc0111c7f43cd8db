"""Sends and receives of different ranks brought together: the messages of a run, and the counters of its links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.trace.schema import LINK_DTYPE, EventKind

MESSAGE_DTYPE = np.dtype(
    [
        ("model", "u1"),
        ("edge", "<i4"),
        ("image", "<i4"),
        ("source", "<i2"),
        ("target", "<i2"),
        ("producer", "<i2"),
        ("consumer", "<i2"),
        ("send_start_ns", "<i8"),
        ("send_end_ns", "<i8"),
        ("receive_start_ns", "<i8"),
        ("receive_end_ns", "<i8"),
        ("bytes", "<i8"),
    ]
)
_KEY = ["model", "edge", "image"]


@dataclass(frozen=True, eq=False)
class Messages:
    """What went between ranks.

    Attributes
    ----------
    matched : ndarray of MESSAGE_DTYPE
        Messages of which both ends are in the trace, by the time of sending.
    unmatched : mapping of (int, int) to int
        By (sender, receiver): ends without their other end, as a job that was killed leaves them.
    broken_images : ndarray of int
        First images of the groups that such an end is of, ascending.
    """

    matched: NDArray[Any]
    unmatched: Mapping[tuple[int, int], int]
    broken_images: NDArray[Any]

    @property
    def backward(self) -> NDArray[np.bool_]:
        """Which of `matched` were usable before their sender began to send: clocks that disagree."""
        return np.asarray(self.matched["receive_end_ns"] < self.matched["send_start_ns"])


def match_messages(events: Mapping[int, NDArray[Any]]) -> Messages:
    """Bring both ends of every message together.

    Parameters
    ----------
    events : mapping of int to ndarray of EVENT_DTYPE
        By rank.
    """
    sends, senders = _of_kind(events, EventKind.SEND)
    receives, receivers = _of_kind(events, EventKind.RECEIVE)
    # one edge of the plan carries one message per image group
    _, at_send, at_receive = np.intersect1d(sends[_KEY], receives[_KEY], assume_unique=True, return_indices=True)
    matched = np.zeros(len(at_send), MESSAGE_DTYPE)
    sent, received = sends[at_send], receives[at_receive]
    for name in (*_KEY, "bytes"):
        matched[name] = sent[name]
    matched["source"], matched["target"] = senders[at_send], receivers[at_receive]
    matched["producer"], matched["consumer"] = sent["stage"], received["stage"]
    matched["send_start_ns"], matched["send_end_ns"] = sent["start_ns"], sent["end_ns"]
    matched["receive_start_ns"], matched["receive_end_ns"] = received["start_ns"], received["end_ns"]
    unmatched: dict[tuple[int, int], int] = {}
    lonely_sends = np.setdiff1d(np.arange(len(sends)), at_send)
    lonely_receives = np.setdiff1d(np.arange(len(receives)), at_receive)
    ends = [(int(senders[i]), int(sends["peer"][i])) for i in lonely_sends]
    ends += [(int(receives["peer"][i]), int(receivers[i])) for i in lonely_receives]
    for link in ends:
        unmatched[link] = unmatched.get(link, 0) + 1
    broken = np.union1d(sends["image"][lonely_sends], receives["image"][lonely_receives])
    return Messages(matched[np.argsort(matched["send_start_ns"], kind="stable")], unmatched, broken)


def _of_kind(events: Mapping[int, NDArray[Any]], kind: EventKind) -> tuple[NDArray[Any], NDArray[np.int64]]:
    chosen = {rank: rows[rows["kind"] == kind] for rank, rows in events.items()}
    ranks = np.repeat(np.array(list(chosen), np.int64), [len(rows) for rows in chosen.values()])
    return np.concatenate(list(chosen.values())), ranks


def link_counters(messages: Messages) -> NDArray[Any]:
    """Return the counters of every pair of ranks that spoke, LINK_DTYPE, by (source, target)."""
    rows = messages.matched
    backward = messages.backward
    pairs = sorted({*zip(rows["source"].tolist(), rows["target"].tolist(), strict=True), *messages.unmatched})
    links = np.zeros(len(pairs), LINK_DTYPE)
    for link, (source, target) in zip(links, pairs, strict=True):
        chosen = (rows["source"] == source) & (rows["target"] == target)
        mine = rows[chosen]
        link["source"], link["target"] = source, target
        link["messages"], link["bytes"] = len(mine), mine["bytes"].sum()
        link["send_ns"] = (mine["send_end_ns"] - mine["send_start_ns"]).sum()
        link["receive_ns"] = (mine["receive_end_ns"] - mine["receive_start_ns"]).sum()
        link["message_ns"] = (mine["receive_end_ns"] - mine["send_start_ns"]).sum()
        link["unmatched"] = messages.unmatched.get((source, target), 0)
        link["backward"] = backward[chosen].sum()
    return links
