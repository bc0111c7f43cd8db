"""Rank 0's way from a request to a job that can be handed out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mpi_vta.codegen.program import Program
from mpi_vta.errors import InputError
from mpi_vta.hw.cluster import Cluster, select_cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.job.command_line import load_named_config
from mpi_vta.job.host_work import HostWork, host_work
from mpi_vta.job.inputs import Inputs, read_inputs
from mpi_vta.job.planning import plan_model
from mpi_vta.job.ready_model import ReadyModel, ready_model
from mpi_vta.job.request import Request
from mpi_vta.job.resumption import Remainder, find_remainder
from mpi_vta.runtime.assignment import RunOptions
from mpi_vta.runtime.devices.registry import carries_data
from mpi_vta.runtime.progress import Progress
from mpi_vta.runtime.session import Job, check_output
from mpi_vta.schedule.cost import CompiledCosts
from mpi_vta.schedule.plan import Plan


@dataclass(frozen=True)
class Prepared:
    """A request made ready.

    Attributes
    ----------
    request : Request
        What was asked for.
    model : ReadyModel
        The model, imported and quantised.
    inputs : Inputs
        The images.
    job : Job
        Plan, programs and quantised images, ready to be handed out.
    host_work : tuple of HostWork
        What will not run on VTA.
    remainder : Remainder
        Which images are to be run.
    planner_alternative : dict or None
        Beside a plan made by hand, the figures that the planner would have got.
    """

    request: Request
    model: ReadyModel
    inputs: Inputs
    job: Job
    host_work: tuple[HostWork, ...]
    remainder: Remainder
    planner_alternative: dict[str, Any] | None = None

    @property
    def layers(self) -> dict[int, list[str]]:
        """Layer names per stage."""
        return {stage.index: list(stage.nodes) for stage in self.job.plan.stages}


def prepare(request: Request, ranks: int, progress: Progress) -> Prepared:
    """Import, quantise, compile and plan.

    Parameters
    ----------
    request : Request
        What is wanted.
    ranks : int
        Ranks of the job, one board each.
    progress : Progress
        Told of every phase.

    Raises
    ------
    MpiVtaError
        Of the kind that says which part of the request cannot be met; nothing has been written then but
        caches and the empty output folder.
    """
    return prepare_on(request, open_model(request, progress), open_cluster(request, ranks), progress)


def open_cluster(request: Request, ranks: int) -> Cluster:
    """Return the boards of a job, after checking the options of the run itself; see `prepare` for errors."""
    carries_data(request.device)
    # neither a number below 0 nor what is no number
    if not 0 <= request.watchdog_s < math.inf:
        raise InputError(f"{request.watchdog_s:g} s", where="--watchdog-s", allowed="0 or more")
    if request.resume is not None and request.output is not None:
        raise InputError("the results go to the folder that is gone on with", where="--output", remedy="leave it out")
    return select_cluster(request.cluster, ranks, load_named_config(request.config))


def open_model(request: Request, progress: Progress) -> ReadyModel:
    """Import and quantise a request's model; see `prepare` for errors."""
    return ready_model(
        request.model,
        seed=request.seed,
        weights=request.weights,
        options=request.quantize_options,
        on_import=lambda: progress.phase(f"importing and quantising {request.model}"),
    )


def prepare_on(
    request: Request,
    model: ReadyModel,
    cluster: Cluster,
    progress: Progress,
    ranks: tuple[int, ...] = (),
    label: str = "",
) -> Prepared:
    """Compile and plan a model for some boards.

    Parameters
    ----------
    request : Request
        What is wanted of this model.
    model : ReadyModel
        Imported and quantised.
    cluster : Cluster
        Its boards.
    progress : Progress
        Told of every phase.
    ranks : tuple of int
        Their ranks in the job, if other models have the others.
    label : str
        Folder of the outputs within the output folder, if other models have others.

    Raises
    ------
    MpiVtaError
        As for `prepare`.
    """
    inputs = read_inputs(model, request.images, request.seed, with_data=carries_data(request.device))
    remainder = find_remainder(request, model, inputs, request.folder / label)
    integers = inputs.integers[list(remainder.numbers)] if remainder.numbers else inputs.integers
    planned = plan_model(request.wishes, model.graph, cluster, len(integers), progress)
    check_output(request.folder)
    programs = _programs(planned.plan, cluster, planned.costs)
    (input_name,) = model.graph.inputs
    job = Job(
        planned.plan,
        cluster,
        programs,
        {input_name: integers},
        {name: model.graph.values[name].shape for name in model.graph.outputs},
        RunOptions(
            request.device,
            request.watchdog_s,
            str(request.folder),
            request.clock,
            request.bitstream,
            request.verify,
        ),
        ranks,
        remainder.outputs,
        remainder.numbers,
    )
    return Prepared(request, model, inputs, job, host_work(model, programs), remainder, planned.alternative_figures)


def _programs(plan: Plan, cluster: Cluster, costs: CompiledCosts) -> dict[tuple[int, int], Program]:
    compiled: dict[tuple[int, VTAConfig], Program] = {}
    programs = {}
    for stage in plan.stages:
        for rank in stage.ranks:
            key = (stage.index, cluster.boards[rank].config)
            if key not in compiled:
                compiled[key] = costs.program(stage.nodes, key[1], stage.share)
            programs[stage.index, rank] = compiled[key]
    return programs
