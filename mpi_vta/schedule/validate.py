"""Whether a plan, planned or edited by hand, computes its model: checked before anything is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mpi_vta.errors import PlanError
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.window import Window
from mpi_vta.hw.config import VTAConfig
from mpi_vta.plans.faults import number_faults
from mpi_vta.plans.plan import SINK, SOURCE, Edge, Plan, Stage
from mpi_vta.schedule.split.traffic import Placed, WholeLayers, find_traffic

_REMEDY = "mend the file, or let the planner make one"


def edges_between(graph: Graph, stages: Sequence[Sequence[str]], config: VTAConfig) -> tuple[Edge, ...]:
    """Return every message that a division of a graph into stages needs.

    Parameters
    ----------
    graph : Graph
        An int8 graph.
    stages : sequence of sequences of str
        Node names per stage.
    config : VTAConfig
        Gives the GEMM batch and block, on which the layout of a message depends.

    Returns
    -------
    tuple of Edge
        Ordered by (consumer, producer, value).
    """
    return find_traffic(graph, [WholeLayers(tuple(names)) for names in stages], config).edges


def validate(plan: Plan, graph: Graph, ranks: int, config: VTAConfig) -> None:
    """Check a plan against its model and the number of ranks; every fault is listed at once.

    Raises
    ------
    PlanError
        If a node is missing, double or out of order, a message is missing, wrong or too many, a rank
        does not exist, or a number is out of range.
    """
    faults = _node_faults(plan, graph)
    if not faults:
        faults = _order_faults(plan, graph) + _edge_faults(plan, graph, config)
    faults += number_faults(plan, ranks)
    if plan.model != graph.name:
        faults.append(f"it is for model {plan.model} (allowed: {graph.name})")
    if plan.group_images != config.batch:
        faults.append(f"group_images is {plan.group_images} (allowed: {config.batch}, the GEMM batch)")
    if faults:
        raise PlanError(
            "the plan cannot be run: " + " | ".join(faults),
            where=f"plan of {plan.model}",
            remedy=_REMEDY,
        )


def _node_faults(plan: Plan, graph: Graph) -> list[str]:
    known = [node.name for node in graph.nodes]
    runs = _runs(plan)
    count = Counter(name for run in runs for name in run[0].nodes)
    faults = [f"node {name} is in no stage" for name in known if count[name] == 0]
    faults += [f"node {name} is there {times} times" for name, times in count.items() if times > 1]
    faults += [f"node {name} is not in the model" for name in count if name not in set(known)]
    faults += [f"stage {stage.index} is at position {i}" for i, stage in enumerate(plan.stages) if stage.index != i]
    faults += [f"stage {stage.index} has no nodes" for stage in plan.stages if not stage.nodes]
    return faults


def _runs(plan: Plan) -> list[list[Stage]]:
    """Return the stages, parts of the same layers that follow each other together."""
    runs: list[list[Stage]] = []
    for stage in plan.stages:
        if runs and stage.share is not None and runs[-1][0].share is not None and runs[-1][0].nodes == stage.nodes:
            runs[-1].append(stage)
        else:
            runs.append([stage])
    return runs


def _order_faults(plan: Plan, graph: Graph) -> list[str]:
    position = {name: (run[0].index, i) for run in _runs(plan) for i, name in enumerate(run[0].nodes)}
    return [
        f"node {node.name} comes before {graph.producer[value].name}, whose result it needs"
        for node in graph.nodes
        for value in node.inputs
        if value in graph.producer and position[graph.producer[value].name] > position[node.name]
    ]


def check_shares(stages: Sequence[Placed], graph: Graph, block: int) -> None:
    """Check that parts are whole blocks of channels on one rank each, disjoint, and all of their layers' result.

    Raises
    ------
    PlanError
        With every fault.
    """
    faults = _share_faults(stages, graph, block)
    if faults:
        raise PlanError("the plan cannot be run: " + " | ".join(faults), where=f"plan of {graph.name}", remedy=_REMEDY)


def _share_faults(stages: Sequence[Placed], graph: Graph, block: int) -> list[str]:
    made_by = {node.name: graph.values[node.output].shape for node in graph.nodes}
    runs: dict[tuple[str, ...], list[tuple[int, Window]]] = {}
    faults = []
    for index, stage in enumerate(stages):
        if stage.share is None:
            continue
        runs.setdefault(stage.nodes, []).append((index, stage.share))
        if len(stage.ranks) != 1:
            faults.append(f"stage {index}, a part, is on {len(stage.ranks)} ranks (allowed: one)")
    for nodes, parts in runs.items():
        whole = Window.whole(made_by[nodes[-1]])
        for index, share in parts:
            where = f"the share of stage {index}, {_window_text(share)},"
            if whole & share != share:
                faults.append(f"{where} leaves its result (allowed: within {_window_text(whole)})")
            if share.channels[0] % block or (share.channels[1] % block and share.channels[1] != whole.channels[1]):
                faults.append(f"{where} cuts a block of channels (allowed: multiples of {block})")
        common = any(a & b for i, (_, a) in enumerate(parts) for _, b in parts[:i])
        if common or sum(share.area for _, share in parts) != whole.area:
            faults.append(f"the parts of {nodes[-1]} overlap or are not all of it")
    return faults


def _edge_faults(plan: Plan, graph: Graph, config: VTAConfig) -> list[str]:
    faults = _share_faults(plan.stages, graph, config.block)
    if faults:
        return faults
    traffic = find_traffic(graph, plan.stages, config)
    wanted, have = set(traffic.edges), set(plan.edges)
    faults = [f"missing edge {_shown(edge)}" for edge in traffic.edges if edge not in have]
    faults += [f"edge {_shown(edge)} is not needed" for edge in plan.edges if edge not in wanted]
    if not faults and plan.edges != traffic.edges:
        faults.append("edges are double or out of order (allowed: by consumer, producer, value, window)")
    for stage in plan.stages:
        if stage.part != traffic.part(stage.index, stage.share):
            faults.append(f"stage {stage.index} does not hold the windows that its share needs")
    if plan.shapes != traffic.shapes:
        faults.append("the shapes are not those of the values that travel in pieces")
    return faults


def _shown(edge: Edge) -> str:
    names = {SOURCE: "source", SINK: "sink"}
    ends = [names.get(place, f"stage {place}") for place in (edge.producer, edge.consumer)]
    piece = "" if edge.window is None else f"{_window_text(edge.window)}, "
    return f"{edge.value} ({ends[0]} to {ends[1]}, {piece}{edge.size_bytes} bytes)"


def _window_text(window: Window) -> str:
    (row, end_row), (channel, end_channel) = window.rows, window.channels
    return f"rows {row}..{end_row - 1}, channels {channel}..{end_channel - 1}"
