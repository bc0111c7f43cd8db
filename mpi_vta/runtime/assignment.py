"""What rank 0 sends to each rank before a run, as bytes: no rank but 0 needs a model, TVM or any file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.codegen.program import Program
from mpi_vta.hw.board import Board
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import Plan
from mpi_vta.runtime.output_set import OutputPlace
from mpi_vta.runtime.rank import RankJob

VIRTUAL, WALL = "virtual", "wall"
FORMAT_VERSION = 3


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
class Assignment:
    """One rank's job and how to run it; `feed` goes only to ranks other than 0 that are the first of a plan."""

    job: RankJob
    options: RunOptions
    feed: Feed | None = None

    def to_bytes(self) -> bytes:
        """Serialise the assignment."""
        job = self.job
        header = {
            "plan": job.plan.to_json(),
            "network": asdict(job.network),
            "board": job.board.to_dict(),
            "groups": job.groups,
            "stages": list(job.programs),
            "options": asdict(self.options),
            "model": job.model,
            "ranks": list(job.ranks),
        }
        arrays: dict[str, NDArray[Any]] = {
            f"program{stage}": np.frombuffer(program.to_bytes(), dtype=np.uint8)
            for stage, program in job.programs.items()
        }
        if self.feed is not None:
            header["feed"] = {
                "images": self.feed.images,
                "output_shapes": dict(self.feed.output_shapes),
                "outputs": None if self.feed.outputs is None else self.feed.outputs.to_dict(),
                "numbers": list(self.feed.numbers),
            }
            arrays |= {f"input.{name}": images for name, images in self.feed.inputs.items()}
        return artifact.pack("assignment", FORMAT_VERSION, header, arrays)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Assignment:
        """Read what `to_bytes` wrote; raises `ArtifactError` on damage."""
        header, arrays = artifact.unpack(data, "assignment", FORMAT_VERSION, where)
        programs = {
            stage: Program.from_bytes(arrays[f"program{stage}"].tobytes(), where=f"{where}, stage {stage}")
            for stage in header["stages"]
        }
        job = RankJob(
            plan=Plan.from_json(header["plan"], where=where),
            network=NetworkModel(**header["network"]),
            board=Board.from_dict(header["board"], where),
            programs=programs,
            groups=header["groups"],
            model=header["model"],
            ranks=tuple(header["ranks"]),
            verify=header["options"]["verify"],
        )
        feed = None
        if "feed" in header:
            inputs = {name.removeprefix("input."): a for name, a in arrays.items() if name.startswith("input.")}
            shapes = {name: tuple(shape) for name, shape in header["feed"]["output_shapes"].items()}
            place = header["feed"]["outputs"]
            outputs = None if place is None else OutputPlace.from_dict(place)
            feed = Feed(header["feed"]["images"], inputs, shapes, outputs, tuple(header["feed"]["numbers"]))
        return cls(job, RunOptions(**header["options"]), feed)
