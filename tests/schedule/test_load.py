"""Busy time per resource, and the bound that it gives."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_cases import chain, plans

from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import Plan, Stage
from mpi_vta.schedule.load import bottleneck, loads, usages
from mpi_vta.schedule.predict import RESOURCES, predict
from mpi_vta.schedule.validate import edges_between

CONFIG = Cluster.default(1).boards[0].config
NETWORK = NetworkModel(bytes_per_s=1_000_000_000, latency_ns=500, per_message_ns=10, per_byte_ps=0)


def test_replicas_share_the_work_and_the_messages():
    parts = [("n0",), ("n1",)]
    stages = (Stage(0, parts[0], (0,), 1, (500,), (30,)), Stage(1, parts[1], (1, 2), 1, (4000, 6000), (0, 0)))
    plan = Plan("chain", "by hand", 1, stages, edges_between(chain(2), parts, CONFIG), 4)
    result = loads(plan, NETWORK)
    assert (result[0, "vta"], result[1, "vta"], result[2, "vta"]) == (500, 2000, 3000)
    assert (result[0, "nic_out"], result[1, "nic_in"], result[0, "nic_in"]) == (1024, 512, 1024)
    assert (result[0, "cpu"], result[1, "cpu"]) == (30 + 20, 10)
    assert bottleneck(plan, NETWORK) == (2, "vta", Fraction(3000))


@settings(deadline=None, max_examples=80)
@given(plans())
def test_predicted_run_keeps_resources_busy_for_just_that_long(drawn):
    plan, _ = drawn
    turns = 60  # a multiple of every number of replicas drawn, so that turns come out even
    prediction = predict(plan, NETWORK, turns)
    for (rank, resource), load in loads(plan, NETWORK).items():
        spent = prediction.busy[rank][resource] * prediction.figures.makespan_ns
        assert abs(spent - load * turns) <= 1
    assert set(RESOURCES) >= {resource for _, resource in loads(plan, NETWORK)}


@settings(deadline=None, max_examples=80)
@given(plans(), st.integers(1, 3))
def test_no_run_is_shorter_than_its_busiest_resource(drawn, groups):
    plan, _ = drawn
    groups *= 60
    _, _, period_ns = bottleneck(plan, NETWORK)
    assert predict(plan, NETWORK, groups).figures.makespan_ns >= period_ns * groups


@settings(deadline=None, max_examples=60)
@given(plans(), st.integers(1, 40))
def test_usages_are_those_of_the_predicted_run(drawn, images):
    plan, _ = drawn
    prediction = predict(plan, NETWORK, images)
    assert {rank: (usage.vta_ns, usage.port_ns) for rank, usage in usages(plan, NETWORK, images).items()} == {
        rank: (spent["vta"], spent["nic_out"] + spent["nic_in"]) for rank, spent in prediction.busy_ns.items()
    }
