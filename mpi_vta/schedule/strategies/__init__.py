"""The strategies, one module and one line each, and the planner that runs one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mpi_vta.errors import PlanError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.cluster import Cluster
from mpi_vta.schedule.assembly import assemble
from mpi_vta.schedule.cost import Costs
from mpi_vta.schedule.plan import Plan
from mpi_vta.schedule.problem import Draft, Problem
from mpi_vta.schedule.strategies import fused, pipeline, scatter_gather

Strategy = Callable[[Problem], Draft]

STRATEGIES: Mapping[str, Strategy] = {
    "pipeline": pipeline.place,
    "scatter-gather": scatter_gather.place,
    "fused": fused.place,
}


def make_plan(
    strategy: str,
    graph: Graph,
    cluster: Cluster,
    ranks: int,
    images: int,
    costs: Costs,
    stages: int | None = None,
) -> Plan:
    """Spread a model over boards.

    Parameters
    ----------
    strategy : str
        A key of `STRATEGIES`.
    graph : Graph
        The int8 graph.
    cluster : Cluster
        At least `ranks` boards.
    ranks : int
        Boards to use, the cluster's first ones.
    images : int
        Images of the job, at least 1: predicted figures are for that many.
    costs : Costs
        `mpi_vta.schedule.cost.open_costs(graph)`, shared between calls.
    stages : int, optional
        Use exactly that many stages.

    Raises
    ------
    PlanError
        If the strategy is unknown, a number is out of range, or the model cannot be spread so.
    ConfigError
        If the cluster has fewer boards than ranks.
    """
    name = strategy.replace("_", "-")
    if name not in STRATEGIES:
        raise PlanError("no such strategy", where=f"--strategy {strategy}", allowed=", ".join(STRATEGIES))
    if images < 1:
        raise PlanError(f"{images} images", where="--images", allowed="1 or more")
    if ranks < 1:
        raise PlanError(f"{ranks} ranks", where="--ranks", allowed="1 or more")
    if stages is not None:
        _check_stages(stages, graph, ranks)
    problem = Problem(graph, cluster.first(ranks), images, costs, stages)
    return assemble(problem, STRATEGIES[name](problem), name)


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
