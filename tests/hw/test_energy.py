"""Energy by hand: idle, running, ports and switch; peaks; and that the parts add up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.hw.board import Power
from mpi_vta.hw.energy import NetworkPower, Usage, job_energy, peak_power_w

POWERS = (Power(2.0, 5.0, "a"), Power(10.0, 11.0, "b"))
NETWORK = NetworkPower(0.5, 3.0, 1.0, "c")
MS = 1_000_000


def test_energy_by_hand():
    found = job_energy(POWERS, NETWORK, {0: Usage(4 * MS, 6 * MS)}, 10 * MS)
    busy, idle = found.boards
    assert (busy.idle_j, busy.running_j, busy.port_j) == pytest.approx((12e-3, 20e-3, 3e-3))
    assert (idle.idle_j, idle.running_j, idle.port_j) == pytest.approx((100e-3, 0, 0))
    assert found.switch_j == pytest.approx(50e-3)
    assert (found.total_j, found.network_j) == pytest.approx((185e-3, 53e-3))
    figures = found.figures(5)
    assert figures["energy_j_per_image"] == pytest.approx(37e-3)
    assert figures["average_power_w"] == pytest.approx(18.5)
    assert figures["images_per_s_per_w"] == pytest.approx(500 / 18.5)


def test_peak_counts_boards_that_run_and_ports_that_are_used():
    base = 2 + 10 + 3 + 2 * 1
    assert peak_power_w(POWERS, NETWORK, {}) == base
    assert peak_power_w(POWERS, NETWORK, {0: Usage(1, 0), 1: Usage(0, 1)}) == base + 3 + 2 * 0.5
    assert peak_power_w(POWERS, NETWORK, {0: Usage(1, 9), 1: Usage(1, 1)}) == base + 3 + 1 + 4 * 0.5


usages = st.tuples(st.integers(0, 10**9), st.integers(0, 2 * 10**9)).map(lambda pair: Usage(*pair))


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.integers(0, 1), usages), st.integers(10**9, 10**12))
def test_average_lies_between_all_idle_and_all_busy(used, duration_ns):
    found = job_energy(POWERS, NETWORK, used, duration_ns)
    idle_w = 2 + 10 + 3 + 2
    assert idle_w * (1 - 1e-12) <= found.average_w <= (idle_w + 3 + 1 + 4 * 0.5) * (1 + 1e-12)
    assert found.average_w <= peak_power_w(POWERS, NETWORK, used) * (1 + 1e-12)
    assert sum(board.total_j for board in found.boards) + found.switch_j == pytest.approx(found.total_j)
