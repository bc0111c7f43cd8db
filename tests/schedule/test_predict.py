"""The predicted run of a plan."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import chain, plans

from mpi_vta.errors import PlanError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import Plan, Stage
from mpi_vta.schedule.load import bottleneck
from mpi_vta.schedule.predict import predict
from mpi_vta.schedule.timeline import Launch, Receive, Send, rank_steps
from mpi_vta.schedule.validate import edges_between

CONFIG = Cluster.default(1).boards[0].config
NETWORK = NetworkModel(bytes_per_s=1_000_000_000, latency_ns=500, per_message_ns=10, per_byte_ps=0)


def equal_stages(count, compute_ns, in_flight_groups):
    parts = [(f"n{i}",) for i in range(count)]
    stages = tuple(Stage(i, part, (i,), 10, (compute_ns,), (0,)) for i, part in enumerate(parts))
    return Plan("chain", "by hand", 1, stages, edges_between(chain(count), parts, CONFIG), in_flight_groups)


def test_one_board_takes_turn_after_turn():
    prediction = predict(equal_stages(1, 5000, 2), NETWORK, 4)
    assert prediction.finish_ns == (5000, 10_000, 15_000, 20_000)
    assert prediction.start_ns == (0, 0, 5000, 10_000)
    assert prediction.bottleneck == (0, "vta")
    assert prediction.busy[0]["vta"] == 1.0


def test_latency_of_one_image_is_the_sum_of_stages_and_messages():
    size_bytes = 16 * 8 * 8
    message_ns = NETWORK.message_ns(size_bytes)
    assert predict(equal_stages(3, 5000, 1), NETWORK, 1).finish_ns == (3 * 5000 + 3 * message_ns,)


def test_full_pipeline_finishes_a_group_per_period():
    prediction = predict(equal_stages(4, 5000, 12), NETWORK, 40)
    gaps = {b - a for a, b in zip(prediction.finish_ns[20:], prediction.finish_ns[21:], strict=False)}
    assert gaps == {5000}


@settings(deadline=None, max_examples=60)
@given(plans(), st.integers(1, 60))
def test_steady_rate_is_at_most_the_bound_and_near_the_rate_of_a_long_job(case, groups):
    plan, _ = case
    bound = plan.group_images * 1e9 / float(bottleneck(plan, NETWORK)[2])
    steady = predict(plan, NETWORK, groups, bound_images_per_s=bound).figures.steady_images_per_s
    assert (steady is not None) == ((groups // 2 + 1) // plan.groups_per_round >= 4)
    assert steady is None or steady <= bound


@pytest.mark.parametrize("turns", [(), (0, 1, 0)])
def test_steady_rate_of_boards_that_take_turns_is_that_of_a_long_job(turns):
    stage = Stage(0, ("n0", "n1", "n2"), (0, 1), 10, (5000, 10_000), (0, 0), turns)
    plan = Plan("chain", "by hand", 1, (stage,), edges_between(chain(3), [stage.nodes], CONFIG), 8)
    figures = predict(plan, NETWORK, 60).figures
    longer = predict(plan, NETWORK, 6000).figures
    assert figures.steady_images_per_s == pytest.approx(longer.throughput_images_per_s, rel=0.01)


def test_one_group_in_flight_does_not_overlap():
    one = predict(equal_stages(3, 5000, 1), NETWORK, 1).figures.makespan_ns
    assert predict(equal_stages(3, 5000, 1), NETWORK, 7).figures.makespan_ns == 7 * one


def test_message_to_an_earlier_stage_is_refused():
    plan = equal_stages(3, 5000, 2)
    looped = replace(plan, edges=tuple(replace(e, producer=2) if e.consumer == 1 else e for e in plan.edges))
    with pytest.raises(PlanError, match="v0 goes back from stage 2 to 1"):
        predict(looped, NETWORK, 2)


def test_missing_message_is_reported_not_waited_for(monkeypatch):
    def without_sends(plan, rank, groups):
        return (step for step in rank_steps(plan, rank, groups) if not isinstance(step, Send))

    monkeypatch.setattr("mpi_vta.schedule.predict.rank_steps", without_sends)
    with pytest.raises(RuntimeError, match="ranks 0, 1, 2 wait for messages that nobody sends"):
        predict(equal_stages(3, 5000, 2), NETWORK, 2)


@settings(deadline=None, max_examples=100)
@given(plans(), st.integers(1, 20))
def test_prediction_obeys_causality(drawn, images):
    plan, _ = drawn
    prediction = predict(plan, NETWORK, images, keep_spans=True)
    departs, arrives, launches = {}, {}, {}
    for spans in prediction.spans.values():
        for step, span in spans:
            if isinstance(step, Send):
                departs[step.edge, step.group] = span
            elif isinstance(step, Receive):
                arrives[step.edge, step.group] = span
            elif isinstance(step, Launch):
                launches[step.place, step.group] = span
    assert departs.keys() == arrives.keys()
    for key, span in arrives.items():
        edge = plan.edges[key[0]]
        assert span.end_ns >= departs[key].end_ns + NETWORK.latency_ns + NETWORK.per_message_ns
        if edge.consumer >= 0:
            assert launches[edge.consumer, key[1]].start_ns >= span.end_ns
        if edge.producer >= 0:
            assert departs[key].start_ns >= launches[edge.producer, key[1]].end_ns
    for group in range(images - plan.in_flight_groups):
        assert prediction.start_ns[group + plan.in_flight_groups] >= prediction.finish_ns[group]


@settings(deadline=None, max_examples=60)
@given(plans(), st.integers(1, 12))
def test_prediction_is_the_same_every_time(drawn, images):
    plan, _ = drawn
    assert predict(plan, NETWORK, images, keep_spans=True) == predict(plan, NETWORK, images, keep_spans=True)
