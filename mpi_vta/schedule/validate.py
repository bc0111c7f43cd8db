"""Whether a plan, planned or edited by hand, computes its model: checked before anything is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mpi_vta.errors import PlanError
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.layout import packed_bytes
from mpi_vta.hw.config import VTAConfig
from mpi_vta.schedule.plan import SINK, SOURCE, Edge, Plan


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
    stage_of = {name: index for index, names in enumerate(stages) for name in names}
    edges = set()
    for value_name, value in graph.values.items():
        node = graph.producer.get(value_name)
        producer = SOURCE if node is None else stage_of[node.name]
        consumers = {stage_of[reader.name] for reader in graph.consumers[value_name]}
        if value_name in graph.outputs:
            consumers.add(SINK)
        if producer == SOURCE:
            _, channels, height, width = value.shape
            size_bytes = config.batch * channels * height * width
        else:
            size_bytes = packed_bytes(value.shape, config)
        edges |= {Edge(value_name, producer, consumer, size_bytes) for consumer in consumers - {producer}}
    return tuple(sorted(edges, key=lambda edge: (edge.consumer, edge.producer, edge.value)))


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
    faults += _number_faults(plan, ranks)
    if plan.model != graph.name:
        faults.append(f"it is for model {plan.model} (allowed: {graph.name})")
    if plan.group_images != config.batch:
        faults.append(f"group_images is {plan.group_images} (allowed: {config.batch}, the GEMM batch)")
    if faults:
        raise PlanError(
            "the plan cannot be run: " + " | ".join(faults),
            where=f"plan of {plan.model}",
            remedy="mend the file, or let the planner make one",
        )


def _node_faults(plan: Plan, graph: Graph) -> list[str]:
    known = [node.name for node in graph.nodes]
    count = Counter(name for stage in plan.stages for name in stage.nodes)
    faults = [f"node {name} is in no stage" for name in known if count[name] == 0]
    faults += [f"node {name} is there {times} times" for name, times in count.items() if times > 1]
    faults += [f"node {name} is not in the model" for name in count if name not in set(known)]
    faults += [f"stage {stage.index} is at position {i}" for i, stage in enumerate(plan.stages) if stage.index != i]
    faults += [f"stage {stage.index} has no nodes" for stage in plan.stages if not stage.nodes]
    return faults


def _order_faults(plan: Plan, graph: Graph) -> list[str]:
    position = {name: (stage.index, i) for stage in plan.stages for i, name in enumerate(stage.nodes)}
    return [
        f"node {node.name} comes before {graph.producer[value].name}, whose result it needs"
        for node in graph.nodes
        for value in node.inputs
        if value in graph.producer and position[graph.producer[value].name] > position[node.name]
    ]


def _edge_faults(plan: Plan, graph: Graph, config: VTAConfig) -> list[str]:
    wanted = edges_between(graph, [stage.nodes for stage in plan.stages], config)
    faults = [f"missing edge {_shown(edge)}" for edge in wanted if edge not in plan.edges]
    faults += [f"edge {_shown(edge)} is not needed" for edge in plan.edges if edge not in wanted]
    if not faults and plan.edges != wanted:
        faults.append("edges are double or out of order (allowed: by consumer, producer, value)")
    return faults


def _number_faults(plan: Plan, ranks: int) -> list[str]:
    faults = []
    if plan.in_flight_groups < 1:
        faults.append(f"in_flight_groups is {plan.in_flight_groups} (allowed: 1 or more)")
    for stage in plan.stages:
        replicas = len(stage.ranks)
        bad = [rank for rank in stage.ranks if not 0 <= rank < ranks]
        if not replicas:
            faults.append(f"stage {stage.index} has no rank")
        if bad:
            faults.append(f"stage {stage.index} is on rank {bad[0]} (allowed: 0..{ranks - 1}; start more ranks)")
        if len(set(stage.ranks)) != replicas:
            faults.append(f"stage {stage.index} has a rank twice")
        if not len(stage.compute_ns) == len(stage.host_ns) == replicas:
            faults.append(f"stage {stage.index} needs one compute_ns and one host_ns per rank")
        if any(not 0 <= turn < replicas for turn in stage.turns) or (stage.turns and len({*stage.turns}) < replicas):
            faults.append(
                f"stage {stage.index} has turns {stage.turns} (allowed: each of 0..{replicas - 1} at least once)"
            )
        if min((*stage.host_ns, stage.cycles), default=0) < 0:
            faults.append(f"stage {stage.index} has a negative time")
        if min(stage.compute_ns, default=1) < 1:
            faults.append(f"stage {stage.index} has a compute_ns below 1")
    return faults


def _shown(edge: Edge) -> str:
    names = {SOURCE: "source", SINK: "sink"}
    ends = [names.get(place, f"stage {place}") for place in (edge.producer, edge.consumer)]
    return f"{edge.value} ({ends[0]} to {ends[1]}, {edge.size_bytes} bytes)"
