"""Rank 0's way from a request to a job that can be handed out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.program import Program
from mpi_vta.errors import InputError, PlanError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.cluster import Cluster, select_cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.job.command_line import load_named_config
from mpi_vta.job.host_work import HostWork, host_work
from mpi_vta.job.inputs import Inputs, read_inputs
from mpi_vta.job.ready_model import ReadyModel, ready_model
from mpi_vta.job.request import Request
from mpi_vta.runtime.assignment import RunOptions
from mpi_vta.runtime.devices.registry import carries_data
from mpi_vta.runtime.progress import Progress
from mpi_vta.runtime.session import Job, check_output
from mpi_vta.schedule.assembly import assemble
from mpi_vta.schedule.cache import ProgramCache
from mpi_vta.schedule.cost import CompiledCosts, time_program
from mpi_vta.schedule.plan import Plan
from mpi_vta.schedule.problem import Draft, Placement, Problem
from mpi_vta.schedule.strategies import make_plan


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
    """

    request: Request
    model: ReadyModel
    inputs: Inputs
    job: Job
    host_work: tuple[HostWork, ...]

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
    with_data = carries_data(request.device)
    if request.watchdog_s < 0:
        raise InputError(f"{request.watchdog_s:g} s", where="--watchdog-s", allowed="0 or more")
    cluster = select_cluster(request.cluster, ranks, load_named_config(request.config))
    model = ready_model(
        request.model,
        seed=request.seed,
        weights=request.weights,
        on_import=lambda: progress.phase(f"importing and quantising {request.model}"),
    )
    inputs = read_inputs(model, request.images, request.seed, with_data=with_data)
    plan, costs = _plan(request, model.graph, cluster, len(inputs.integers), progress)
    check_output(request.folder)
    programs = _programs(plan, cluster, costs)
    (input_name,) = model.graph.inputs
    job = Job(
        plan,
        cluster,
        programs,
        {input_name: inputs.integers},
        {name: model.graph.values[name].shape for name in model.graph.outputs},
        RunOptions(request.device, request.watchdog_s, str(request.folder), request.bitstream),
    )
    return Prepared(request, model, inputs, job, host_work(model, programs))


def open_costs(graph: Graph, progress: Progress) -> CompiledCosts:
    """Return the costs of a graph from the program cache, telling of every layer that has to be compiled."""

    def compile_shown(part: Graph, config: VTAConfig) -> Program:
        progress.phase(f"compiling {part.name} for {config.name}")
        return compile_graph(part, config, progress=lambda name, done, total: progress.step(done, total))

    return CompiledCosts(graph, ProgramCache(compile_shown, time_program))


def _plan(
    request: Request, graph: Graph, cluster: Cluster, images: int, progress: Progress
) -> tuple[Plan, CompiledCosts]:
    costs = open_costs(graph, progress)
    ranks = len(cluster.boards)
    if request.plan is not None:
        return _plan_from_file(request.plan, Problem(graph, cluster, images, costs)), costs
    plan = make_plan(request.strategy, graph, cluster, ranks, images, costs, request.stages, request.objective)
    return plan, costs


def _plan_from_file(path: Path, problem: Problem) -> Plan:
    """Return the plan of a file's stages and ranks on this cluster; its times and messages are made anew."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise PlanError(f"cannot read the plan ({fault})", where=str(path)) from fault
    stated = Plan.from_json(text, where=str(path))
    needed = max(stated.ranks) + 1
    if needed > problem.ranks:
        raise PlanError(
            f"the plan needs {needed} ranks, there are {problem.ranks}",
            where=str(path),
            remedy=f"start mpirun -n {needed}",
        )
    _check_layers(stated, problem.graph, str(path))
    placements = tuple(Placement(stage.nodes, stage.ranks, stage.turns) for stage in stated.stages)
    return assemble(problem, Draft(placements, stated.notes), stated.strategy)


def _check_layers(plan: Plan, graph: Graph, where: str) -> None:
    placed = Counter(name for stage in plan.stages for name in stage.nodes)
    wanted = Counter(node.name for node in graph.nodes)
    if placed != wanted:
        parts = {"missing": wanted - placed, "double or unknown": placed - wanted}
        found = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)
        raise PlanError(f"the stages do not hold every layer of {graph.name} once: {found}", where=where)


def _programs(plan: Plan, cluster: Cluster, costs: CompiledCosts) -> dict[tuple[int, int], Program]:
    compiled: dict[tuple[int, VTAConfig], Program] = {}
    programs = {}
    for stage in plan.stages:
        for rank in stage.ranks:
            key = (stage.index, cluster.boards[rank].config)
            if key not in compiled:
                compiled[key] = costs.program(stage.nodes, key[1])
            programs[stage.index, rank] = compiled[key]
    return programs
