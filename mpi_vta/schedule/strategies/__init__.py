"""The strategies, one module and one line each, and the planner that runs one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mpi_vta.errors import PlanError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.plan import Plan
from mpi_vta.schedule.assembly import assemble
from mpi_vta.schedule.by_hand import ByHand
from mpi_vta.schedule.cost import Costs
from mpi_vta.schedule.load import bottleneck
from mpi_vta.schedule.memory import MemoryShortage
from mpi_vta.schedule.problem import OBJECTIVES, Draft, Problem
from mpi_vta.schedule.strategies import core_assignment, fused, pipeline, scatter_gather

Strategy = Callable[[Problem], Draft]

STRATEGIES: Mapping[str, Strategy] = {
    "pipeline": pipeline.place,
    "scatter-gather": scatter_gather.place,
    "fused": fused.place,
    "core-assignment": core_assignment.place,
}
AUTO = "auto"
# Those that cut the model, and so can take borders and numbers of boards from the user
CUTTING = ("pipeline", "fused")


def make_plan(
    strategy: str,
    graph: Graph,
    cluster: Cluster,
    ranks: int,
    images: int,
    costs: Costs,
    stages: int | None = None,
    objective: str = "throughput",
    by_hand: ByHand | None = None,
    in_flight: int | None = None,
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
    by_hand : ByHand, optional
        Stage borders and numbers of boards to keep to.
    in_flight : int, optional
        Image groups under way at a time; by default the fewest that lose next to nothing of the throughput.

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
    if by_hand and name not in (*CUTTING, AUTO):
        raise PlanError(
            f"{name} does not cut the model into stages",
            where="--cut, --allocate",
            remedy=f"take --strategy {' or '.join(CUTTING)}",
        )
    problem = Problem(
        graph, cluster.first(ranks), images, costs, stages, objective, by_hand or ByHand(), in_flight=in_flight
    )
    problem.wish(replicas=True)
    return _best_plan(problem) if name == AUTO else plan_by(name, problem)


def plan_by(name: str, problem: Problem) -> Plan:
    """Return the plan of one strategy.

    Layers that turn out, compiled, not to fit a board's memory are ruled out as a stage there, and the
    strategy is asked again: so its choice is the best of what fits.

    Raises
    ------
    PlanError
        If the strategy finds nothing.
    """
    shortage: MemoryShortage | None = None
    while True:
        try:
            draft = STRATEGIES[name](problem)
        except PlanError as fault:
            # the first board that was too small says more than that nothing is left
            raise shortage or fault from None
        try:
            return assemble(problem, draft, name)
        except MemoryShortage as fault:
            if fault.stages <= problem.ruled_out:
                raise
            shortage = shortage or fault
            problem = replace(problem, ruled_out=problem.ruled_out | fault.stages)


def _best_plan(problem: Problem) -> Plan:
    """Return the best plan of all strategies and of one board; of equal ones that with the fewest boards."""
    plans: dict[str, Plan] = {}
    faults = []
    key, sign = OBJECTIVES[problem.objective]

    def merit(name: str) -> tuple[float, int]:
        return (sign * plans[name].predicted[key], -len(plans[name].ranks))

    def best_figures() -> Mapping[str, float]:
        return plans[max(plans, key=merit)].predicted

    for name in _candidates(problem):
        # A split takes long to compile: only if its boards' loads allow it to win
        if name == "core-assignment" and plans and not core_assignment.may_reach(problem, best_figures()):
            faults.append(f"no plan with {name}: the loads of its boards exclude that it is better (estimated)")
            continue
        try:
            plans[name] = plan_by(name, problem)
        except PlanError as fault:
            # what one strategy cannot do, another may
            faults.append(f"no plan with {name}: {fault}")
    if not plans:
        raise PlanError(" | ".join(faults), where="--strategy auto")
    whole = plans.get("scatter-gather")
    if whole and bottleneck(plans[max(plans, key=merit)], problem.network)[1] != "vta":
        for ranks in scatter_gather.ever_fewer(problem, whole.stages[0].ranks):
            boards = "rank 0 alone" if ranks == (0,) else f"scatter-gather on {len(ranks)}"
            plans[boards] = assemble(problem, scatter_gather.place(problem, ranks), "scatter-gather")
    best = max(plans, key=merit)
    others = ", ".join(f"{name} {plans[name].predicted[key]:.4g}" for name in plans if name != best)
    note = f"auto chose {best} for {key} {plans[best].predicted[key]:.4g} (modelled); {others}"
    return replace(plans[best], notes=(*plans[best].notes, *faults, note))


def _candidates(problem: Problem) -> list[str]:
    """Return the strategies that can meet what the user fixed."""
    if problem.by_hand or problem.stages not in (None, 1):
        # The whole model on every board is one stage, and parts of layers many: no answer to a wish for several
        return list(CUTTING)
    if problem.objective == "latency":
        # There fused is core assignment, as images go one at a time
        return [name for name in STRATEGIES if name != "fused"]
    return list(STRATEGIES)


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
