"""What every rank does at every moment, and if nothing: what it waits for."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import EventKind

COMPUTE, COMMUNICATION, HOST, WAIT = "compute", "communication", "host", "wait"
NO_MORE_WORK = "no more work"
IMAGES = "the next image"
ITSELF = "itself"

Interval = tuple[int, int]


@dataclass(frozen=True)
class ActivityInterval:
    """A piece of a rank's time.

    Attributes
    ----------
    start_ns, end_ns : int
        When.
    kind : str
        `COMPUTE`: VTA runs; otherwise `HOST`: the processor prepares images, `COMMUNICATION`: a message of
        this rank is at its processor or ports, or `WAIT`.
    cause : str
        Of a wait: ``rank 2`` (it has not begun to send), ``link 2-3`` (the message is on its way), `IMAGES`
        (rank 0 lets no further image in, as enough are under way), `ITSELF` (all is there, and the rank's
        software has not launched yet), `NO_MORE_WORK`; otherwise empty.
    """

    start_ns: int
    end_ns: int
    kind: str
    cause: str = ""

    @property
    def duration_ns(self) -> int:
        """Length."""
        return self.end_ns - self.start_ns


@dataclass(frozen=True)
class Activity:
    """All spans of a run, per rank, without gaps from the first image's entry to the end of the run."""

    spans: Mapping[int, tuple[ActivityInterval, ...]]

    @cached_property
    def totals_ns(self) -> Mapping[int, Mapping[tuple[str, str], int]]:
        """Time per rank and (kind, cause)."""
        totals: dict[int, dict[tuple[str, str], int]] = {}
        for rank, spans in self.spans.items():
            sums: dict[tuple[str, str], int] = defaultdict(int)
            for span in spans:
                sums[span.kind, span.cause] += span.duration_ns
            totals[rank] = dict(sums)
        return totals

    def share(self, rank: int, kind: str) -> float:
        """Return the part of the run, 0 to 1, that a rank spends on a kind."""
        totals = self.totals_ns[rank]
        return sum(ns for (found, _), ns in totals.items() if found == kind) / max(1, sum(totals.values()))

    def causes(self, rank: int) -> list[tuple[str, int]]:
        """Return what a rank waits for and how long in nanoseconds, longest first."""
        found = [(cause, ns) for (kind, cause), ns in self.totals_ns[rank].items() if kind == WAIT]
        return sorted(found, key=lambda entry: -entry[1])


def activity(run: Run) -> Activity:
    """Divide every rank's time.

    A wait before a launch is laid to the input that came last: as long as its sender has not begun to send,
    to that rank; after that, to the link; once it is there, to the rank itself.
    """
    arrivals = _last_arrivals(run)
    return Activity({rank: tuple(_rank_spans(run, rank, arrivals)) for rank in run.ranks})


def _last_arrivals(run: Run) -> Mapping[tuple[int, int, int], tuple[int, int, int]]:
    """Return (receive end, send start, source) of the message that came last, by (rank, place, image)."""
    last: dict[tuple[int, int, int], tuple[int, int, int]] = {}
    rows = run.messages.matched
    names = ("target", "consumer", "image", "receive_end_ns", "send_start_ns", "source")
    for target, consumer, image, end_ns, sent_ns, source in zip(*(rows[name].tolist() for name in names), strict=True):
        key = (target, consumer, image)
        last[key] = max(last.get(key, (-1, 0, 0)), (end_ns, sent_ns, source))
    return last


def _rank_spans(
    run: Run, rank: int, arrivals: Mapping[tuple[int, int, int], tuple[int, int, int]]
) -> list[ActivityInterval]:
    launches = run.events(rank, EventKind.LAUNCH)
    messages = [run.events(rank, kind) for kind in (EventKind.SEND, EventKind.RECEIVE)]
    pairs = [pair for rows in messages for pair in zip(rows["start_ns"].tolist(), rows["end_ns"].tolist(), strict=True)]
    hosts = run.events(rank, EventKind.HOST)
    covers = [
        (HOST, _union(list(zip(hosts["start_ns"].tolist(), hosts["end_ns"].tolist(), strict=True)))),
        (COMMUNICATION, _union(pairs)),
    ]
    entries = dict(zip(run.images["image"].tolist(), run.images["start_ns"].tolist(), strict=True))
    spans: list[ActivityInterval] = []
    at_ns = run.begin_ns
    names = ("start_ns", "end_ns", "stage", "image")
    for start, end, stage, image in zip(*(launches[name].tolist() for name in names), strict=True):
        if start > at_ns:
            spans += _gap(
                (at_ns, start),
                covers,
                _reasons(at_ns, start, arrivals.get((rank, stage, image)), entries.get(image, 0), rank),
            )
        if end > at_ns:
            spans.append(ActivityInterval(max(start, at_ns), end, COMPUTE))
            at_ns = end
    if at_ns < run.end_ns:
        spans += _gap((at_ns, run.end_ns), covers, [(run.end_ns, NO_MORE_WORK)])
    return spans


def _reasons(
    start: int, end: int, last: tuple[int, int, int] | None, entry_ns: int, rank: int
) -> list[tuple[int, str]]:
    """Return until when a wait before a launch has which cause."""
    if last is None:
        return [(max(start, entry_ns), IMAGES), (end, ITSELF)]
    came_ns, sent_ns, source = last
    return [(sent_ns, f"rank {source}"), (came_ns, f"link {source}-{rank}"), (end, ITSELF)]


def _gap(
    gap: Interval, covers: Sequence[tuple[str, list[Interval]]], reasons: list[tuple[int, str]]
) -> list[ActivityInterval]:
    """Divide a gap between launches: the rank's own work first, then waits by their reasons."""
    pieces = [(gap, "")]
    spans = []
    for kind, cover in covers:
        rest = []
        for piece, _ in pieces:
            inside, outside = _split(piece, cover)
            spans += [ActivityInterval(*part, kind) for part in inside]
            rest += [(part, "") for part in outside]
        pieces = rest
    for (start, end), _ in pieces:
        at = start
        for until, cause in reasons:
            if at < min(until, end):
                spans.append(ActivityInterval(at, min(until, end), WAIT, cause))
                at = min(until, end)
    return sorted(spans, key=lambda span: span.start_ns)


def _split(piece: Interval, cover: list[Interval]) -> tuple[list[Interval], list[Interval]]:
    """Return the parts of an interval that a sorted union of intervals covers, and those that it does not."""
    inside, outside = [], []
    at, end = piece
    index = bisect_left(cover, (at, at))
    if index and cover[index - 1][1] > at:
        index -= 1
    while index < len(cover) and cover[index][0] < end:
        start, stop = max(cover[index][0], at), min(cover[index][1], end)
        if start > at:
            outside.append((at, start))
        if stop > start:
            inside.append((start, stop))
        at = max(at, stop)
        index += 1
    if at < end:
        outside.append((at, end))
    return inside, outside


def _union(intervals: list[Interval]) -> list[Interval]:
    joined: list[Interval] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return joined
