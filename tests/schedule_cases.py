"""Graphs, costs and plans for the tests of the schedule room, made without compiler or simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.window import Window
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.plans.plan import Plan, Stage
from mpi_vta.schedule.cost import StageCost
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.strategies import make_plan
from mpi_vta.schedule.validate import edges_between, validate


def plan_with(strategy, graph, cluster, ranks, images, costs, stages=None, **wishes):
    """The plan on the first `ranks` boards of a cluster."""
    return make_plan(strategy, Problem(graph, cluster.first(ranks), images, costs, stages, **wishes))


SHAPE = (1, 16, 8, 8)
SUM_ATTRS = {"input_shifts": (0,), "leaky": None, "shift": 0, "lo": -128, "hi": 127}


def chain(count: int, skips: Mapping[int, int] | None = None, name: str = "chain") -> Graph:
    """`count` sums one after another; ``skips[i] = j`` makes node i read node j's result as well."""
    values = {"x": Value("x", (1, 3, 8, 8), "int8", 0)}
    nodes: list[Node] = []
    for i in range(count):
        inputs = [nodes[-1].output if nodes else "x"]
        if skips and i in skips:
            inputs.append(nodes[skips[i]].output)
        attrs = {**SUM_ATTRS, "input_shifts": (0,) * len(inputs)}
        nodes.append(Node(f"n{i}", "sum", tuple(inputs), f"v{i}", attrs, {}))
        values[f"v{i}"] = Value(f"v{i}", SHAPE, "int8", 0)
    return Graph(name, "int8", ("x",), (f"v{count - 1}",), tuple(nodes), values, {})


def pooled(count):
    """Pairs of a convolution and a pooling, one after another; the third convolution is read twice."""
    values = {"x": Value("x", SHAPE, "int8", 0)}
    nodes, last = [], "x"
    for i in range(count):
        conv = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "shift": 7, "lo": -128, "hi": 127}
        conv |= {"leaky": None, "residual_shift": 0, "groups": 1}
        pool = {"kernel": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}
        nodes.append(Node(f"c{i}", "conv2d", (last,), f"a{i}", conv, {"weight": "w", "bias": "b"}))
        nodes.append(Node(f"p{i}", "max_pool2d", (f"a{i}",), f"b{i}", pool, {}))
        values |= {name: Value(name, SHAPE, "int8", 0) for name in (f"a{i}", f"b{i}")}
        last = f"b{i}"
    constants = {"w": np.ones((16, 16, 3, 3), np.int8), "b": np.zeros(16, np.int32)}
    return Graph("pooled", "int8", ("x",), (last, "a2")[: 1 + (count > 2)], tuple(nodes), values, constants)


@dataclass
class FakeCosts:
    """Costs that add up: given cycles per node, a fixed part per stage."""

    graph: Graph
    cycles: Mapping[str, int]
    start_cycles: int = 0
    gathered_bytes: int = 0
    memory_bytes: int = 1000
    speed: Mapping[str, int] = field(default_factory=dict)

    def node_cycles(self, config: VTAConfig) -> Mapping[str, int]:
        return {name: spent // self.speed.get(config.target, 1) for name, spent in self.cycles.items()}

    def stage(self, nodes: tuple[str, ...], config: VTAConfig, share: Window | None = None) -> StageCost:
        per_node = self.node_cycles(config)
        reads_images = any(
            node.name in nodes and set(node.inputs) & set(self.graph.inputs) for node in self.graph.nodes
        )
        spent = sum(per_node[name] for name in nodes)
        if share is not None:
            last = next(node.output for node in self.graph.nodes if node.name == nodes[-1])
            spent = spent * share.area // Window.whole(self.graph.values[last].shape).area
        return StageCost(self.start_cycles + spent, self.gathered_bytes if reads_images else 0, self.memory_bytes)


@st.composite
def graphs(draw: st.DrawFn, most: int = 12) -> Graph:
    """Chains with skip edges."""
    count = draw(st.integers(1, most))
    skips = {i: draw(st.integers(0, i - 2)) for i in range(2, count) if draw(st.sampled_from([True, False, False]))}
    return chain(count, skips)


@st.composite
def plans(draw: st.DrawFn, most_ranks: int = 5) -> tuple[Plan, int]:
    """Any valid plan: stages anywhere, several on one rank, replicas, every in-flight limit. And its ranks."""
    graph = draw(graphs())
    names = [node.name for node in graph.nodes]
    cuts = sorted(draw(st.sets(st.integers(1, len(names) - 1), max_size=6))) if len(names) > 1 else []
    parts = [tuple(names[a:b]) for a, b in zip([0, *cuts], [*cuts, len(names)], strict=True)]
    ranks = draw(st.integers(1, most_ranks))
    times = st.integers(0, 3_000_000)
    stages = []
    for index, part in enumerate(parts):
        on = tuple(draw(st.lists(st.integers(0, ranks - 1), min_size=1, max_size=ranks, unique=True)))
        compute_ns = tuple(1 + draw(times) for _ in on)
        host_ns = tuple(draw(times) if index == 0 else 0 for _ in on)
        extra = draw(st.lists(st.integers(0, len(on) - 1), max_size=2)) if len(on) < 4 else []
        turns = tuple(draw(st.permutations([*range(len(on)), *extra]))) if extra else ()
        stages.append(Stage(index, part, on, 100, compute_ns, host_ns, turns))
    config = Cluster.default(1).boards[0].config
    edges = edges_between(graph, parts, config)
    plan = Plan(graph.name, "drawn", config.batch, tuple(stages), edges, draw(st.integers(1, 9)))
    validate(plan, graph, ranks, config)
    return plan, ranks
