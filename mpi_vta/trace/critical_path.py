"""Why one image took as long as it did: the chain of work, messages and queues that ends with its last output."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import InputError
from mpi_vta.plans.plan import SINK, SOURCE
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import EventKind

COMPUTE, HOST, MESSAGE, QUEUE = "compute", "host", "message", "queue"


@dataclass(frozen=True)
class PathStep:
    """A piece of the path.

    Attributes
    ----------
    start_ns, end_ns : int
        When; every step begins where the one before it ends.
    kind : str
        `COMPUTE`, `HOST`, `MESSAGE`, or `QUEUE`: ready, but VTA, processor or port is taken by other images.
    rank : int
        Where; the receiver of a message.
    what : str
        Stage or link, for a reader.
    """

    start_ns: int
    end_ns: int
    kind: str
    rank: int
    what: str


def critical_path(run: Run, image: int) -> tuple[PathStep, ...]:
    """Return the steps between an image's entry and its last output; their lengths add up to its latency.

    Parameters
    ----------
    run : Run
        A run.
    image : int
        Index of a finished image.

    Raises
    ------
    InputError
        If the image was not finished, or the trace lacks a rank of its path.
    """
    rows = run.images[run.images["image"] == image]
    if not rows.size:
        raise InputError(
            f"image {image} was not finished", where="--image", allowed=f"0 to {int(run.images['image'].max())}"
        )
    return _Walk(run, run.first_of_group(image), int(rows["start_ns"][0]), int(rows["end_ns"][0])).steps()


def traced_images(run: Run) -> NDArray[Any]:
    """Return the finished images of which the trace has every launch and both ends of every message, IMAGE_DTYPE.

    A run that ended early lacks the last events of ranks that could not write them, and all of a rank that is lost.
    """
    launches = np.concatenate([run.events(rank, EventKind.LAUNCH)[["image", "stage"]] for rank in run.ranks])
    images, stages = np.unique(np.unique(launches)["image"], return_counts=True)
    whole = np.setdiff1d(images[stages == len(run.plan.stages)], run.messages.broken_images)
    firsts = [run.first_of_group(image) for image in run.images["image"].tolist()]
    chosen: NDArray[Any] = run.images[np.isin(firsts, whole)]
    return chosen


class _Walk:
    """Goes back from the last output, always to what came last."""

    def __init__(self, run: Run, image: int, start_ns: int, end_ns: int) -> None:
        self._run, self._image = run, image
        self._start_ns, self._at_ns = start_ns, end_ns
        self._found: list[PathStep] = []
        self._launches: dict[int, tuple[int, int, int]] = {}
        self._hosts: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for rank in run.ranks:
            for kind in (EventKind.LAUNCH, EventKind.HOST):
                rows = run.events(rank, kind)
                for row in rows[rows["image"] == image]:
                    stage, start, end = int(row["stage"]), int(row["start_ns"]), int(row["end_ns"])
                    if kind == EventKind.LAUNCH:
                        self._launches[stage] = (rank, start, end)
                    else:
                        self._hosts[stage].append((start, end))
        matched = run.messages.matched
        self._messages = {int(m["edge"]): m for m in matched[matched["image"] == image]}

    def steps(self) -> tuple[PathStep, ...]:
        place = SINK
        while place != SOURCE:
            place = self._back_over(place)
        self._until(self._start_ns, QUEUE, 0, "before the source")
        return tuple(reversed(self._found))

    def _back_over(self, place: int) -> int:
        """Add the steps of a place and of its last input, and return where that came from."""
        rank = 0
        if place != SINK:
            rank, start, _ = self._launch(place)
            self._until(start, COMPUTE, rank, f"stage {self._run.stage_name(place)}")
        ready_ns, producer, edge = self._last_input(place)
        for start, end in sorted(self._hosts[place], reverse=True):
            if end > ready_ns:
                self._until(end, QUEUE, rank, f"queue at rank {rank}")
                self._until(max(start, ready_ns), HOST, rank, f"processor of rank {rank}")
        self._until(ready_ns, QUEUE, rank, f"queue at rank {rank}")
        if edge in self._messages:
            message = self._messages[edge]
            self._until(int(message["send_start_ns"]), MESSAGE, rank, f"link {message['source']}-{message['target']}")
            made_ns = self._made_ns(producer)
            self._until(made_ns, QUEUE, int(message["source"]), f"queue at rank {message['source']}")
        return producer

    def _last_input(self, place: int) -> tuple[int, int, int]:
        """Return (time, producer, edge) of the input of a place that came last."""
        inputs = [
            (int(self._messages[i]["receive_end_ns"]) if i in self._messages else self._made_ns(e.producer), i)
            for i, e in enumerate(self._run.plan.edges)
            if e.consumer == place
        ]
        ready_ns, edge = max(inputs)
        return ready_ns, self._run.plan.edges[edge].producer, edge

    def _made_ns(self, place: int) -> int:
        return self._start_ns if place == SOURCE else self._launch(place)[2]

    def _launch(self, place: int) -> tuple[int, int, int]:
        if place not in self._launches:
            raise InputError(
                f"the trace lacks the launch of stage {place} for image {self._image}", where=self._run.trace.where
            )
        return self._launches[place]

    def _until(self, start_ns: int, kind: str, rank: int, what: str) -> None:
        """Prepend a step from `start_ns` to where the path has come to."""
        if start_ns < self._at_ns:
            self._found.append(PathStep(start_ns, self._at_ns, kind, rank, what))
            self._at_ns = start_ns
