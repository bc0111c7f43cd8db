"""A job over all ranks: rank 0 prepares and leads, the others follow; a fault before the start ends all quietly."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.errors import InputError, LaunchError, MpiVtaError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.runtime.assignment import Assignment, RunOptions
from mpi_vta.runtime.devices.protocol import DeviceSetup
from mpi_vta.runtime.devices.registry import carries_data, open_device
from mpi_vta.runtime.endpoint import Endpoint
from mpi_vta.runtime.failure import abort_all_on_uncaught, print_error
from mpi_vta.runtime.pairing import check_pairing, find_launcher
from mpi_vta.runtime.rank import RankJob, RankRun
from mpi_vta.runtime.transport.protocol import Transport
from mpi_vta.runtime.watchdog import Watchdog
from mpi_vta.schedule.figures import group_count
from mpi_vta.schedule.network import NetworkModel
from mpi_vta.schedule.plan import Plan
from mpi_vta.trace.schema import RankInfo
from mpi_vta.trace.writer import RankTrace

_GO = -1


@dataclass(frozen=True)
class Job:
    """What rank 0 has prepared.

    Attributes
    ----------
    plan : Plan
        Who does what.
    cluster : Cluster
        ``boards[rank]`` and the network.
    programs : mapping of (stage, rank) to Program
        Each stage compiled for each of its replicas' boards.
    inputs : mapping of str to ndarray of int8, shape (n, C, H, W)
        Quantised images by graph input.
    output_shapes : mapping of str to tuple of int
        (1, C, H, W) of each graph output, in the graph's order.
    options : RunOptions
        How to run.
    """

    plan: Plan
    cluster: Cluster
    programs: Mapping[tuple[int, int], Program]
    inputs: Mapping[str, NDArray[np.int8]]
    output_shapes: Mapping[str, tuple[int, ...]]
    options: RunOptions

    @property
    def images(self) -> int:
        """Images of the job."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class RunResult:
    """What a run left at rank 0.

    Attributes
    ----------
    outputs : mapping of str to ndarray of int8, shape (n, C, H, W), or None
        By graph output; None for a device that carries no data.
    times : ndarray of IMAGE_DTYPE
        Start, end and latency of every image, in virtual time.
    rank_files : tuple of bytes
        Every rank's trace file.
    rank_reports : tuple of dict
        Per rank: ``host``, and ``wall_s``, the real seconds that its part took.
    """

    outputs: Mapping[str, NDArray[np.int8]] | None
    times: NDArray[Any]
    rank_files: tuple[bytes, ...]
    rank_reports: tuple[dict[str, Any], ...]


class Leader:
    """Rank 0's handle on the job, given to the command.

    Attributes
    ----------
    ranks : int
        Ranks of the job.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.ranks = transport.size
        self.state = "preparing"

    def run(self, job: Job, on_finish: Callable[[], None] = lambda: None) -> RunResult:
        """Run a job over all ranks, once; see `lead`."""
        self.state = "running"
        result = lead(self._transport, job, on_finish)
        self.state = "done"
        return result


def take_part(command: Callable[[Leader], int]) -> int:
    """Join the MPI job as whichever rank this process is; return its exit status.

    Rank 0 does `command`, the others follow. A fault of the user's before the run starts is one line from
    rank 0, and every rank leaves with its status; one during the run ends the job at once.
    """
    from mpi_vta.runtime.transport.mpi import MpiTransport

    transport = MpiTransport()
    try:
        check_pairing(os.environ, transport.size)
    except LaunchError as fault:
        # every process believes to be alone, so each would print
        launcher = find_launcher(os.environ)
        if launcher is None or launcher.rank == 0:
            print_error(fault)
        return fault.exit_status
    abort_all_on_uncaught(transport)
    return command_rank(transport, command) if transport.rank == 0 else follow(transport)


def command_rank(transport: Transport, command: Callable[[Leader], int]) -> int:
    """Do rank 0's part: see `take_part`."""
    leader = Leader(transport)
    try:
        status = command(leader)
    except MpiVtaError as fault:
        if leader.state == "running":
            raise
        print_error(fault)
        status = fault.exit_status
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 0
    if leader.state == "preparing":
        transport.broadcast(json.dumps({"status": status}).encode())
    return status


def follow(transport: Transport) -> int:
    """Do what rank 0 says, on every other rank; return the exit status."""
    status = int(json.loads(transport.broadcast(None))["status"])
    if status != _GO:
        return status
    where = f"rank {transport.rank}"
    _run(transport, Assignment.from_bytes(transport.scatter(None), where))
    return 0


def lead(transport: Transport, job: Job, on_finish: Callable[[], None] = lambda: None) -> RunResult:
    """Hand out a prepared job from rank 0, take part in it, and collect what it leaves.

    Parameters
    ----------
    transport : Transport
        Rank 0's end.
    job : Job
        What to run.
    on_finish : callable
        Called after every finished image group.
    """
    groups = group_count(job.images, job.plan.group_images)
    network = NetworkModel.of(job.cluster)
    assignments = [
        Assignment(RankJob(job.plan, network, job.cluster.boards[rank], _programs_of(job, rank), groups), job.options)
        for rank in range(transport.size)
    ]
    transport.broadcast(json.dumps({"status": _GO}).encode())
    transport.scatter([assignment.to_bytes() for assignment in assignments])
    config = job.cluster.boards[0].config
    endpoint = Endpoint(job.inputs, job.output_shapes, job.images, job.plan.group_images, config)
    rank_files, reports = _run(transport, assignments[0], endpoint, on_finish)
    return RunResult(
        endpoint.outputs if carries_data(job.options.device) else None, endpoint.times, rank_files, reports
    )


def check_output(folder: Path) -> None:
    """Make the output folder before anything expensive is done.

    Raises
    ------
    InputError
        If it cannot be made or written.
    """
    try:
        (folder / "ranks").mkdir(parents=True, exist_ok=True)
        probe = folder / "ranks" / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as fault:
        raise InputError(f"cannot write there ({fault.strerror})", where=f"--output {folder}") from fault


def _programs_of(job: Job, rank: int) -> dict[int, Program]:
    return {stage: program for (stage, place), program in job.programs.items() if place == rank}


def _run(
    transport: Transport,
    assignment: Assignment,
    endpoint: Endpoint | None = None,
    on_finish: Callable[[], None] = lambda: None,
) -> tuple[tuple[bytes, ...], tuple[dict[str, Any], ...]]:
    job, options = assignment.job, assignment.options
    board = job.board
    device = open_device(options.device, DeviceSetup(board, options.bitstream))
    info = RankInfo(
        transport.rank,
        transport.host,
        board.name,
        board.config.name,
        device.name,
        board.power.idle_w,
        board.power.active_w,
        board.power.source,
        board.clock_mhz,
        board.launch_overhead_ns,
        2 * board.config.batch * board.config.block * board.config.block,
        board.config.bus_bits // 8,
    )
    watchdog = Watchdog(options.watchdog_s, transport.rank, transport.host, transport.abort)
    path = Path(options.output) / "ranks" / f"rank-{transport.rank:03d}.h5"
    with RankTrace(path, info) as trace, watchdog.running():
        run = RankRun(job, transport, device, trace, watchdog, endpoint, on_finish)
        # the ranks start together, so that a rank that still decodes its program does not look like a cut link
        transport.barrier()
        started = time.monotonic()
        run.run()
        report = {"host": transport.host, "wall_s": time.monotonic() - started}
        files = transport.gather(trace.close())
    reports = transport.gather(json.dumps(report).encode())
    path.unlink()
    if files is None or reports is None:
        return (), ()
    return tuple(files), tuple(json.loads(entry) for entry in reports)
