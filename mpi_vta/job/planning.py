"""From what the user wants of a plan to the plan, and beside a hand-made one the planner's own."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.program import Program
from mpi_vta.codegen.rederivation import find_change
from mpi_vta.disk import read_text
from mpi_vta.errors import PlanError, about
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.plans.figures import OBJECTIVES
from mpi_vta.plans.plan import Plan
from mpi_vta.runtime.progress import Progress
from mpi_vta.schedule.assembly import assemble
from mpi_vta.schedule.by_hand import ByHand, comparison
from mpi_vta.schedule.cache import ProgramCache
from mpi_vta.schedule.cost import CompiledCosts, time_program
from mpi_vta.schedule.problem import Draft, Placement, Problem
from mpi_vta.schedule.strategies import AUTO, make_plan
from mpi_vta.text_table import counted


@dataclass(frozen=True)
class PlanWishes:
    """What the user wants of a plan.

    Attributes
    ----------
    strategy : str
        How to spread the work.
    objective : str
        What ``auto`` looks for.
    stages : int or None
        Exact number of stages.
    boards : int or None
        Use only so many boards, the first ones.
    by_hand : ByHand
        Stage borders and numbers of boards.
    file : Path or None
        A plan file whose stages are taken.
    in_flight : int or None
        Image groups under way at a time; None leaves it to the planner.
    """

    strategy: str
    objective: str = "throughput"
    stages: int | None = None
    boards: int | None = None
    by_hand: ByHand = field(default_factory=ByHand)
    file: Path | None = None
    in_flight: int | None = None


@dataclass(frozen=True)
class Planned:
    """A plan and how it came about.

    Attributes
    ----------
    plan : Plan
        What will be run.
    costs : CompiledCosts
        With the compiled stages.
    alternative : Plan or None
        What the planner would have got, if the plan was made by hand.
    planner_s : float
        Time for planning, without compiling.
    programs : mapping of (stage, rank) to Program
        Of the plan, those from the cache checked; see `CompiledCosts.checked_programs`.
    """

    plan: Plan
    costs: CompiledCosts
    alternative: Plan | None
    planner_s: float
    programs: Mapping[tuple[int, int], Program]

    @property
    def alternative_figures(self) -> dict[str, Any] | None:
        """The planner's own plan in short, JSON-able; None if nothing was chosen by hand."""
        if self.alternative is None:
            return None
        figures = {name: self.alternative.predicted[name] for name, _ in OBJECTIVES.values()}
        return {"strategy": self.alternative.strategy, "boards": len(self.alternative.ranks), **figures}


def open_costs(graph: Graph, progress: Progress, workers: int | None = None, model: str = "") -> CompiledCosts:
    """Return the costs of a graph from the program cache, telling of every layer that has to be compiled.

    Parameters
    ----------
    graph : Graph
        An int8 graph.
    progress : Progress
        Told of what is compiled.
    workers : int, optional
        Processes that compile a program; as many as there are cores by default.
    model : str, optional
        File or name of the model, named in front of a layer that cannot be compiled; the graph's name by default.
    """

    def compile_shown(part: Graph, config: VTAConfig) -> Program:
        progress.phase(f"compiling {part.name} for {config.name}")
        with about(model or graph.name, part.name):
            return compile_graph(
                part,
                config,
                progress=lambda name, done, total: progress.step(done, total),
                workers=workers or os.cpu_count() or 1,
            )

    return CompiledCosts(graph, ProgramCache(compile_shown, time_program, find_change=find_change))


# a plan foretells every image, so from here on it takes seconds
_MANY_IMAGES = 10_000


def plan_model(
    wishes: PlanWishes, graph: Graph, cluster: Cluster, images: int, progress: Progress, model: str = ""
) -> Planned:
    """Make the plan that the user wants; if it is hand-made, also the planner's own, and note how they compare.

    Parameters
    ----------
    wishes : PlanWishes
        What is wanted.
    graph : Graph
        The int8 graph.
    cluster : Cluster
        All boards that there are.
    images : int
        Images of the job.
    progress : Progress
        Told of what is compiled, and of the planning of a long job.
    model : str, optional
        As for `open_costs`.

    Raises
    ------
    PlanError
        If the wishes cannot be met.
    CompileError
        If a layer cannot be lowered to a board's configuration.
    ArtifactError
        If a program in the cache was altered.
    """
    costs = open_costs(graph, progress, model=model)
    begun_s = time.perf_counter()
    if images >= _MANY_IMAGES:
        progress.phase(f"planning {images:,} images")
    ranks = len(cluster.boards)
    boards = ranks if wishes.boards is None else wishes.boards
    if not 1 <= boards <= ranks:
        raise PlanError(counted(boards, "board"), where="--boards", allowed=f"1..{ranks}, as many as there are")
    problem = Problem(
        graph,
        cluster.first(boards),
        images,
        costs,
        wishes.stages,
        wishes.objective,
        wishes.by_hand,
        in_flight=wishes.in_flight,
    )
    plan = make_plan(wishes.strategy, problem) if wishes.file is None else plan_from_file(wishes, problem)
    alternative = None
    if wishes.file is not None or wishes.by_hand or boards < ranks:
        alternative = make_plan(AUTO, replace(problem, cluster=cluster, stages=None, by_hand=ByHand()))
        plan = replace(plan, notes=(*plan.notes, comparison(plan, alternative)))
    programs = _programs_of(plan, cluster, costs)
    return Planned(plan, costs, alternative, time.perf_counter() - begun_s - costs.compile_seconds, programs)


def _programs_of(plan: Plan, cluster: Cluster, costs: CompiledCosts) -> dict[tuple[int, int], Program]:
    places = [(stage, rank, cluster.boards[rank].config) for stage in plan.stages for rank in stage.ranks]
    wanted = {(stage.index, config): (stage.nodes, config, stage.share) for stage, _, config in places}
    programs = dict(zip(wanted, costs.checked_programs(list(wanted.values())), strict=True))
    return {(stage.index, rank): programs[stage.index, config] for stage, rank, config in places}


def plan_from_file(wishes: PlanWishes, problem: Problem) -> Plan:
    """Return the plan of a file's stages and ranks on this cluster; its times, messages and notes are made anew."""
    path = wishes.file
    assert path is not None
    where = str(path)
    if wishes.by_hand or wishes.stages is not None:
        raise PlanError("the plan file says where the stages are", where=where, remedy="leave out --cut and the like")
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else fault
        raise PlanError(
            f"cannot read the plan ({reason})", where=where, allowed="what --dry-run writes: JSON in UTF-8"
        ) from fault
    stated = Plan.from_json(text, where=where)
    needed = max(stated.ranks) + 1
    if needed > problem.ranks:
        raise PlanError(
            f"the plan needs {counted(needed, 'rank')}, there are {problem.ranks}",
            where=where,
            remedy=f"start mpirun -n {needed}",
        )
    _check_layers(stated, problem.graph, where)
    placements = tuple(Placement(stage.nodes, stage.ranks, stage.turns, stage.share) for stage in stated.stages)
    return assemble(problem, Draft(placements), stated.strategy)


def _check_layers(plan: Plan, graph: Graph, where: str) -> None:
    # the parts of split layers are stages with the same nodes
    placed = Counter(name for stage in plan.stages if stage.part is None for name in stage.nodes)
    placed += Counter({name for stage in plan.stages if stage.part is not None for name in stage.nodes})
    wanted = Counter(node.name for node in graph.nodes)
    if placed != wanted:
        parts = {"missing": wanted - placed, "double or unknown": placed - wanted}
        found = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)
        raise PlanError(
            f"the stages do not hold every layer of {graph.name} once: {found}",
            where=where,
            remedy="mend the file, or let the planner make one",
        )
