"""A job over all ranks: rank 0 prepares and leads, the others follow; a fault before the start ends all quietly."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.command_end import print_error
from mpi_vta.errors import LaunchError, MpiVtaError
from mpi_vta.hw.board import Board
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import Plan
from mpi_vta.runtime.assignment import WALL, Assignment, Feed, RunOptions
from mpi_vta.runtime.clock_comparison import compare_clocks
from mpi_vta.runtime.devices.protocol import DeviceSetup
from mpi_vta.runtime.devices.registry import carries_data, open_device
from mpi_vta.runtime.devices.sensor import find_sensor
from mpi_vta.runtime.endpoint import Endpoint
from mpi_vta.runtime.faults.failure import Ending
from mpi_vta.runtime.faults.guardian import begin_mpi
from mpi_vta.runtime.faults.leftovers import leave_nothing_behind
from mpi_vta.runtime.faults.pairing import check_pairing, find_launcher
from mpi_vta.runtime.faults.roll_call import RollCall
from mpi_vta.runtime.faults.watchdog import DONE, WORKING, Watchdog
from mpi_vta.runtime.introduction import IntroductionError, RankStatement, introduce
from mpi_vta.runtime.output_set import OutputPlace, OutputSet, PartOutputs
from mpi_vta.runtime.power_sampling import PowerSampler
from mpi_vta.runtime.rank import RankJob, RankRun, edge_name
from mpi_vta.runtime.rank_report import RankReport
from mpi_vta.runtime.transport.protocol import Transport
from mpi_vta.runtime.virtual import VirtualRun
from mpi_vta.runtime.wall import WallClock, WallRun
from mpi_vta.schedule.figures import group_count
from mpi_vta.trace.schema import RankInfo
from mpi_vta.trace.writer import RankTrace

_GO = -1
RankWork = Callable[[Transport, Ending], int]


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
    ranks : tuple of int
        Those on which the plan's ranks run, ascending.
    outputs : OutputPlace or None
        Where outputs are kept; None for a device that carries no data.
    numbers : tuple of int
        If this is the rest of a job that ended early, that job's number of each image; empty for a whole job.
    """

    plan: Plan
    cluster: Cluster
    programs: Mapping[tuple[int, int], Program]
    inputs: Mapping[str, NDArray[np.int8]]
    output_shapes: Mapping[str, tuple[int, ...]]
    options: RunOptions
    ranks: tuple[int, ...]
    outputs: OutputPlace | None = None
    numbers: tuple[int, ...] = ()

    @property
    def images(self) -> int:
        """Images of the job."""
        return len(next(iter(self.inputs.values())))

    @property
    def feed(self) -> Feed:
        """What the plan's rank 0 needs; images and outputs only for a device that carries data."""
        with_data = carries_data(self.options.device)
        shapes = self.output_shapes if with_data else {}
        return Feed(self.images, self.inputs if with_data else {}, shapes, self.outputs, self.numbers)


@dataclass(frozen=True)
class RunResult:
    """What a run of one job left at rank 0.

    Attributes
    ----------
    outputs : mapping of str to ndarray of int8, shape (n, C, H, W), or None
        By graph output, of all images of the job, those of earlier parts too; None for a device that carries no
        data.
    times : ndarray of IMAGE_DTYPE
        Start, end and latency of every image, in virtual time.
    rank_files : tuple of bytes
        The trace file of every rank of the job.
    rank_reports : tuple of dict
        Per rank of the job: ``host``, and ``wall_s``, the real seconds that its part took.
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

    def __init__(self, transport: Transport, ending: Ending) -> None:
        self._transport, self._ending = transport, ending
        self.ranks = transport.size
        self.state = "preparing"

    def run(self, jobs: Sequence[Job], on_finish: Callable[[], None] = lambda: None) -> tuple[RunResult, ...]:
        """Run several jobs at the same time, once, each on ranks of its own; see `lead`."""
        first = _leading_endpoint(jobs)
        self.state = "running"
        results = lead(self._transport, jobs, first, self._ending, on_finish)
        self.state = "done"
        return results

    def dismiss(self, status: int) -> None:
        """Let the other ranks go, with a status: before the run, or after it, when what they left is on disk."""
        self._transport.broadcast(json.dumps({"status": status}).encode())


def take_part(command: Callable[[Leader], int], limit_s: float) -> int:
    """Join the MPI job as whichever rank this process is; return its exit status.

    Rank 0 does `command`, the others follow. A fault of the user's before the run starts is one line from
    rank 0, and every rank leaves with its status; one during the run ends the job at once. A rank that falls silent
    ends it within `limit_s` seconds, 0 for no limit.
    """
    return join(lambda transport, ending: command_rank(transport, command, ending), follow, limit_s)


def join(first: RankWork, other: RankWork, limit_s: float) -> int:
    """Join the MPI job: do `first` on rank 0, `other` on every other rank; return the exit status.

    An exception that nobody catches, a signal to end, and a rank that is silent for `limit_s` seconds end all ranks.
    """
    launcher = find_launcher(os.environ)
    transport, state = begin_mpi(limit_s)
    try:
        check_pairing(os.environ, transport.size)
    except LaunchError as fault:
        # every process believes to be alone, so each would print
        if launcher is None or launcher.rank == 0:
            print_error(fault)
        return fault.exit_status
    ending = Ending(transport, Watchdog(transport.rank, transport.host, state))
    ending.install()
    try:
        statements = introduce(transport, RankStatement.own())
    except IntroductionError as fault:
        if transport.rank == 0:
            print_error(fault)
        if not fault.is_mutual:
            # a rank that has said nothing would not leave
            transport.abort(fault.exit_status)
        return fault.exit_status
    # now no rank needs the names of what MPI has opened at its start
    leave_nothing_behind(os.environ)
    ending.call_roll(limit_s, [said.process for said in statements])
    status = first(transport, ending) if transport.rank == 0 else other(transport, ending)
    ending.roll_call.close()
    return status


def command_rank(transport: Transport, command: Callable[[Leader], int], ending: Ending | None = None) -> int:
    """Do rank 0's part: see `take_part`."""
    leader = Leader(transport, ending or Ending.of(transport))
    try:
        status = command(leader)
    except MpiVtaError as fault:
        if leader.state == "running":
            raise
        print_error(fault)
        status = fault.exit_status
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 0
    leader.dismiss(status)
    return status


def follow(transport: Transport, ending: Ending | None = None) -> int:
    """Do what rank 0 says, on every other rank; return the exit status."""
    ending = ending or Ending.of(transport)
    order = json.loads(transport.broadcast(None))
    if order["status"] != _GO:
        return int(order["status"])
    roll_call = ending.roll_call
    assignment = Assignment.from_bytes(transport.scatter(None), f"rank {transport.rank}")
    job, feed = assignment.job, assignment.feed
    endpoint = None if feed is None else _endpoint(feed, job.plan, job.board.config)
    with roll_call.unless_faulty():
        *_, trace = _run(transport, order["groups"], assignment, roll_call, endpoint)
    status = int(json.loads(transport.broadcast(None))["status"])
    if status == 0:
        # now that rank 0 has it, on disk
        trace.remove()
    return status


def lead(
    transport: Transport,
    jobs: Sequence[Job],
    endpoint: Endpoint | None,
    ending: Ending,
    on_finish: Callable[[], None] = lambda: None,
) -> tuple[RunResult, ...]:
    """Hand out prepared jobs from rank 0, take part in one, and collect what they leave.

    Parameters
    ----------
    transport : Transport
        Rank 0's end.
    jobs : sequence of Job
        What to run at the same time; together they have every rank once. Each gets a network of its own.
    endpoint : Endpoint or None
        Of the job that rank 0 is the first rank of.
    ending : Ending
        Of this rank.
    on_finish : callable
        Called after every finished image group of the job that rank 0 is the first rank of.

    Returns
    -------
    tuple of RunResult
        In the order of the jobs.
    """
    assignments = {
        rank: _assignment(job, model, place) for model, job in enumerate(jobs) for place, rank in enumerate(job.ranks)
    }
    groups = [assignments[rank].job.model for rank in range(transport.size)]
    transport.broadcast(json.dumps({"status": _GO, "groups": groups}).encode())
    roll_call = ending.roll_call
    transport.scatter([assignments[rank].to_bytes() for rank in range(transport.size)])
    with roll_call.unless_faulty():
        files, reports, _ = _run(transport, groups, assignments[0], roll_call, endpoint, on_finish)
    return tuple(_result(job, files, reports) for job in jobs)


def _assignment(job: Job, model: int, place: int) -> Assignment:
    mine = RankJob(
        job.plan,
        NetworkModel.of(job.cluster),
        job.cluster.boards[place],
        _programs_of(job, place),
        group_count(job.images, job.plan.group_images),
        job.ranks,
        model,
        job.options.verify,
    )
    return Assignment(mine, job.options, job.feed if place == 0 and job.ranks[0] != 0 else None)


def _leading_endpoint(jobs: Sequence[Job]) -> Endpoint | None:
    """Open the source and sink of the job that rank 0 is the first rank of."""
    for job in jobs:
        if job.ranks[0] == 0:
            return _endpoint(job.feed, job.plan, job.cluster.boards[0].config)
    return None


def _endpoint(feed: Feed, plan: Plan, config: VTAConfig) -> Endpoint:
    outputs = None
    if feed.outputs is not None:
        outputs = PartOutputs(OutputSet(feed.outputs) if feed.numbers else OutputSet.begin(feed.outputs), feed.numbers)
    return Endpoint(feed.inputs, feed.output_shapes, feed.images, plan.group_images, config, outputs)


def _result(job: Job, files: Sequence[bytes], reports: Sequence[RankReport]) -> RunResult:
    ranks = job.ranks
    first = reports[ranks[0]]
    assert first.times is not None, "the first rank of a plan is its sink"
    return RunResult(
        first.outputs, first.times, tuple(files[rank] for rank in ranks), tuple(reports[rank].facts for rank in ranks)
    )


def _programs_of(job: Job, rank: int) -> dict[int, Program]:
    return {stage: program for (stage, place), program in job.programs.items() if place == rank}


def _run(
    transport: Transport,
    groups: Sequence[int],
    assignment: Assignment,
    roll_call: RollCall,
    endpoint: Endpoint | None = None,
    on_finish: Callable[[], None] = lambda: None,
) -> tuple[tuple[bytes, ...], tuple[RankReport, ...], RankTrace]:
    """Run one rank's part; return the rank's own trace, behind the files and reports of all ranks at rank 0."""
    job, options, watchdog = assignment.job, assignment.options, roll_call.watchdog
    device = open_device(options.device, DeviceSetup(job.board, options.bitstream))
    hint = f"go on with --resume {options.output}" if device.carries_data else ""
    edges = [edge_name(edge) for edge in job.plan.edges]
    watchdog.join(job.board.name, simulated=device.simulated, edges=edges, hint=hint)
    roll_call.announce()
    path = _trace_path(options, transport.rank)
    own_network = transport.split(groups) if len(set(groups)) > 1 else transport
    with RankTrace(path, _rank_info(transport, job.board, device.name)) as trace:
        clock = WallClock()
        run: RankRun
        if options.clock == WALL:
            run = WallRun(job, own_network, device, trace, watchdog, clock, endpoint, on_finish)
        else:
            run = VirtualRun(job, own_network, device, trace, watchdog, endpoint, on_finish)
        # the ranks start together, so that a rank that still decodes its program does not look like a cut link
        transport.barrier()
        samples = compare_clocks(transport, clock.now_ns) if options.clock == WALL else None
        if samples is not None:
            # at once, so that the times of a job that ends early can be brought together
            trace.note_clock(samples)
        # a simulated board has a model of its power; the host's own sensor would say nothing about it
        sensor = None if device.simulated or samples is None else find_sensor()
        sampler = None if sensor is None else PowerSampler(sensor, clock.now_ns)
        watchdog.phase = WORKING
        started = time.monotonic()
        with sampler.running() if sampler else nullcontext():
            run.run()
        watchdog.phase = DONE
        if sampler and sensor:
            trace.note_power(sampler.steps(), sensor.name, sampler.missed)
        if samples is not None:
            transport.barrier()
            trace.note_clock(compare_clocks(transport, clock.now_ns))
        facts = {"host": transport.host, "wall_s": time.monotonic() - started}
        files = transport.gather(trace.close())
    report = RankReport(facts) if endpoint is None else RankReport(facts, endpoint.times, endpoint.close())
    # rank 0 need not send its own outputs to itself: they may be larger than its memory
    reports = transport.gather((report if transport.rank else RankReport(facts)).to_bytes())
    if files is None or reports is None:
        return (), (), trace
    others = (RankReport.from_bytes(data, f"rank {rank}") for rank, data in enumerate(reports) if rank)
    return tuple(files), (report, *others), trace


def _trace_path(options: RunOptions, rank: int) -> Path:
    return Path(options.output) / "ranks" / f"rank-{rank:03d}.h5"


def _rank_info(transport: Transport, board: Board, device: str) -> RankInfo:
    return RankInfo(
        transport.rank,
        transport.host,
        board.name,
        board.config.name,
        device,
        board.power.idle_w,
        board.power.active_w,
        board.power.source,
        board.clock_mhz,
        board.launch_overhead_ns,
        2 * board.config.batch * board.config.block * board.config.block,
        board.config.bus_bits // 8,
    )
