"""The strategies, one module and one line each, and the planner that runs one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mpi_vta.errors import PlanError, unknown_name
from mpi_vta.plans.figures import OBJECTIVES
from mpi_vta.plans.notes import Note
from mpi_vta.plans.plan import Plan
from mpi_vta.plans.resources import VTA
from mpi_vta.schedule.assembly import assemble
from mpi_vta.schedule.load import bottleneck
from mpi_vta.schedule.memory import MemoryShortage
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.strategies import core_assignment, fused, pipeline, scatter_gather
from mpi_vta.schedule.strategy import Strategy

STRATEGIES: Mapping[str, Strategy] = {
    module.STRATEGY.name: module.STRATEGY for module in (pipeline, scatter_gather, fused, core_assignment)
}
AUTO = "auto"
# without a wish of the user, and where he gives a stage several boards
DEFAULT = next(name for name, strategy in STRATEGIES.items() if strategy.cuts)
DEFAULT_REPLICATING = next(name for name, strategy in STRATEGIES.items() if strategy.cuts and strategy.replicates)


def make_plan(strategy: str, problem: Problem) -> Plan:
    """Spread a model over boards.

    Parameters
    ----------
    strategy : str
        A key of `STRATEGIES`, or ``auto`` for the one whose plan is predicted best.
    problem : Problem
        Model, boards, images, and what the user fixed.

    Raises
    ------
    PlanError
        If the strategy is unknown, or the model cannot be spread so.
    """
    name = strategy.replace("_", "-")
    names = (*STRATEGIES, AUTO)
    if name not in names:
        raise unknown_name(PlanError, "no such strategy", where=f"--strategy {strategy}", name=name, known=names)
    if problem.by_hand and name != AUTO and not STRATEGIES[name].cuts:
        cutting = " or ".join(other.name for other in STRATEGIES.values() if other.cuts)
        raise PlanError(
            f"{name} does not cut the model into stages",
            where="--cut, --allocate",
            remedy=f"take --strategy {cutting}",
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
            draft = STRATEGIES[name].place(problem)
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

    for strategy in _candidates(problem):
        if plans and not strategy.may_win(problem, plans[max(plans, key=merit)].predicted):
            faults.append(Note("strategy excluded", strategy=strategy.name))
            continue
        try:
            plans[strategy.name] = plan_by(strategy.name, problem)
        except PlanError as fault:
            # what one strategy cannot do, another may
            faults.append(Note("strategy fails", strategy=strategy.name, fault=str(fault)))
    if not plans:
        raise PlanError(" | ".join(map(str, faults)), where=f"--strategy {AUTO}")
    if bottleneck(plans[max(plans, key=merit)], problem.network)[1] != VTA:
        for strategy in [STRATEGIES[name] for name in plans]:
            for name, draft in strategy.fewer_boards(problem, plans[strategy.name]):
                plans[name] = assemble(problem, draft, strategy.name)
    best = max(plans, key=merit)
    others = [Note("other", strategy=name, value=plans[name].predicted[key]) for name in plans if name != best]
    value = plans[best].predicted[key]
    note = Note("chosen", chooser=AUTO, strategy=best, figure=key, value=value, others=others)
    return replace(plans[best], notes=(*plans[best].notes, *faults, note))


def _candidates(problem: Problem) -> list[Strategy]:
    """Return the strategies that can meet what the user fixed."""
    if problem.by_hand or problem.stages not in (None, 1):
        # The whole model on every board is one stage, and parts of layers many: no answer to a wish for several
        return [strategy for strategy in STRATEGIES.values() if strategy.cuts]
    if problem.objective == "latency":
        return [strategy for strategy in STRATEGIES.values() if strategy.for_latency]
    return list(STRATEGIES.values())
