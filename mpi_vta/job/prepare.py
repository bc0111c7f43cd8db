"""Rank 0's way from a request to jobs that can be handed out, one for every model with images to be run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpi_vta.errors import InputError
from mpi_vta.frontend.sidecar import save_beside
from mpi_vta.hw.cluster import Cluster, select_cluster
from mpi_vta.job.chosen_weights import check_words, take_photographs, weights_file
from mpi_vta.job.command_line import load_named_config
from mpi_vta.job.held_folder import HeldFolder
from mpi_vta.job.host_work import HostWork, host_work
from mpi_vta.job.inputs import Inputs, read_inputs
from mpi_vta.job.model_list import model_folders
from mpi_vta.job.planning import open_costs, plan_model
from mpi_vta.job.ready_model import ReadyModel, ready_model
from mpi_vta.job.request import JobRequest
from mpi_vta.job.resumption import Remainder, check_folder, find_remainder, hold_folder
from mpi_vta.job.several import check_wishes, labels_of, part_of, share_cluster
from mpi_vta.runtime.assignment import RunOptions
from mpi_vta.runtime.devices.registry import carries_data, verifies
from mpi_vta.runtime.progress import Progress
from mpi_vta.runtime.session import Job


@dataclass(frozen=True)
class Opened:
    """A model of a request, and which of its images are to be run.

    Attributes
    ----------
    request : JobRequest
        What was asked for.
    asked : str
        This model, as in the request.
    model : ReadyModel
        The model, imported and quantised.
    inputs : Inputs
        The images.
    remainder : Remainder
        Which images are to be run.
    label : str
        Name in the job.
    folder : Path
        Where its outputs, pictures and page go.
    held : HeldFolder
        The output folder, no other job's until this process ends.
    """

    request: JobRequest
    asked: str
    model: ReadyModel
    inputs: Inputs
    remainder: Remainder
    label: str
    folder: Path
    held: HeldFolder


@dataclass(frozen=True)
class Prepared(Opened):
    """A model with images to be run, made ready.

    Attributes
    ----------
    job : Job
        Plan, programs and quantised images, ready to be handed out.
    host_work : tuple of HostWork
        What will not run on VTA.
    planner_alternative : dict or None
        Beside a plan made by hand, the figures that the planner would have got.
    """

    job: Job
    host_work: tuple[HostWork, ...]
    planner_alternative: dict[str, Any] | None = None


def prepare(request: JobRequest, ranks: int, progress: Progress) -> tuple[Opened, ...]:
    """Import and quantise every model of a request; share the boards out, compile and plan where images are left.

    Parameters
    ----------
    request : JobRequest
        What is wanted.
    ranks : int
        Ranks of the job, one board each.
    progress : Progress
        Told of every phase.

    Returns
    -------
    tuple of Opened
        In the order of the request; `Prepared` unless every image has its outputs already.

    Raises
    ------
    MpiVtaError
        Of the kind that says which part of the request cannot be met; nothing has been written then but
        caches, and the lock in the output folder.
    """
    check_words(request.models, request.weights)
    check_wishes(request.wishes, request.models, weights=request.weights, labels=request.labels)
    cluster = open_cluster(request, ranks)
    ready = [open_model(request, asked, progress) for asked in request.models]
    inputs = [_inputs(request, model, progress) for model in ready]
    for asked, model in zip(request.models, ready, strict=True):
        if request.save_preprocess:
            save_beside(asked, model.preprocess, model.class_names)
    held = hold_folder(request)
    folders = model_folders(request.folder, labels := labels_of(request.models))
    check_folder(request, folders)
    models = [
        Opened(request, asked, model, images, find_remainder(request, model, images, folder), label, folder, held)
        for asked, model, images, label, folder in zip(request.models, ready, inputs, labels, folders, strict=True)
    ]
    costs = [
        None if model.remainder.is_nothing else open_costs(model.model.graph, progress, model=model.asked)
        for model in models
    ]
    division = share_cluster(costs, labels, cluster, request.share)
    return tuple(
        _prepare_on(model, part_of(cluster, mine), mine, progress) if mine else model
        for model, mine in zip(models, division, strict=True)
    )


def to_run(models: Sequence[Opened]) -> tuple[Prepared, ...]:
    """Return the models that have images to be run."""
    return tuple(model for model in models if isinstance(model, Prepared))


def open_cluster(request: JobRequest, ranks: int) -> Cluster:
    """Return the boards of a job, after checking the options of the run itself; see `prepare` for errors."""
    carries_data(request.device)
    # neither a number below 0 nor what is no number
    if not 0 <= request.watchdog_s < math.inf:
        raise InputError(f"{request.watchdog_s:g} s", where="--watchdog-s", allowed="0 or more")
    if request.resume is not None and request.output is not None:
        raise InputError("the results go to the folder that is gone on with", where="--output", remedy="leave it out")
    return select_cluster(request.cluster, ranks, load_named_config(request.config))


def open_model(request: JobRequest, asked: str, progress: Progress) -> ReadyModel:
    """Import and quantise one of a request's models; see `prepare` for errors."""
    return ready_model(
        asked,
        seed=request.seed,
        weights=weights_file(asked, request.weights, progress),
        options=request.quantize_options,
        on_import=lambda: progress.phase(f"importing and quantising {asked}"),
    )


def _inputs(request: JobRequest, model: ReadyModel, progress: Progress) -> Inputs:
    if request.images is None and model.shows_photographs:
        take_photographs(progress)
    return read_inputs(
        model, request.images, request.seed, with_data=carries_data(request.device), labels=request.labels
    )


def _prepare_on(opened: Opened, cluster: Cluster, ranks: tuple[int, ...], progress: Progress) -> Prepared:
    """Compile and plan a model for the boards of some of the job's ranks."""
    request, model, remainder, integers = opened.request, opened.model, opened.remainder, opened.inputs.integers
    if remainder.numbers:
        integers = integers[list(remainder.numbers)]
    planned = plan_model(request.wishes, model.graph, cluster, len(integers), progress, opened.asked)
    programs = planned.programs
    (input_name,) = model.graph.inputs
    job = Job(
        planned.plan,
        cluster,
        programs,
        {input_name: integers},
        {name: model.graph.values[name].shape for name in model.graph.outputs},
        RunOptions(
            request.device,
            str(request.folder),
            request.clock,
            request.bitstream,
            verifies(request.device) if request.verify is None else request.verify,
        ),
        ranks,
        remainder.outputs,
        remainder.numbers,
    )
    return Prepared(
        **vars(opened), job=job, host_work=host_work(model, programs), planner_alternative=planned.alternative_figures
    )
