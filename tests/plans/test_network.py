"""Message times from the cluster's link."""

from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.network import NetworkModel

NETWORK = NetworkModel(bytes_per_s=100_000_000, latency_ns=50_000, per_message_ns=10_000, per_byte_ps=1500)


def test_model_takes_link_and_switch_of_the_cluster():
    model = NetworkModel.of(Cluster.load("pynq4"))
    assert model == NetworkModel(97_000_000, 50_000, 12_000, 1000)


def test_wire_time_is_rounded_up():
    assert [NETWORK.wire_ns(size) for size in (0, 1, 1000)] == [0, 10, 10_000]
    assert NetworkModel(3, 0, 0, 0).wire_ns(1) == 333_333_334


def test_host_time_has_a_fixed_and_a_per_byte_part_rounded_up():
    assert [NETWORK.host_ns(size) for size in (0, 1, 1000)] == [10_000, 10_002, 11_500]


def test_one_message_between_idle_ranks():
    assert NETWORK.message_ns(1000) == 2 * 11_500 + 10_000 + 50_000


def test_default_link_agrees_with_what_was_measured_over_a_shaped_gigabit_link():
    network = NetworkModel.of(Cluster.default(2))
    assert 66_000 <= network.message_ns(1) <= 88_000
    assert 1.4e6 <= network.message_ns(200_000) <= 5e6
    big = 8_000_000
    assert 80 <= big / network.message_ns(big) * 1000 <= 92
    assert 88 <= big / network.wire_ns(big) * 1000 <= 98
