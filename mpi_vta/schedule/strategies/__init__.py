"""The strategies, one module and one line each, and the planner that runs one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mpi_vta.errors import PlanError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.cluster import Cluster
from mpi_vta.schedule.assembly import assemble
from mpi_vta.schedule.cost import Costs
from mpi_vta.schedule.plan import Plan
from mpi_vta.schedule.problem import OBJECTIVES, Draft, Problem
from mpi_vta.schedule.strategies import fused, pipeline, scatter_gather

Strategy = Callable[[Problem], Draft]

STRATEGIES: Mapping[str, Strategy] = {
    "pipeline": pipeline.place,
    "scatter-gather": scatter_gather.place,
    "fused": fused.place,
}
AUTO = "auto"


def make_plan(
    strategy: str,
    graph: Graph,
    cluster: Cluster,
    ranks: int,
    images: int,
    costs: Costs,
    stages: int | None = None,
    objective: str = "throughput",
) -> Plan:
    """Spread a model over boards.

    Parameters
    ----------
    strategy : str
        A key of `STRATEGIES`, or ``auto`` for the one whose plan is predicted best.
    graph : Graph
        The int8 graph.
    cluster : Cluster
        At least `ranks` boards.
    ranks : int
        Boards to use, the cluster's first ones.
    images : int
        Images of the job, at least 1: predicted figures are for that many.
    costs : Costs
        Of the same graph: `mpi_vta.schedule.cost.CompiledCosts`.
    stages : int, optional
        Use exactly that many stages.
    objective : str
        What ``auto`` compares, a key of `mpi_vta.schedule.problem.OBJECTIVES`. For ``latency`` every
        strategy lets one image group in at a time.

    Raises
    ------
    PlanError
        If the strategy is unknown, a number is out of range, or the model cannot be spread so.
    ConfigError
        If the cluster has fewer boards than ranks.
    """
    name = strategy.replace("_", "-")
    if name not in (*STRATEGIES, AUTO):
        raise PlanError("no such strategy", where=f"--strategy {strategy}", allowed=", ".join((*STRATEGIES, AUTO)))
    if objective not in OBJECTIVES:
        raise PlanError("no such objective", where=f"--objective {objective}", allowed=", ".join(OBJECTIVES))
    if images < 1:
        raise PlanError(f"{images} images", where="--images", allowed="1 or more")
    if ranks < 1:
        raise PlanError(f"{ranks} ranks", where="--ranks", allowed="1 or more")
    if stages is not None:
        _check_stages(stages, graph, ranks)
    problem = Problem(graph, cluster.first(ranks), images, costs, stages, objective)
    return _best_plan(problem) if name == AUTO else assemble(problem, STRATEGIES[name](problem), name)


def _best_plan(problem: Problem) -> Plan:
    """Return the best plan of all strategies for the objective; of equal ones that with the fewest boards."""
    # The whole model on every board is one stage: no answer to a wish for several
    wanted = [name for name in STRATEGIES if name != "scatter-gather" or problem.stages in (None, 1)]
    plans = {name: assemble(problem, STRATEGIES[name](problem), name) for name in wanted}
    key, sign = OBJECTIVES[problem.objective]
    best = max(plans, key=lambda name: (sign * plans[name].predicted[key], -len(plans[name].ranks)))
    others = ", ".join(f"{name} {plans[name].predicted[key]:.4g}" for name in plans if name != best)
    note = f"auto chose {best} for {key} {plans[best].predicted[key]:.4g} (modelled); {others}"
    return replace(plans[best], notes=(*plans[best].notes, note))


def _check_stages(stages: int, graph: Graph, ranks: int) -> None:
    if stages > len(graph.nodes):
        raise PlanError(
            f"{stages} stages but {graph.name} has only {len(graph.nodes)} layers",
            where="--stages",
            allowed=f"1..{len(graph.nodes)}",
        )
    if not 1 <= stages <= ranks:
        raise PlanError(
            f"{stages} stages on {ranks} ranks",
            where="--stages",
            allowed=f"1..{ranks}",
            remedy=f"start more ranks (mpirun -n {stages})" if stages > ranks else "",
        )
