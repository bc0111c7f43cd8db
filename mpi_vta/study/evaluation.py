"""The figures of one point: planned and predicted, or why that is not possible; everything is modelled."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from mpi_vta.errors import CompileError, ConfigError, PlanError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.energy import Usage, job_energy
from mpi_vta.hw.enumeration import check_build
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import is_shipped
from mpi_vta.job.several import labels_of, part_of, share_cluster
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.notes import SPLIT_BOUND
from mpi_vta.plans.plan import Plan
from mpi_vta.schedule.cost import CompiledCosts
from mpi_vta.schedule.load import bottleneck, usages
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.strategies import make_plan
from mpi_vta.study.points import Point
from mpi_vta.trace.study_rows import TABLES, BoardTypeRow, ModelRow, PointRow


def evaluate(point: Point, costs: Mapping[str, CompiledCosts]) -> PointRow:
    """Return a point's row, and with it those of its models and types of board.

    What makes the point impossible is the row's ``reason``: too few boards, a build that does not suit them,
    layers that do not compile or fit, or a strategy that finds nothing.

    Parameters
    ----------
    point : Point
        What to plan.
    costs : mapping of str to CompiledCosts
        By model.
    """
    row = PointRow(
        point=point.index,
        models="+".join(point.model_names),
        cluster=point.cluster.name,
        boards=point.boards,
        config=point.config_names,
        strategy=point.strategy,
        objective=point.objective,
        images=point.images,
    )
    try:
        cluster = point.built_cluster()
        parts, plans = _plans(point, cluster, [costs[model] for model in point.models])
    except (ConfigError, CompileError, PlanError) as fault:
        return replace(row, reason=str(fault))
    network = NetworkModel.of(cluster)
    used = {
        ranks[place]: usage
        for ranks, plan in zip(parts, plans, strict=True)
        for place, usage in usages(plan, network, point.images).items()
    }
    makespan_ns = max(round(plan.predicted["makespan_ms"] * 1e6) for plan in plans)
    energy = job_energy([board.power for board in cluster.boards], cluster.power, used, makespan_ns)
    figures: dict[str, Any] = {
        **_figures(point, plans, makespan_ns / 1e6),
        **energy.figures(point.images * len(plans)),
        "peak_power_w": _peak_w(cluster, plans),
    }
    return replace(
        row,
        valid=True,
        fit_doubt=_fit_doubt(point, cluster),
        notes=" | ".join(str(note) for plan in plans for note in plan.notes),
        parts=tuple(
            _model_row(name, ranks, plan, part_of(cluster, ranks))
            for name, ranks, plan in zip(labels_of(point.models), parts, plans, strict=True)
        ),
        types=_board_types(cluster, used, makespan_ns),
        **figures,
    )


def _plans(
    point: Point, cluster: Cluster, costs: Sequence[CompiledCosts]
) -> tuple[tuple[tuple[int, ...], ...], list[Plan]]:
    """Return each model's ranks and plan."""
    parts = share_cluster(costs, labels_of(point.models), cluster, None)
    plans = [
        make_plan(
            point.strategy,
            Problem(cost.graph, part_of(cluster, ranks), point.images, cost, objective=point.objective),
        )
        for cost, ranks in zip(costs, parts, strict=True)
    ]
    return parts, plans


def _fit_doubt(point: Point, cluster: Cluster) -> str:
    """Return why parts may be too small for the point's build; nothing if they surely are not."""
    found = []
    for board in dict.fromkeys(cluster.boards) if point.build is not None else ():
        if is_shipped("parts", board.part):
            resources = check_build(board.config, load_part(board.part), board.clock_mhz).resources
            if resources is not None and resources.doubt:
                found.append(f"{resources.doubt} that {board.part} has (modelled)")
    return "; ".join(dict.fromkeys(found))


def _peak_w(cluster: Cluster, plans: Sequence[Plan]) -> float:
    """Return a bound on the power at once: of several models the sum of theirs, the switch counted once."""
    together = math.fsum(plan.predicted["peak_power_w"] for plan in plans)
    return together - (len(plans) - 1) * cluster.power.switch_w


def _figures(point: Point, plans: Sequence[Plan], makespan_ms: float) -> dict[str, Any]:
    """Return the figures of a job; of several models together the sum of rates and the worst latency."""
    alone = plans[0].predicted if len(plans) == 1 else {}
    predicted = [plan.predicted for plan in plans]
    images = point.images * len(plans)
    return {
        "strategy_used": "+".join(plan.strategy for plan in plans),
        "boards_used": sum(len({rank for stage in plan.stages for rank in stage.ranks}) for plan in plans),
        "throughput_images_per_s": images * 1e3 / makespan_ms if len(plans) > 1 else alone["throughput_images_per_s"],
        "steady_images_per_s": math.fsum(figures.get("steady_images_per_s", math.nan) for figures in predicted),
        "latency_alone_ms": max(figures["latency_alone_ms"] for figures in predicted),
        "latency_ms": max(figures["latency_ms"] for figures in predicted),
        "latency_p99_ms": max(figures["latency_p99_ms"] for figures in predicted),
        "makespan_ms": makespan_ms,
        "speedup": alone.get("speedup", math.nan),
        "ideal_fraction": alone.get("ideal_fraction", math.nan),
        "stages": sum(len(plan.stages) for plan in plans),
        "in_flight_groups": max(plan.in_flight_groups for plan in plans),
        "cycles": sum(stage.cycles for plan in plans for stage in plan.stages),
    }


def _model_row(name: str, ranks: tuple[int, ...], plan: Plan, cluster: Cluster) -> ModelRow:
    rank, resource, period_ns = bottleneck(plan, NetworkModel.of(cluster))
    known = {column.name for column in TABLES["models"]} & plan.predicted.keys()
    figures: dict[str, Any] = {name: plan.predicted[name] for name in known}
    for note in plan.notes:
        if note.what == SPLIT_BOUND:
            figures |= {f"split_{name}": value for name, value in note.values.items()}
    return ModelRow(
        model=name,
        ranks=",".join(map(str, ranks)),
        strategy_used=plan.strategy,
        bottleneck_rank=ranks[rank],
        bottleneck=resource,
        period_ms=float(period_ns) / plan.group_images / 1e6,
        division=division_text(plan),
        plan_sha256=hashlib.sha256(plan.to_json().encode()).hexdigest(),
        **figures,
    )


def _board_types(cluster: Cluster, used: Mapping[int, Usage], makespan_ns: int) -> tuple[BoardTypeRow, ...]:
    ranks_of: dict[str, list[int]] = {}
    for rank, board in enumerate(cluster.boards):
        ranks_of.setdefault(board.name, []).append(rank)
    busy_ns = [used.get(rank, Usage()).vta_ns for rank in range(len(cluster.boards))]
    return tuple(
        BoardTypeRow(
            board=name,
            boards=len(ranks),
            boards_used=sum(busy_ns[rank] > 0 for rank in ranks),
            vta_busy=sum(busy_ns[rank] for rank in ranks) / len(ranks) / makespan_ns,
        )
        for name, ranks in ranks_of.items()
    )


def division_text(plan: Plan) -> str:
    """Return the runs of layers in order, with how many boards each has: ``conv1..layer1.1 x2; layer2.0..fc``."""
    texts = []
    for nodes, stages in groupby(plan.stages, key=lambda stage: stage.nodes):
        same = list(stages)
        layers = nodes[0] if len(nodes) == 1 else f"{nodes[0]}..{nodes[-1]}"
        if same[0].part is not None:
            texts.append(f"{layers} in {len(same)} parts")
        else:
            boards = len(same[0].ranks)
            texts.append(f"{layers} x{boards}" if boards > 1 else layers)
    return "; ".join(texts)
