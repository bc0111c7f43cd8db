"""A plan is checked before it runs: every way in which an edited one can be wrong."""

from dataclasses import replace

import pytest
from schedule_cases import chain

from mpi_vta.errors import PlanError
from mpi_vta.graph.layout import packed_bytes
from mpi_vta.graph.window import Window
from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.plan import SINK, SOURCE, Edge, Plan, Stage
from mpi_vta.schedule.problem import Placement
from mpi_vta.schedule.split.traffic import find_traffic
from mpi_vta.schedule.validate import edges_between, validate

CONFIG = Cluster.default(1).boards[0].config
GRAPH = chain(4, {3: 0})
PARTS = (("n0",), ("n1", "n2"), ("n3",))
STAGES = tuple(Stage(i, part, (i,), 10, (100,), (0,)) for i, part in enumerate(PARTS))
PLAN = Plan("chain", "by hand", 1, STAGES, edges_between(GRAPH, PARTS, CONFIG), 2)


def with_stage(position, **changes):
    stages = list(PLAN.stages)
    stages[position] = replace(stages[position], **changes)
    return replace(PLAN, stages=tuple(stages))


def test_edges_are_all_messages_in_order_with_their_sizes():
    packed = packed_bytes((1, 16, 8, 8), CONFIG)
    assert PLAN.edges == (
        Edge("v3", 2, SINK, packed),
        Edge("x", SOURCE, 0, 3 * 8 * 8),
        Edge("v0", 0, 1, packed),
        Edge("v0", 0, 2, packed),
        Edge("v2", 1, 2, packed),
    )


def test_good_plan_passes():
    validate(PLAN, GRAPH, 3, CONFIG)


BAD = {
    "missing node": (with_stage(1, nodes=("n1",)), "node n2 is in no stage"),
    "double node": (with_stage(2, nodes=("n3", "n0")), "node n0 is there 2 times"),
    "unknown node": (with_stage(2, nodes=("n3", "n9")), "node n9 is not in the model"),
    "empty stage": (with_stage(0, nodes=()), "stage 0 has no nodes"),
    "wrong index": (with_stage(1, index=5), "stage 5 is at position 1"),
    "order in a stage": (with_stage(1, nodes=("n2", "n1")), "node n2 comes before n1, whose result it needs"),
    "missing edge": (
        replace(PLAN, edges=PLAN.edges[:-1]),
        "missing edge v2 (stage 1 to stage 2, 1024 bytes)",
    ),
    "wrong size": (
        replace(PLAN, edges=(replace(PLAN.edges[0], size_bytes=7), *PLAN.edges[1:])),
        "edge v3 (stage 2 to sink, 7 bytes) is not needed",
    ),
    "order of edges": (replace(PLAN, edges=PLAN.edges[::-1]), "edges are double or out of order"),
    "rank too high": (with_stage(2, ranks=(3,)), "stage 2 is on rank 3 (allowed: 0..2; start more ranks)"),
    "no rank": (with_stage(2, ranks=(), compute_ns=(), host_ns=()), "stage 2 has no rank"),
    "rank twice": (with_stage(2, ranks=(1, 1), compute_ns=(1, 1), host_ns=(0, 0)), "stage 2 has a rank twice"),
    "times per rank": (with_stage(2, compute_ns=(1, 1)), "stage 2 needs one compute_ns and one host_ns per rank"),
    "negative time": (with_stage(2, host_ns=(-1,)), "stage 2 has a negative time"),
    "no time": (with_stage(2, compute_ns=(0,)), "stage 2 has a compute_ns below 1"),
    "turn too high": (with_stage(2, turns=(0, 1)), "stage 2 has turns (0, 1) (allowed: each of 0..0 at least once)"),
    "replica without turn": (
        with_stage(2, ranks=(1, 2), compute_ns=(1, 1), host_ns=(0, 0), turns=(0, 0)),
        "stage 2 has turns (0, 0) (allowed: each of 0..1 at least once)",
    ),
    "in flight": (replace(PLAN, in_flight_groups=0), "in_flight_groups is 0 (allowed: 1 or more)"),
    "model": (replace(PLAN, model="other"), "it is for model other (allowed: chain)"),
    "group": (replace(PLAN, group_images=4), "group_images is 4 (allowed: 1, the GEMM batch)"),
}


@pytest.mark.parametrize(("plan", "message"), BAD.values(), ids=BAD.keys())
def test_wrong_plan_is_refused(plan, message):
    with pytest.raises(PlanError) as caught:
        validate(plan, GRAPH, 3, CONFIG)
    assert message in str(caught.value)


def test_stages_in_the_wrong_order_are_refused():
    swapped = (replace(STAGES[1], index=0), replace(STAGES[0], index=1), STAGES[2])
    with pytest.raises(PlanError, match="node n1 comes before n0"):
        validate(replace(PLAN, stages=swapped), GRAPH, 3, CONFIG)


def test_all_faults_are_listed_at_once():
    with pytest.raises(PlanError, match=r"in_flight_groups is 0 .* \| stage 2 is on rank 8 .* \| it is for model b"):
        validate(replace(with_stage(2, ranks=(8,)), in_flight_groups=0, model="b"), GRAPH, 3, CONFIG)


def split_plan():
    """n0 whole; n1, n2 in two parts; n3 whole."""
    shares = [Window((0, 3), (0, 16)), Window((3, 8), (0, 16))]
    placements = [
        Placement(("n0",), (0,)),
        *(Placement(("n1", "n2"), (rank,), (), share) for rank, share in enumerate(shares)),
        Placement(("n3",), (2,)),
    ]
    traffic = find_traffic(GRAPH, placements, CONFIG)
    stages = tuple(
        Stage(i, p.nodes, p.ranks, 10, (100,), (0,), part=traffic.part(i, p.share)) for i, p in enumerate(placements)
    )
    return Plan("chain", "by hand", 1, stages, traffic.edges, 2, {}, (), traffic.shapes)


def with_part(plan, position, **changes):
    stages = list(plan.stages)
    part = replace(stages[position].part, **changes)
    stages[position] = replace(stages[position], part=part)
    return replace(plan, stages=tuple(stages))


def test_plan_with_parts_passes_and_their_messages_carry_pieces():
    plan = split_plan()
    validate(plan, GRAPH, 3, CONFIG)
    pieces = {(e.producer, e.consumer, e.value): (e.window.rows, e.size_bytes) for e in plan.edges if e.window}
    assert pieces == {
        (0, 1, "v0"): ((0, 3), 3 * 8 * 16),
        (0, 2, "v0"): ((3, 8), 5 * 8 * 16),
        (1, 3, "v2"): ((0, 3), 3 * 8 * 16),
        (2, 3, "v2"): ((3, 8), 5 * 8 * 16),
    }
    assert plan.shapes == {"v0": (1, 16, 8, 8), "v2": (1, 16, 8, 8)}


BAD_PARTS = {
    "gap": ({"share": Window((4, 8), (0, 16))}, "the parts of n2 overlap or are not all of it"),
    "overlap": ({"share": Window((2, 8), (0, 16))}, "the parts of n2 overlap or are not all of it"),
    "too many rows": (
        {"share": Window((3, 9), (0, 16))},
        "the share of stage 2, rows 3..8, channels 0..15, leaves its result (allowed: within rows 0..7, "
        "channels 0..15)",
    ),
    "half a block": (
        {"share": Window((3, 8), (8, 16))},
        "the share of stage 2, rows 3..7, channels 8..15, cuts a block of channels (allowed: multiples of 16)",
    ),
    "wrong windows": ({"holds": {}}, "stage 2 does not hold the windows that its share needs"),
}


@pytest.mark.parametrize(("changes", "fault"), BAD_PARTS.values(), ids=BAD_PARTS.keys())
def test_wrong_part_is_named(changes, fault):
    with pytest.raises(PlanError) as caught:
        validate(with_part(split_plan(), 2, **changes), GRAPH, 3, CONFIG)
    assert fault in str(caught.value)


def test_part_on_two_ranks_is_refused():
    plan = split_plan()
    stages = (
        *plan.stages[:2],
        replace(plan.stages[2], ranks=(1, 2), compute_ns=(1, 1), host_ns=(0, 0)),
        plan.stages[3],
    )
    with pytest.raises(PlanError, match=r"stage 2, a part, is on 2 ranks \(allowed: one\)"):
        validate(replace(plan, stages=stages), GRAPH, 3, CONFIG)


def test_pieces_without_the_shape_of_their_value_are_refused():
    with pytest.raises(PlanError, match="the shapes are not those of the values that travel in pieces"):
        validate(replace(split_plan(), shapes={}), GRAPH, 3, CONFIG)


def test_part_without_its_others_is_a_node_twice_or_incomplete():
    plan = split_plan()
    apart = (plan.stages[0], plan.stages[1], replace(plan.stages[3], index=2), replace(plan.stages[2], index=3))
    with pytest.raises(PlanError, match="node n1 is there 2 times"):
        validate(replace(plan, stages=apart), GRAPH, 3, CONFIG)


def test_assembly_time_needs_one_entry_per_rank():
    with pytest.raises(PlanError, match="stage 1 needs one assemble_ns per rank, or none"):
        validate(with_stage(1, assemble_ns=(1, 2)), GRAPH, 3, CONFIG)
