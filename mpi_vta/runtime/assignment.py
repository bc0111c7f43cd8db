"""What rank 0 sends to each rank before a run, as bytes: no rank but 0 needs a model, TVM or any file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.codegen.program import Program
from mpi_vta.hw.board import Board
from mpi_vta.json_fields import Count, to_json
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import Plan
from mpi_vta.runtime.output_set import OutputPlace
from mpi_vta.runtime.rank import RankJob

VIRTUAL, WALL = "virtual", "wall"
FORMAT_VERSION = 4


@dataclass(frozen=True)
class RunOptions:
    """How every rank runs.

    Attributes
    ----------
    device : str
        Name of the device; see `mpi_vta.runtime.devices.registry`.
    output : str
        Folder in which the ranks keep their traces.
    clock : str
        ``virtual`` or ``wall``.
    bitstream : str
        File for real boards; empty for the one that each board file names.
    verify : bool
        Whether messages between ranks carry a checksum.
    """

    device: str
    output: str
    clock: str = VIRTUAL
    bitstream: str = ""
    verify: bool = False


@dataclass(frozen=True, eq=False)
class Feed:
    """What the first rank of a plan needs to be source and sink.

    Attributes
    ----------
    images : int
        Images of the job.
    inputs : mapping of str to ndarray of int8, shape (n, C, H, W)
        Quantised images by graph input; empty for a device that carries no data.
    output_shapes : mapping of str to tuple of int
        (1, C, H, W) of each graph output; empty for a device that carries no data.
    outputs : OutputPlace or None
        Where outputs are kept; None for a device that carries no data.
    numbers : tuple of int
        For the rest of a job that ended early, the job's number of each image; empty for a whole job.
    """

    images: int
    inputs: Mapping[str, NDArray[np.int8]]
    output_shapes: Mapping[str, tuple[int, ...]]
    outputs: OutputPlace | None = None
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class _FeedHeader:
    images: Count
    output_shapes: Mapping[str, tuple[Count, ...]]
    outputs: OutputPlace | None


@dataclass(frozen=True)
class _Header:
    plan: str
    network: NetworkModel
    board: Board
    groups: Count
    ranks: tuple[Count, ...]
    model: Count
    stages: tuple[Count, ...]
    options: RunOptions
    feed: _FeedHeader | None


@dataclass(frozen=True)
class Assignment:
    """One rank's job and how to run it; `feed` goes only to ranks other than 0 that are the first of a plan."""

    job: RankJob
    options: RunOptions
    feed: Feed | None = None

    def to_bytes(self) -> bytes:
        """Serialise the assignment."""
        job, feed = self.job, self.feed
        header = _Header(
            job.plan.to_json(),
            job.network,
            job.board,
            job.groups,
            job.ranks,
            job.model,
            tuple(job.programs),
            self.options,
            None if feed is None else _FeedHeader(feed.images, feed.output_shapes, feed.outputs),
        )
        arrays: dict[str, NDArray[Any]] = {
            f"program{stage}": np.frombuffer(program.to_bytes(), dtype=np.uint8)
            for stage, program in job.programs.items()
        }
        if feed is not None:
            arrays["numbers"] = np.array(feed.numbers, np.int64)
            arrays |= {f"input.{name}": images for name, images in feed.inputs.items()}
        return artifact.pack("assignment", FORMAT_VERSION, to_json(header), arrays)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Assignment:
        """Read what `to_bytes` wrote; raises `ArtifactError` on damage."""
        read, arrays = artifact.unpack_as(_Header, data, "assignment", FORMAT_VERSION, where)
        programs = {
            stage: Program.from_bytes(arrays[f"program{stage}"].tobytes(), where=f"{where}, stage {stage}")
            for stage in read.stages
        }
        job = RankJob(
            Plan.from_json(read.plan, where),
            read.network,
            read.board,
            programs,
            read.groups,
            read.ranks,
            read.model,
            read.options.verify,
        )
        feed = None
        if read.feed is not None:
            inputs = {name.removeprefix("input."): a for name, a in arrays.items() if name.startswith("input.")}
            numbers = tuple(arrays["numbers"].tolist())
            feed = Feed(read.feed.images, inputs, read.feed.output_shapes, read.feed.outputs, numbers)
        return cls(job, read.options, feed)
