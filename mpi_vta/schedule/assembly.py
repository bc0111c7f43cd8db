"""From a strategy's draft to a complete plan: costs, messages, in-flight limit, predicted figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mpi_vta.errors import PlanError
from mpi_vta.hw.energy import Usage, job_energy, peak_power_w
from mpi_vta.plans.notes import Note
from mpi_vta.plans.plan import Plan, Stage
from mpi_vta.plans.resources import NIC_IN, NIC_OUT, RESOURCE_LABELS, VTA
from mpi_vta.schedule.advice import reasons
from mpi_vta.schedule.figures import group_count
from mpi_vta.schedule.load import bottleneck
from mpi_vta.schedule.memory import most_in_flight
from mpi_vta.schedule.predict import Prediction, predict
from mpi_vta.schedule.problem import Draft, Placement, Problem
from mpi_vta.schedule.split.traffic import assembled_bytes, find_traffic
from mpi_vta.schedule.validate import check_shares, edges_between, validate
from mpi_vta.text_table import counted

# A window of fewer groups is taken if it loses no more of the throughput than this
WINDOW_LOSS = 0.005
# Groups over which the window is chosen: more would not change it
WINDOW_GROUPS = 96
# Fewer where there are many messages per group, as each costs the planner time
WINDOW_MESSAGES = 20_000


def assemble(problem: Problem, draft: Draft, strategy: str) -> Plan:
    """Return the plan of a draft with exact stage costs and predicted figures.

    Raises
    ------
    PlanError
        If the draft breaks a rule, or more groups are to be in flight than the boards' memory holds.
    MemoryShortage
        If a board's memory does not suffice.
    """
    plan = compose(problem, draft, strategy)
    validate(plan, problem.graph, problem.ranks, problem.layout_config)
    plan = replace(plan, in_flight_groups=_window(problem, plan, most_in_flight(problem, plan)))
    bound = plan.group_images * 1e9 / float(bottleneck(plan, problem.network)[2])
    prediction = predict(plan, problem.network, problem.images, bound_images_per_s=bound)
    plan = replace(plan, predicted=_figures(problem, plan, prediction, bound))
    return replace(plan, notes=(*plan.notes, *_warnings(problem, plan)))


def compose(problem: Problem, draft: Draft, strategy: str) -> Plan:
    """Return the plan of a draft with stage costs and messages, one image group in flight, nothing predicted.

    Raises
    ------
    PlanError
        If parts of layers are not disjoint and complete.
    """
    config = problem.layout_config
    check_shares(draft.placements, problem.graph, config.block)
    traffic = find_traffic(problem.graph, draft.placements, config)
    copied = assembled_bytes(traffic, draft.placements)
    stages = tuple(
        replace(
            _stage(problem, index, placement),
            part=traffic.part(index, placement.share),
            assemble_ns=_assemble_ns(problem, index, placement, copied),
        )
        for index, placement in enumerate(draft.placements)
    )
    return Plan(problem.graph.name, strategy, config.batch, stages, traffic.edges, 1, {}, draft.notes, traffic.shapes)


def one_board_ns(problem: Problem, rank: int) -> int:
    """Return the time of one image group when one board runs the whole model, images gathered meanwhile."""
    stage = _whole_model(problem, rank)
    return max(stage.compute_ns[0], stage.host_ns[0])


def one_image_ns(problem: Problem, rank: int) -> int:
    """Return how long one image group takes on one board with the whole model, nothing overlapping."""
    stage = _whole_model(problem, rank)
    return stage.compute_ns[0] + stage.host_ns[0]


def _whole_model(problem: Problem, rank: int) -> Stage:
    return _stage(problem, 0, Placement(tuple(node.name for node in problem.graph.nodes), (rank,)))


def _stage(problem: Problem, index: int, placement: Placement) -> Stage:
    boards = [problem.cluster.boards[rank] for rank in placement.ranks]
    costs = [problem.costs.stage(placement.nodes, board.config, placement.share) for board in boards]
    compute_ns = tuple(board.compute_ns(cost.cycles) for board, cost in zip(boards, costs, strict=True))
    host_ns = tuple(board.pack_ns(cost.gathered_bytes) for board, cost in zip(boards, costs, strict=True))
    return Stage(index, placement.nodes, placement.ranks, costs[0].cycles, compute_ns, host_ns, placement.turns)


def _assemble_ns(
    problem: Problem, index: int, placement: Placement, copied: Mapping[tuple[int, int], int]
) -> tuple[int, ...]:
    times = tuple(problem.cluster.boards[rank].pack_ns(copied.get((index, rank), 0)) for rank in placement.ranks)
    return times if any(times) else ()


def _window(problem: Problem, plan: Plan, most: int) -> int:
    """Return the groups in flight that the user wants, or the fewest, up to `most`, that lose next to nothing.

    More would only add latency.
    """
    if problem.in_flight is not None:
        if not 1 <= problem.in_flight <= most:
            raise PlanError(
                f"{counted(problem.in_flight, 'image group')} in flight",
                where="--in-flight",
                allowed=f"1..{most}, what the boards' memory holds",
            )
        return problem.in_flight
    if problem.objective == "latency":
        return 1
    affordable = max(WINDOW_MESSAGES // max(len(plan.edges), 1), 1)
    groups = min(group_count(problem.images, plan.group_images), WINDOW_GROUPS, affordable)
    images = groups * plan.group_images

    def makespan_ns(window: int) -> int:
        return predict(replace(plan, in_flight_groups=window), problem.network, images).figures.makespan_ns

    # Each stage and each message may hold one group per rank, and rank 0 two more
    low, high = 1, min(most, groups, 4 * max(len(plan.stages), len(plan.ranks)) + 4)
    limit_ns = makespan_ns(high) * (1 + WINDOW_LOSS)
    while low < high:
        middle = (low + high) // 2
        if makespan_ns(middle) <= limit_ns:
            high = middle
        else:
            low = middle + 1
    return low


def _figures(problem: Problem, plan: Plan, prediction: Prediction, bound_images_per_s: float) -> dict[str, float]:
    """Return the predicted figures; `ideal` adds up what every board would do alone with the whole model."""
    figures = prediction.figures
    alone = [plan.group_images * 1e9 / one_board_ns(problem, rank) for rank in range(problem.ranks)]
    one_board = predict_one_board(problem)
    steady = figures.steady_images_per_s
    return {
        "images": float(problem.images),
        "throughput_images_per_s": figures.throughput_images_per_s,
        **({} if steady is None else {"steady_images_per_s": steady}),
        "bound_images_per_s": bound_images_per_s,
        "latency_alone_ms": predict(plan, problem.network, plan.group_images).figures.latency_p50_ms,
        "latency_ms": figures.latency_p50_ms,
        "latency_p99_ms": figures.latency_p99_ms,
        "makespan_ms": figures.makespan_ns / 1e6,
        "one_board_images_per_s": one_board,
        "speedup": figures.throughput_images_per_s / one_board,
        "ideal_images_per_s": sum(alone),
        "ideal_fraction": figures.throughput_images_per_s / sum(alone),
        **_energy_figures(problem, prediction),
    }


def _warnings(problem: Problem, plan: Plan) -> tuple[Note, ...]:
    """Return what speaks against the plan: boards that lose, a network or processor that sets the pace, bounds."""
    warnings = []
    figures = plan.predicted
    split = any(stage.part is not None for stage in plan.stages)
    if problem.objective == "latency" and not split:
        least_ms = min(one_image_ns(problem, rank) for rank in range(problem.ranks)) / 1e6
        warnings.append(Note("whole layers", least_ms=least_ms))
    if len(plan.ranks) == 1:
        return tuple(warnings)
    if figures["speedup"] < 1 and problem.objective == "throughput":
        rates = {"images_per_s": figures["throughput_images_per_s"], "one_board": figures["one_board_images_per_s"]}
        warnings.append(Note("slower", boards=len(plan.ranks), **rates))
    rank, resource, period_ns = bottleneck(plan, problem.network)
    if resource != VTA:
        label, period_ms = RESOURCE_LABELS[resource], float(period_ns) / 1e6
        warnings.append(Note("pace", resource=label, rank=rank, period_ms=period_ms))
    return tuple(warnings) if split else (*warnings, *reasons(problem, plan))


def predict_one_board(problem: Problem) -> float:
    """Return the predicted images per second of rank 0's board alone, for as many images."""
    stage = _whole_model(problem, 0)
    edges = edges_between(problem.graph, [stage.nodes], problem.layout_config)
    plan = Plan(problem.graph.name, "one board", problem.layout_config.batch, (stage,), edges, 2)
    return predict(plan, problem.network, problem.images).figures.throughput_images_per_s


def _energy_figures(problem: Problem, prediction: Prediction) -> dict[str, float]:
    """Return the modelled energy figures of the job; boards without layers idle."""
    powers = [board.power for board in problem.cluster.boards]
    network = problem.cluster.power
    usages = {rank: Usage(spent[VTA], spent[NIC_OUT] + spent[NIC_IN]) for rank, spent in prediction.busy_ns.items()}
    energy = job_energy(powers, network, usages, prediction.figures.makespan_ns)
    return {**energy.figures(problem.images), "peak_power_w": peak_power_w(powers, network, usages)}
