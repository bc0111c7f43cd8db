"""Plans by strategy: legal, balanced as well as can be, and clear about what cannot be done."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import FakeCosts, chain, graphs, plan_with

from mpi_vta.errors import ConfigError, PlanError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.schedule.assembly import WINDOW_LOSS
from mpi_vta.schedule.division.fluid_model import Wish
from mpi_vta.schedule.division.search import divide
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.segment_load import board_types
from mpi_vta.schedule.strategies import STRATEGIES
from mpi_vta.schedule.validate import validate

MIXED = Cluster.load("mixed17")


def costs_of(graph, cycles=1_000_000, **more):
    each = cycles if isinstance(cycles, list) else [cycles] * len(graph.nodes)
    return FakeCosts(graph, {node.name: spent for node, spent in zip(graph.nodes, each, strict=True)}, **more)


def plan_for(strategy, graph, ranks, images=24, cycles=1_000_000, cluster=None, stages=None, **more):
    cluster = cluster or Cluster.default(ranks)
    return plan_with(strategy, graph, cluster, ranks, images, costs_of(graph, cycles, **more), stages)


def test_pipeline_gives_equal_layers_out_evenly():
    plan = plan_for("pipeline", chain(12), 4)
    assert [stage.nodes for stage in plan.stages] == [tuple(f"n{i}" for i in range(3 * k, 3 * k + 3)) for k in range(4)]
    assert sorted(stage.ranks for stage in plan.stages) == [(0,), (1,), (2,), (3,)]
    assert plan.predicted["speedup"] > 3


def test_pipeline_isolates_the_heavy_layer():
    plan = plan_for("pipeline", chain(5), 3, cycles=[1_000_000, 1_000_000, 9_000_000, 1_000_000, 1_000_000])
    assert [stage.nodes for stage in plan.stages] == [("n0", "n1"), ("n2",), ("n3", "n4")]


def test_pipeline_gives_a_fast_board_more():
    graph = chain(30)
    cluster = Cluster.load("mixed17")
    mixed = Cluster("mixed", (cluster.boards[0], cluster.boards[16]), cluster.link, cluster.switch_latency_ns)
    layers = {stage.ranks: len(stage.nodes) for stage in plan_for("pipeline", graph, 2, cluster=mixed).stages}
    assert layers[1,] > 3 * layers[0,]


def test_pipeline_leaves_boards_idle_that_cannot_help_and_says_so():
    plan = plan_for("pipeline", chain(3), 3, cycles=[1_000_000, 9_000_000, 1_000_000])
    assert len(plan.stages) == 3 or "idle" in str(plan.notes[0])
    plan = plan_for("pipeline", chain(4), 4, cycles=[10_000, 9_000_000, 10_000, 10_000])
    assert len(plan.stages) < 4
    assert "idle: no cut into more stages, of one board each, has a period below" in str(plan.notes[0])


def test_pipeline_with_more_ranks_than_layers_uses_fewer_boards_and_says_so():
    plan = plan_for("pipeline", chain(3), 5)
    assert len(plan.stages) == 3
    assert [str(note) for note in plan.notes] == ["2 boards stay idle: the model can be cut into 3 stages"]


def test_pipeline_of_a_given_number_of_stages():
    plan = plan_for("pipeline", chain(6), 5, stages=2)
    assert [len(stage.nodes) for stage in plan.stages] == [3, 3]
    assert [str(note) for note in plan.notes] == ["3 boards stay idle: 2 stages were asked for"]


def test_skip_edge_jumps_over_stages():
    plan = plan_for("pipeline", chain(3, {2: 0}), 3)
    assert ("v0", 0, 2) in {(edge.value, edge.producer, edge.consumer) for edge in plan.edges}


@settings(deadline=None, max_examples=40)
@given(graphs(8), st.integers(1, 5), st.integers(1, 9), st.data())
def test_every_plan_is_valid_and_no_faster_than_its_bound(graph, ranks, images, data):
    cycles = [data.draw(st.integers(0, 2_000_000)) for _ in graph.nodes]
    for strategy in STRATEGIES:
        plan = plan_for(strategy, graph, ranks, images, cycles, gathered_bytes=1000, start_cycles=100)
        validate(plan, graph, ranks, Cluster.default(1).boards[0].config)
        assert plan.predicted["throughput_images_per_s"] <= plan.predicted["bound_images_per_s"] * (1 + 1e-9)
        assert 0 < plan.predicted["ideal_fraction"] <= 1 + 1e-9
        assert plan.predicted["latency_ms"] <= plan.predicted["latency_p99_ms"]


@settings(deadline=None, max_examples=30)
@given(graphs(9), st.data())
def test_another_board_never_lengthens_the_period(graph, data):
    cycles = [data.draw(st.integers(1, 2_000_000)) for _ in graph.nodes]
    boards = data.draw(st.lists(st.sampled_from([MIXED.boards[0], MIXED.boards[16]]), min_size=2, max_size=5))
    for replicas in (False, True):
        found = [period_of(graph, boards[:count], cycles, replicas) for count in range(1, len(boards) + 1)]
        assert found == sorted(found, reverse=True)


def period_of(graph, boards, cycles, replicas):
    cluster = Cluster("drawn", tuple(boards), MIXED.link, MIXED.switch_latency_ns)
    problem = Problem(graph, cluster, 10, costs_of(graph, cycles, gathered_bytes=5000))
    return divide(board_types(problem), Wish(replicas=replicas)).period_ns


@settings(deadline=None, max_examples=30)
@given(graphs(9), st.data())
def test_order_of_the_boards_changes_no_period(graph, data):
    cycles = [data.draw(st.integers(1, 2_000_000)) for _ in graph.nodes]
    first, *others = data.draw(st.lists(st.sampled_from([MIXED.boards[0], MIXED.boards[16]]), min_size=2, max_size=5))
    shuffled = data.draw(st.permutations(others))
    for replicas in (False, True):
        periods = {period_of(graph, [first, *rest], cycles, replicas) for rest in (others, shuffled)}
        assert len(periods) == 1


@settings(deadline=None, max_examples=30)
@given(graphs(9), st.data())
def test_replicas_never_lengthen_the_period(graph, data):
    cycles = [data.draw(st.integers(1, 2_000_000)) for _ in graph.nodes]
    boards = data.draw(st.lists(st.sampled_from([MIXED.boards[0], MIXED.boards[16]]), min_size=1, max_size=5))
    assert period_of(graph, boards, cycles, True) <= period_of(graph, boards, cycles, False)


def test_scatter_gather_puts_the_model_on_every_board():
    plan = plan_for("scatter-gather", chain(4), 3)
    assert [(stage.nodes, stage.ranks) for stage in plan.stages] == [(("n0", "n1", "n2", "n3"), (0, 1, 2))]
    assert plan.predicted["ideal_fraction"] > 0.9


def test_scatter_gather_gives_fast_boards_more_turns():
    plan = plan_for("scatter-gather", chain(4), 17, images=200, cluster=MIXED, cycles=5_000_000)
    stage = plan.stages[0]
    assert stage.ranks == tuple(range(17))
    count = [stage.turns.count(replica) for replica in range(17)]
    assert 3 <= count[16] / count[0] <= 3.5
    assert plan.predicted["ideal_fraction"] > 0.85


def test_scatter_gather_leaves_out_boards_that_would_only_delay_the_end():
    plan = plan_for("scatter-gather", chain(4), 17, images=10, cluster=MIXED, cycles=5_000_000)
    assert plan.stages[0].ranks == tuple(range(12, 17))
    assert str(plan.notes[0]).startswith(
        "12 boards stay idle: with up to 200.10 ms for a whole image group, they would end last"
    )


def test_scatter_gather_uses_no_more_boards_than_groups():
    plan = plan_for("scatter-gather", chain(4), 5, images=2)
    assert plan.stages[0].ranks == (0, 1)
    assert [str(note) for note in plan.notes] == ["3 boards stay idle: there are only 2 image groups"]


def test_underscore_is_as_good_as_a_hyphen():
    assert plan_for("scatter_gather", chain(2), 1).strategy == "scatter-gather"


def test_window_is_no_larger_than_it_helps():
    plan = plan_for("pipeline", chain(4), 4, images=40)
    assert plan.in_flight_groups <= 8
    assert plan.predicted["steady_images_per_s"] >= 0.98 * plan.predicted["bound_images_per_s"]


def test_gathering_images_costs_processor_time():
    slow = plan_for("pipeline", chain(4), 1, gathered_bytes=10_000_000)
    assert slow.stages[0].host_ns == (50_000_000,)
    assert slow.predicted["bound_images_per_s"] == pytest.approx(20)


def test_plan_says_when_boards_lose_and_what_sets_the_pace():
    plan = plan_for("pipeline", chain(3), 3, images=3, cycles=10_000, stages=3)
    assert plan.predicted["speedup"] < 1
    assert str(plan.notes[0]).startswith("3 boards are slower than one: ")
    slow = plan_for("pipeline", chain(2), 2, cycles=1_000_000, gathered_bytes=10_000_000, stages=2)
    assert "the processor of rank 1 sets the pace" in str(slow.notes[-1])
    assert not plan_for("pipeline", chain(12), 4).notes


def test_energy_adds_idle_power_and_switch_port_of_every_board():
    one, two = (plan_for("scatter-gather", chain(4), ranks, images=1) for ranks in (1, 2))
    cluster = Cluster.default(1)
    extra_j = two.predicted["energy_j_per_image"] - one.predicted["energy_j_per_image"]
    extra_w = cluster.boards[0].power.idle_w + cluster.power.switch_port_w
    assert extra_j == pytest.approx(extra_w * two.predicted["makespan_ms"] / 1e3)
    assert one.predicted["images_per_s_per_w"] == pytest.approx(1 / one.predicted["energy_j_per_image"])


def test_fused_is_no_slower_than_pipeline_and_uses_both_kinds_of_board():
    graph = chain(10)
    cycles = [3_000_000, 500_000, 500_000, 500_000, 500_000] * 2
    fused = plan_for("fused", graph, 17, 170, cycles, cluster=MIXED)
    assert fused.ranks == tuple(range(17))
    pipeline = plan_for("pipeline", graph, 17, 170, cycles, cluster=MIXED)
    assert fused.predicted["bound_images_per_s"] >= pipeline.predicted["bound_images_per_s"]


def test_fused_replicates_the_heavy_stage_when_asked_for_stages():
    plan = plan_for("fused", chain(2), 4, images=40, cycles=[1_000_000, 3_000_000], stages=2)
    assert [len(stage.ranks) for stage in plan.stages] == [1, 3]


@pytest.mark.parametrize("objective", ["throughput", "latency", "energy"])
def test_auto_is_never_below_the_best_strategy(objective):
    graph = chain(6)
    cycles = [1_000_000, 200_000, 3_000_000, 10, 500_000, 500_000]
    costs = costs_of(graph, cycles, gathered_bytes=100_000, start_cycles=500)
    key, sign = {
        "throughput": ("throughput_images_per_s", 1),
        "latency": ("latency_ms", -1),
        "energy": ("energy_j_per_image", -1),
    }[objective]

    def result(strategy):
        plan = plan_with(strategy, graph, Cluster.load("mixed17"), 15, 30, costs, objective=objective)
        return sign * plan.predicted[key]

    assert result("auto") == max(result(strategy) for strategy in STRATEGIES)


def test_auto_leaves_boards_idle_where_messages_outweigh_the_layers():
    graph = chain(3)
    slow = replace(MIXED, link=replace(MIXED.link, bandwidth_mb_s=0.01), boards=MIXED.boards[:6])
    plan = plan_with("auto", graph, slow, 6, 40, costs_of(graph, 100_000))
    assert plan.ranks == (0,)
    assert plan.predicted["speedup"] >= 1
    spread = plan_with("scatter-gather", graph, slow, 6, 40, costs_of(graph, 100_000))
    assert spread.predicted["throughput_images_per_s"] < plan.predicted["throughput_images_per_s"]
    assert any(str(note).startswith("link-bound: the messages of an image group take") for note in spread.notes)


@settings(deadline=None, max_examples=25)
@given(graphs(6), st.integers(1, 6), st.floats(0.01, 1000), st.data())
def test_auto_never_loses_against_one_board_or_a_strategy(graph, ranks, bandwidth, data):
    cycles = [data.draw(st.integers(1, 500_000)) for _ in graph.nodes]
    link = replace(MIXED.link, bandwidth_mb_s=bandwidth)
    cluster = replace(MIXED, link=link, boards=(*MIXED.boards[:3], *MIXED.boards[12:]))
    best = plan_with("auto", graph, cluster, ranks, 20, costs_of(graph, cycles)).predicted["throughput_images_per_s"]
    for strategy in STRATEGIES:
        single = plan_with(strategy, graph, cluster, ranks, 20, costs_of(graph, cycles))
        assert best >= single.predicted["throughput_images_per_s"]
    alone = plan_with("pipeline", graph, cluster, 1, 20, costs_of(graph, cycles))
    assert best >= alone.predicted["throughput_images_per_s"] * (1 - WINDOW_LOSS)


def test_stages_too_small_for_a_board_are_named():
    plan = plan_for("pipeline", chain(3), 3, cycles=[10, 2_000_000, 10], stages=3)
    assert any(str(note).startswith("2 of 3 stages are too small for a board") for note in plan.notes)
    assert not any("too small" in str(note) for note in plan_for("pipeline", chain(3), 3, stages=3).notes)


def test_auto_says_what_the_others_would_get():
    plan = plan_for("auto", chain(4), 2)
    assert "auto chose" in str(plan.notes[-1])
    assert all(name in str(plan.notes[-1]) for name in STRATEGIES if name != "core-assignment")


def test_auto_with_stages_asks_only_who_can():
    plan = plan_for("auto", chain(4), 3, stages=3)
    assert len(plan.stages) == 3


def test_latency_lets_one_group_in_at_a_time():
    graph = chain(4)
    costs = costs_of(graph, [1_000_000, 1_000_000, 9_000_000, 1_000_000], start_cycles=300_000)
    plan, busy = (
        plan_with("pipeline", graph, Cluster.default(3), 3, 9, costs, objective=objective)
        for objective in ("latency", "throughput")
    )
    assert plan.in_flight_groups == 1
    assert plan.predicted["latency_ms"] < busy.predicted["latency_ms"]
    assert plan.predicted["throughput_images_per_s"] < busy.predicted["throughput_images_per_s"]


WRONG = {
    "strategy": (
        ("best", 2, 1, None),
        f"--strategy best: no such strategy; allowed: {', '.join(STRATEGIES)}, auto",
    ),
    "images": (("pipeline", 2, 0, None), "--images: 0 images; allowed: 1 or more"),
    "ranks": (("pipeline", 0, 1, None), "--ranks: 0 ranks; allowed: 1 or more"),
    "more stages than layers": (
        ("pipeline", 9, 1, 5),
        "--stages: 5 stages, but chain can be cut into 4 only: what the compiler merges, such as a pooling with its "
        "convolution, stays together; allowed: 1..4",
    ),
    "more stages than ranks": (
        ("pipeline", 2, 1, 3),
        "--stages: 3 stages on 2 ranks; allowed: 1..2; start more ranks (mpirun -n 3)",
    ),
    "no stages": (("pipeline", 2, 1, 0), "--stages: 0 stages on 2 ranks; allowed: 1..2"),
    "scatter-gather in stages": (
        ("scatter-gather", 2, 1, 2),
        "--stages: 2 stages with scatter-gather; allowed: 1, as every board has the whole model; "
        "take --strategy pipeline",
    ),
}


@pytest.mark.parametrize(("case", "message"), WRONG.values(), ids=WRONG.keys())
def test_impossible_wish_is_refused(case, message):
    strategy, ranks, images, stages = case
    graph = chain(4)
    with pytest.raises(PlanError) as caught:
        plan_with(strategy, graph, Cluster.default(9), ranks, images, costs_of(graph), stages)
    assert str(caught.value).startswith(message)


def test_latency_plan_shows_what_bounds_it():
    graph = chain(4)
    costs = costs_of(graph, gathered_bytes=1000)
    plan = plan_with("scatter-gather", graph, Cluster.default(3), 3, 5, costs, objective="latency")
    assert str(plan.notes[0]).startswith("no plan of whole layers beats 40.105 ms by much: ")
    assert plan.predicted["latency_ms"] == pytest.approx(40.105)


def test_latency_takes_the_quickest_board_messages_included():
    slow, fast = (
        plan_with("scatter-gather", graph, MIXED, 14, 5, costs_of(graph, cycles), objective="latency")
        for graph in [chain(4)]
        for cycles in (1, 1_000_000)
    )
    assert (slow.ranks, fast.stages[0].ranks) == ((0,), (12,))


def test_unknown_objective_is_refused():
    graph = chain(4)
    with pytest.raises(PlanError, match="--objective fame: no such objective; allowed: throughput, latency, energy"):
        plan_with("auto", graph, Cluster.default(1), 1, 1, costs_of(graph), objective="fame")


def test_fewer_boards_than_ranks_is_refused():
    graph = chain(4)
    with pytest.raises(ConfigError, match="5 ranks but only 4 boards"):
        plan_with("pipeline", graph, Cluster.load("pynq4"), 5, 1, costs_of(graph))


def test_boards_of_different_gemm_shape_cannot_work_together(tmp_path):
    link = 'name = "odd"\n[link]\nbandwidth_mb_s = 97\nlatency_ns = 1\nper_message_ns = 1\nper_byte_ns = 1\n'
    boards = (
        '[switch]\nlatency_ns = 0\n[[boards]]\nboard = "pynq_z1"\n[[boards]]\nboard = "pynq_z1"\nconfig = "pynq_4x8"\n'
    )
    (tmp_path / "odd.toml").write_text(link + boards)
    graph = chain(4)
    with pytest.raises(PlanError, match=r"boards with GEMM shapes 1x16, 4x8 cannot exchange activations"):
        plan_with("pipeline", graph, Cluster.load(str(tmp_path / "odd.toml")), 2, 1, costs_of(graph))


def test_board_without_layers_lets_rank_0_be_where_it_sends_least():
    plan = plan_for("pipeline", chain(4), 2)
    # results are larger than images here, so the last stage is where they are wanted
    assert [stage.ranks for stage in plan.stages] == [(1,), (0,)]


def test_boards_whose_memory_is_short_get_fewer_layers():
    graph = chain(8)
    small, large = (
        Cluster("two", (replace(MIXED.boards[0], memory_bytes=size),) * 2, MIXED.link, MIXED.switch_latency_ns)
        for size in (16_000, 1 << 28)
    )
    costs = MemoryCosts(graph, {node.name: 1_000_000 for node in graph.nodes})
    plan = plan_with("fused", graph, small, 2, 40, costs)
    assert [len(stage.nodes) for stage in plan.stages] == [4, 4]
    assert {len(stage.nodes) for stage in plan_with("fused", graph, large, 2, 40, costs).stages} == {8}
    with pytest.raises(PlanError, match=r"0\.0 MB are needed on rank"):
        plan_with("scatter-gather", graph, small, 2, 40, costs)
    assert len(plan_with("auto", graph, small, 2, 40, costs).stages) == 2


def test_images_in_flight_are_limited_by_memory():
    graph = chain(4)
    costs = costs_of(graph, memory_bytes=10_000)
    board = replace(MIXED.boards[0], memory_bytes=10_000 + 2 * 2 * 1024)
    cluster = Cluster("small", (board,) * 4, MIXED.link, MIXED.switch_latency_ns)
    plan = plan_with("pipeline", graph, cluster, 4, 40, costs, 4)
    assert plan.in_flight_groups == 2
    assert plan_with("pipeline", graph, Cluster.default(4), 4, 40, costs, 4).in_flight_groups > 2


class MemoryCosts(FakeCosts):
    """Every layer takes 3000 bytes."""

    def stage(self, nodes, config, share=None):
        return replace(super().stage(nodes, config, share), memory_bytes=3000 * len(nodes))


def test_stage_that_does_not_fit_the_memory_is_refused():
    with pytest.raises(PlanError, match=r"900\.\d MB are needed on rank 0, board pynq_z1 has 134\.2 MB"):
        plan_for("pipeline", chain(4), 1, memory_bytes=900_000_000)


def test_the_wanted_number_of_images_in_flight_is_kept():
    graph = chain(8)
    for wanted in (1, 3, 11):
        plan = plan_with("pipeline", graph, Cluster.default(4), 4, 40, costs_of(graph), in_flight=wanted)
        assert plan.in_flight_groups == wanted
    one, three = (
        plan_with("pipeline", graph, Cluster.default(4), 4, 40, costs_of(graph), in_flight=wanted).predicted
        for wanted in (1, 3)
    )
    assert one["throughput_images_per_s"] < three["throughput_images_per_s"]


@pytest.mark.parametrize("wanted", [0, -1, 3])
def test_more_images_in_flight_than_memory_holds_are_refused(wanted):
    graph = chain(4)
    board = replace(MIXED.boards[0], memory_bytes=10_000 + 2 * 2 * 1024)
    cluster = Cluster("small", (board,) * 4, MIXED.link, MIXED.switch_latency_ns)
    with pytest.raises(PlanError, match=rf"^--in-flight: {wanted} image groups in flight; allowed: 1\.\.2, what the"):
        plan_with("pipeline", graph, cluster, 4, 40, costs_of(graph, memory_bytes=10_000), 4, in_flight=wanted)
