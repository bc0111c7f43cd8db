"""What rank 0 sends to each rank before a run, as bytes: no rank but 0 needs a model, TVM or any file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta import artifact
from mpi_vta.codegen.program import Program
from mpi_vta.hw.board import Board, Power
from mpi_vta.hw.config import VTAConfig
from mpi_vta.runtime.rank import RankJob
from mpi_vta.schedule.network import NetworkModel
from mpi_vta.schedule.plan import Plan

FORMAT_VERSION = 1


@dataclass(frozen=True)
class RunOptions:
    """How every rank runs.

    Attributes
    ----------
    device : str
        Name of the device; see `mpi_vta.runtime.devices.registry`.
    watchdog_s : float
        Longest wait for one message, 0 for no limit.
    output : str
        Folder in which the ranks keep their traces.
    bitstream : str
        File for real boards; empty for the one that each board file names.
    """

    device: str
    watchdog_s: float
    output: str
    bitstream: str = ""


@dataclass(frozen=True)
class Assignment:
    """One rank's job and how to run it."""

    job: RankJob
    options: RunOptions

    def to_bytes(self) -> bytes:
        """Serialise the assignment."""
        job = self.job
        header = {
            "plan": job.plan.to_json(),
            "network": asdict(job.network),
            "board": _board_dict(job.board),
            "groups": job.groups,
            "stages": list(job.programs),
            "options": asdict(self.options),
        }
        arrays: dict[str, NDArray[Any]] = {
            f"program{stage}": np.frombuffer(program.to_bytes(), dtype=np.uint8)
            for stage, program in job.programs.items()
        }
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
            board=_board(header["board"], where),
            programs=programs,
            groups=header["groups"],
        )
        return cls(job, RunOptions(**header["options"]))


def _board_dict(board: Board) -> dict[str, Any]:
    data: dict[str, Any] = {name: value for name, value in vars(board).items() if name not in ("config", "power")}
    return {**data, "config": board.config.to_dict(), "power": asdict(board.power)}


def _board(data: Mapping[str, Any], where: str) -> Board:
    plain = {name: value for name, value in data.items() if name not in ("config", "power")}
    return Board(config=VTAConfig.from_dict(data["config"], where=where), power=Power(**data["power"]), **plain)
