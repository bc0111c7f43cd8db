"""Stage borders and boards by hand: kept to, or refused in one clear line."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import FakeCosts, chain, graphs, plan_with, pooled

from mpi_vta.errors import PlanError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.schedule.by_hand import ByHand, comparison

MIXED = Cluster.load("mixed17")


def plan_for(strategy, graph, ranks, cut=None, allocate=(), cluster=None, stages=None):
    costs = FakeCosts(graph, {node.name: 1_000_000 * (1 + i % 3) for i, node in enumerate(graph.nodes)})
    hand = ByHand.parse(cut, allocate)
    return plan_with(strategy, graph, cluster or Cluster.default(ranks), ranks, 40, costs, stages, by_hand=hand)


@settings(deadline=None, max_examples=50)
@given(graphs(8), st.integers(1, 4), st.sampled_from(["pipeline", "fused", "auto"]), st.data())
def test_stages_begin_with_the_layers_that_cut_names(graph, ranks, strategy, data):
    most = min(ranks, len(graph.nodes)) - 1
    borders = sorted(data.draw(st.sets(st.integers(1, max(1, len(graph.nodes) - 1)), max_size=most)))
    cut = ",".join(f"n{border}" for border in borders) or None
    plan = plan_for(strategy, graph, ranks, cut)
    if cut:
        parts = list(pairwise([0, *borders, len(graph.nodes)]))
        assert [stage.nodes for stage in plan.stages] == [tuple(f"n{i}" for i in range(a, b)) for a, b in parts]


@pytest.mark.parametrize("strategy", ["fused", "auto"])
def test_layers_get_the_boards_allocated(strategy):
    plan = plan_for(strategy, chain(9), 17, allocate=["n[34]=4", "n8=2"], cluster=MIXED)
    ranks_of = {stage.nodes: len(stage.ranks) for stage in plan.stages}
    assert ranks_of["n3", "n4"] == 4
    assert ranks_of["n8",] == 2


def test_borders_and_boards_go_together():
    plan = plan_for("fused", chain(6), 8, "n2,n4", ["n[23]=5"])
    assert [stage.nodes for stage in plan.stages] == [("n0", "n1"), ("n2", "n3"), ("n4", "n5")]
    assert len(plan.stages[1].ranks) == 5


def test_one_board_for_some_layers_suits_the_pipeline():
    plan = plan_for("pipeline", chain(6), 3, allocate=["n5=1"])
    assert plan.stages[-1].nodes == ("n5",)


def test_boards_that_get_no_turn_are_told():
    graph = chain(2)
    costs = FakeCosts(graph, {"n0": 1_000_000, "n1": 1_000_000})
    hand = ByHand.parse(None, ["n0=4"])
    plan = plan_with("fused", graph, Cluster.default(6), 6, 2, costs, by_hand=hand)
    assert len(next(stage for stage in plan.stages if stage.nodes == ("n0",)).ranks) == 2
    assert "2 boards get no turn: the others of the stage are done with all groups before (modelled)" in map(
        str, plan.notes
    )


def test_comparison_names_both_figures():
    chosen, planner = plan_for("pipeline", chain(6), 3, "n1"), plan_for("auto", chain(6), 3)
    line = str(comparison(chosen, planner))
    assert f"{chosen.predicted['throughput_images_per_s']:.4g} images/s" in line
    assert f"{planner.predicted['throughput_images_per_s']:.4g} images/s" in line
    assert planner.strategy in line


WRONG = {
    "unknown border": (("n1,n77",), "--cut n77: no such layer; allowed: a layer of the model, such as "),
    "order": (("n3,n2",), "--cut n2: the borders are not in order; allowed: layers in order of execution"),
    "twice": (("n3,n3",), "--cut n3: the borders are not in order"),
    "first layer": (("n0",), "--cut n0: the first stage begins there anyway; name a later layer"),
    "empty name": (("n1,",), "--cut n1,: a layer name is empty; allowed: layer,layer"),
    "too many": (("n1,n2,n3,n4",), "--cut: 5 stages on 4 boards; allowed: at most 3 borders"),
    "no match": ((None, ["m*=2"]), "--allocate m*=2: no layer matches; allowed: a layer name or a glob"),
    "overlap": ((None, ["n[12]=1", "n2=1"]), "--allocate n2=1: n2 is also in n[12]"),
    "boards": ((None, ["n1=4"]), "--allocate: 5 boards are needed, there are 4"),
    "not together": ((None, ["n[13]=2"]), "--allocate n[13]=2: these layers cannot be a stage of their own"),
    "across a border": (("n2", ["n[12]=2"]), "--allocate n[12]=2: these layers cannot be a stage of their own"),
    "no number": ((None, ["n1"]), "--allocate n1: not understood; allowed: pattern=boards"),
    "no boards": ((None, ["n1=0"]), "--allocate n1=0: not understood; allowed: pattern=boards"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("strategy", ["fused", "auto"])
def test_impossible_choice_is_refused(options, message, strategy):
    with pytest.raises(PlanError) as caught:
        plan_for(strategy, chain(6), 4, *options)
    assert str(caught.value).startswith(message)


def test_border_within_merged_layers_is_refused():
    with pytest.raises(PlanError, match="--cut p1: it is merged into c1; cut at another layer"):
        plan_for("pipeline", pooled(2), 2, "p1")


def test_several_boards_for_a_stage_are_not_the_pipeline_s():
    with pytest.raises(PlanError, match="--allocate n1=2: 2 boards for a stage; take --strategy fused"):
        plan_for("pipeline", chain(3), 4, allocate=["n1=2"])


def test_strategy_without_cuts_takes_none():
    with pytest.raises(PlanError, match="--cut, --allocate: scatter-gather does not cut the model into stages; take"):
        plan_for("scatter-gather", chain(3), 2, "n1")


def test_number_of_stages_that_contradicts_the_borders_is_refused():
    with pytest.raises(PlanError, match="--stages 3: --cut makes 2 stages"):
        plan_for("pipeline", chain(6), 4, "n1", stages=3)
