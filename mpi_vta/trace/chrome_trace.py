"""A run in the Chrome trace event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mpi_vta.disk import write_atomically
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import EventKind

# kind -> (thread, number of its first lane); slices of one thread have to nest, so overlapping ones get lanes
THREADS = {
    EventKind.LAUNCH: ("VTA", 100),
    EventKind.SEND: ("send", 200),
    EventKind.RECEIVE: ("receive", 300),
    EventKind.HOST: ("cpu", 400),
}
QUEUE_PROCESS = 10_000
_NS_PER_US = 1000


def write_chrome_trace(run: Run, path: Path) -> None:
    """Write the run as JSON.

    Parameters
    ----------
    run : Run
        A run.
    path : Path
        File to write.
    """
    write_atomically(path, json.dumps(chrome_trace(run), separators=(",", ":")).encode())


def chrome_trace(run: Run) -> dict[str, Any]:
    """Return the run as data: a process per rank, its VTA, send, receive and cpu as threads.

    Launches of an image are joined by a flow with the image's number; counters show the images under way
    and every board's watts.
    """
    events: list[dict[str, Any]] = []
    for rank in run.ranks:
        events += _name_process(rank, f"rank {rank}: {run.ranks[rank].attributes['board']}", rank)
        for kind, (thread, first) in THREADS.items():
            slices, used = _slices(run, rank, kind, first)
            events += slices
            for lane in range(used):
                name = thread if lane == 0 else f"{thread} {lane + 1}"
                events += _name_thread(rank, first + lane, name)
        events += _power(run, rank)
    events += _flows(run)
    events += _name_process(QUEUE_PROCESS, "images", -1)
    events += _queue(run)
    other = {"title": run.title, "time": run.time_word, "commit": str(run.trace.attributes.get("commit", "unknown"))}
    return {"displayTimeUnit": "ns", "otherData": other, "traceEvents": events}


def _name_process(process: int, name: str, place: int) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": process, "tid": 0, "name": "process_name", "args": {"name": name}}
    yield {"ph": "M", "pid": process, "tid": 0, "name": "process_sort_index", "args": {"sort_index": place}}


def _name_thread(process: int, thread: int, name: str) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": process, "tid": thread, "name": "thread_name", "args": {"name": name}}
    yield {"ph": "M", "pid": process, "tid": thread, "name": "thread_sort_index", "args": {"sort_index": thread}}


def _slices(run: Run, rank: int, kind: EventKind, first: int) -> tuple[list[dict[str, Any]], int]:
    """Return the slices of one kind, and how many lanes they take."""
    slices = []
    free_ns: list[int] = []
    names = ["start_ns", "end_ns", "stage", "image", "peer", "bytes"]
    for start, end, stage, image, peer, size in run.events(rank, kind)[names].tolist():
        lane = next((i for i, at in enumerate(free_ns) if at <= start), len(free_ns))
        free_ns[lane : lane + 1] = [end]
        arguments: dict[str, Any] = {"image": image, "stage": run.stage_name(stage)}
        if peer >= 0:
            arguments |= {"peer": peer, "bytes": size}
        slices.append(
            {
                "ph": "X",
                "pid": rank,
                "tid": first + lane,
                "ts": start / _NS_PER_US,
                "dur": (end - start) / _NS_PER_US,
                "cat": kind.name.lower(),
                "name": f"image {image}" if kind == EventKind.LAUNCH else f"{kind.name.lower()} {image}",
                "args": arguments,
            }
        )
    return slices, max(1, len(free_ns))


def _flows(run: Run) -> Iterator[dict[str, Any]]:
    launches: dict[int, list[tuple[int, int]]] = {}
    for rank in run.ranks:
        for start, image in run.events(rank, EventKind.LAUNCH)[["start_ns", "image"]].tolist():
            launches.setdefault(image, []).append((start, rank))
    thread = THREADS[EventKind.LAUNCH][1]
    for image, places in sorted(launches.items()):
        places.sort()
        last = len(places) - 1
        for number, (start, rank) in enumerate(places):
            if last == 0:
                continue
            phase = "s" if number == 0 else "f" if number == last else "t"
            event = {"ph": phase, "pid": rank, "tid": thread, "ts": start / _NS_PER_US, "id": image}
            # an end binds to the slice around it, not to the next one
            yield {**event, "cat": "image", "name": "image", **({"bp": "e"} if phase == "f" else {})}


def _power(run: Run, rank: int) -> Iterator[dict[str, Any]]:
    for start, watts in run.ranks[rank].power[["start_ns", "watts"]].tolist():
        yield {"ph": "C", "pid": rank, "tid": 0, "ts": start / _NS_PER_US, "name": "watts", "args": {"watts": watts}}


def _queue(run: Run) -> Iterator[dict[str, Any]]:
    times = np.concatenate([run.images["start_ns"], run.images["end_ns"]])
    steps = np.repeat([1, -1], len(run.images))
    at, inverse = np.unique(times, return_inverse=True)
    under_way = np.cumsum(np.bincount(inverse, weights=steps))
    for ns, images in zip(at.tolist(), under_way.tolist(), strict=True):
        arguments = {"images": int(images)}
        yield {
            "ph": "C",
            "pid": QUEUE_PROCESS,
            "tid": 0,
            "ts": ns / _NS_PER_US,
            "name": "under way",
            "args": arguments,
        }
