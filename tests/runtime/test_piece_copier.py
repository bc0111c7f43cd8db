"""Divided layers run part by part, pieces cut and put together as ranks do it: the bits of the whole."""

import numpy as np
from graph_strategies import int8_graphs, random_inputs
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.graph.layout import pack_activation, unpack_activation
from mpi_vta.graph.reference import execute
from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.plan import SINK, SOURCE, Plan, Stage
from mpi_vta.runtime.piece_copier import PieceCopier
from mpi_vta.schedule.problem import Placement
from mpi_vta.schedule.split.grid import Grid
from mpi_vta.schedule.split.part_graph import part_graph
from mpi_vta.schedule.split.traffic import assembled_bytes, find_traffic
from mpi_vta.schedule.validate import validate

CONFIG = Cluster.default(1).boards[0].config


@st.composite
def divisions(draw):
    """A graph, and its nodes in runs, each on one rank or divided over some by any grid and any speeds."""
    graph = draw(int8_graphs(max_nodes=6))
    ranks = draw(st.integers(1, 5))
    names = [node.name for node in graph.nodes]
    cuts = sorted(draw(st.sets(st.integers(1, len(names) - 1), max_size=4))) if len(names) > 1 else []
    placements = []
    for first, end in zip([0, *cuts], [*cuts, len(names)], strict=True):
        nodes = tuple(names[first:end])
        shape = graph.values[graph.nodes[end - 1].output].shape
        grid = draw(st.sampled_from([Grid(b, c) for b in range(1, 5) for c in range(1, 3) if b * c <= ranks]))
        speeds = draw(st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=grid.boards, max_size=grid.boards))
        on = draw(st.permutations(range(ranks)))
        shares = grid.shares(shape, CONFIG.block, speeds)
        whole = len(shares) == 1
        placements += [Placement(nodes, (on[board],), (), None if whole else share) for board, share in shares]
    return graph, placements, ranks


def plan_of(graph, placements):
    traffic = find_traffic(graph, placements, CONFIG)
    stages = tuple(
        Stage(i, p.nodes, p.ranks, 1, (1,), (0,), part=traffic.part(i, p.share)) for i, p in enumerate(placements)
    )
    return Plan(graph.name, "drawn", CONFIG.batch, stages, traffic.edges, 1, {}, (), traffic.shapes), traffic


@given(divisions(), st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_parts_that_exchange_pieces_give_the_bits_of_the_whole(division, seed):
    graph, placements, ranks = division
    plan, _ = plan_of(graph, placements)
    validate(plan, graph, ranks, CONFIG)
    assert Plan.from_json(plan.to_json()) == plan
    images = random_inputs(graph, seed, CONFIG.batch)
    pieces = PieceCopier(plan, CONFIG)
    arrived = {place: {} for place in (*range(len(placements)), SINK)}

    def hand_out(place, values):
        for edge in plan.edges:
            if edge.producer == place:
                cut = pieces.cut(edge, values[edge.value])
                assert cut.size == edge.size_bytes
                pieces.put(edge, arrived[edge.consumer], cut)

    hand_out(SOURCE, {name: array.reshape(-1).view(np.uint8) for name, array in images.items()})
    for index, placement in enumerate(placements):
        if placement.share is None:
            part = graph.subgraph(placement.nodes)
        else:
            part = part_graph(graph, placement.nodes, placement.share, CONFIG.block)
        inputs = {}
        for name in part.inputs:
            shape = part.values[name].shape
            data = arrived[index][name]
            raw = name in graph.inputs
            inputs[name] = data.view(np.int8).reshape(shape) if raw else unpack_activation(data, shape, CONFIG)
        hand_out(index, {name: pack_activation(array, CONFIG) for name, array in execute(part, inputs).items()})
    for name, array in execute(graph, images).items():
        np.testing.assert_array_equal(unpack_activation(arrived[SINK][name], array.shape, CONFIG), array)


@given(divisions())
@settings(max_examples=100, deadline=None)
def test_only_what_a_rank_lacks_is_sent_and_only_what_it_has_is_copied(division):
    graph, placements, _ = division
    plan, traffic = plan_of(graph, placements)
    copied = assembled_bytes(traffic, placements)
    for edge in plan.edges:
        if edge.consumer == SINK or edge.producer == SOURCE:
            continue
        here = placements[edge.producer].ranks == placements[edge.consumer].ranks
        if not here:
            made_here = [
                traffic.windows[i].makes[edge.value]
                for i, p in enumerate(placements)
                if p.ranks == placements[edge.consumer].ranks and edge.value in traffic.windows[i].owns
            ]
            window = edge.window or traffic.windows[edge.consumer].reads[edge.value]
            assert not any(window & made for made in made_here)
    for (consumer, rank), size_bytes in copied.items():
        local = [e for e in plan.edges if e.consumer == consumer and e.producer >= 0]
        assert 0 < size_bytes <= sum(e.size_bytes for e in local if placements[e.producer].ranks == (rank,))
