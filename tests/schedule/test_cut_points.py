"""Places at which a model may be cut, against trying every set of layers."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import SHAPE, FakeCosts, chain, plan_with, pooled

from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.hw.cluster import Cluster
from mpi_vta.schedule.cut_points import find_cut_points, fused_units
from mpi_vta.schedule.strategies import STRATEGIES
from mpi_vta.schedule.validate import validate


@st.composite
def branched(draw, most=7):
    """Graphs whose layers each read one or two earlier values."""
    values = {"x": Value("x", SHAPE, "int8", 0)}
    nodes = []
    for i in range(draw(st.integers(1, most))):
        inputs = draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=2, unique=True))
        attrs = {"input_shifts": (0,) * len(inputs), "leaky": None, "shift": 0, "lo": -128, "hi": 127}
        nodes.append(Node(f"n{i}", "sum", tuple(inputs), f"v{i}", attrs, {}))
        values[f"v{i}"] = Value(f"v{i}", SHAPE, "int8", 0)
    read = {value for node in nodes for value in node.inputs}
    outputs = tuple(node.output for node in nodes if node.output not in read)
    return Graph("branched", "int8", ("x",), outputs, tuple(nodes), values, {})


def down_sets(graph):
    """Every set of layers that holds whatever its layers need, tried one after another."""
    names = [node.name for node in graph.nodes]
    for size in range(len(names) + 1):
        for chosen in combinations(range(len(names)), size):
            inside = {graph.nodes[i].output for i in chosen} | {"x"}
            if all(set(graph.nodes[i].inputs) <= inside for i in chosen):
                yield sum(1 << i for i in chosen)


@settings(deadline=None, max_examples=100)
@given(branched())
def test_cut_points_are_all_down_sets(graph):
    cuts = find_cut_points(graph, most=1 << 7)
    assert cuts.every
    assert sorted(cuts.done) == sorted(down_sets(graph))
    for i, j in np.ndindex(cuts.count, cuts.count):
        assert cuts.nested[i, j] == (cuts.done[i] & ~cuts.done[j] == 0)
        if cuts.nested[i, j]:
            assert i <= j
            assert cuts.between(i, j) == tuple(
                node.name for k, node in enumerate(graph.nodes) if (cuts.done[j] & ~cuts.done[i]) >> k & 1
            )


@settings(deadline=None, max_examples=40)
@given(branched(6), st.integers(1, 4), st.data())
def test_plans_of_branched_models_are_valid(graph, ranks, data):
    costs = FakeCosts(graph, {node.name: data.draw(st.integers(1, 2_000_000)) for node in graph.nodes})
    for strategy in (name for name, found in STRATEGIES.items() if found.cuts):
        plan = plan_with(strategy, graph, Cluster.default(ranks), ranks, 8, costs)
        validate(plan, graph, ranks, Cluster.default(1).boards[0].config)


def test_branches_may_be_cut_apart():
    values = {name: Value(name, SHAPE, "int8", 0) for name in ("x", "a", "b", "c", "d")}
    attrs = {"input_shifts": (0,), "leaky": None, "shift": 0, "lo": -128, "hi": 127}
    # the order alternates between two branches that only meet at the source
    nodes = tuple(Node(f"n{out}", "sum", (inp,), out, attrs, {}) for inp, out in ["xa", "xb", "ac", "bd"])
    graph = Graph("twins", "int8", ("x",), ("c", "d"), nodes, values, {})
    costs = FakeCosts(graph, {"na": 4_000_000, "nb": 5_000_000, "nc": 2_000_000, "nd": 1_000_000})
    plan = plan_with("pipeline", graph, Cluster.default(2), 2, 8, costs, 2)
    assert {frozenset(stage.nodes) for stage in plan.stages} == {frozenset({"na", "nc"}), frozenset({"nb", "nd"})}


def test_many_branches_are_cut_along_the_order_and_the_plan_says_so():
    values = {"x": Value("x", SHAPE, "int8", 0), "y": Value("y", SHAPE, "int8", 0)}
    values |= {f"v{i}": Value(f"v{i}", SHAPE, "int8", 0) for i in range(8)}
    attrs = {"leaky": None, "shift": 0, "lo": -128, "hi": 127}
    nodes = [Node(f"n{i}", "sum", ("x",), f"v{i}", {**attrs, "input_shifts": (0,)}, {}) for i in range(8)]
    nodes.append(Node("last", "sum", tuple(f"v{i}" for i in range(8)), "y", {**attrs, "input_shifts": (0,) * 8}, {}))
    graph = Graph("wide", "int8", ("x",), ("y",), tuple(nodes), values, {})
    cuts = find_cut_points(graph)
    assert not cuts.every
    assert cuts.done == tuple((1 << count) - 1 for count in range(10))
    costs = FakeCosts(graph, {node.name: 1_000_000 for node in nodes})
    plan = plan_with("pipeline", graph, Cluster.default(2), 2, 8, costs)
    assert str(plan.notes[0]) == "the graph has many branches: cuts were sought along its topological order only"


def test_pooling_stays_with_the_convolution_it_is_merged_into():
    graph = pooled(4)
    assert fused_units(graph) == (("c0", "p0"), ("c1", "p1"), ("c2",), ("p2",), ("c3", "p3"))
    cycles = {node.name: 1_000_000 if node.op == "conv2d" else 0 for node in graph.nodes}
    for strategy in (name for name, found in STRATEGIES.items() if found.cuts):
        plan = plan_with(strategy, graph, Cluster.default(5), 5, 64, FakeCosts(graph, cycles))
        stage_of = {name: stage.index for stage in plan.stages for name in stage.nodes}
        assert all(stage_of[f"c{i}"] == stage_of[f"p{i}"] for i in (0, 1, 3))


@pytest.mark.parametrize("model", ["chain", "pooled"])
def test_chain_has_one_cut_point_between_neighbours(model):
    graph = chain(5) if model == "chain" else pooled(2)
    cuts = find_cut_points(graph)
    assert cuts.count == len(cuts.units) + 1
    assert cuts.nested.sum() == cuts.count * (cuts.count + 1) // 2
