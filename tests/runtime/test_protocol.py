"""The polite wait."""

from itertools import accumulate

import pytest

from mpi_vta.runtime.transport.protocol import Pause


def test_a_long_wait_sleeps_longer_but_oversleeps_little(monkeypatch):
    slept_s = []
    monkeypatch.setattr("mpi_vta.runtime.transport.protocol.time.sleep", slept_s.append)
    pause = Pause()
    for _ in range(20):
        pause.once()
    assert slept_s == []
    for _ in range(3000):
        pause.once()
    assert slept_s[0] == 200e-6
    assert slept_s[-1] == pytest.approx(10e-3)
    before_s = [0.0, *accumulate(slept_s[:-1])]
    assert all(sleep_s <= 201e-6 + 0.002 * waited_s for sleep_s, waited_s in zip(slept_s, before_s, strict=True))
