"""The board's power sensor read in the background while a job runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.runtime.devices.sensor import PowerSensor
from mpi_vta.trace.schema import POWER_DTYPE

# an INA226 averages over some milliseconds; reading it over I2C costs the processor about one
INTERVAL_S = 0.05


class PowerSampler:
    """Samples of one sensor.

    Parameters
    ----------
    sensor : PowerSensor
        What to read.
    now_ns : callable
        The rank's clock.
    interval_s : float
        Time between samples.

    Attributes
    ----------
    missed : int
        Times at which the chip did not answer; the value before holds on.
    """

    def __init__(self, sensor: PowerSensor, now_ns: Callable[[], int], interval_s: float = INTERVAL_S) -> None:
        self.missed = 0
        self._sensor, self._now_ns, self._interval_s = sensor, now_ns, interval_s
        self._samples: list[tuple[int, float]] = []
        self._stopped = threading.Event()
        self._end_ns = 0

    @contextmanager
    def running(self) -> Iterator[PowerSampler]:
        """Sample while the body runs."""
        thread = threading.Thread(target=self._sample, name="power", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stopped.set()
            thread.join()
            self._end_ns = self._now_ns()

    def steps(self) -> NDArray[Any]:
        """Return the samples as pieces without gaps, POWER_DTYPE: each holds until the next one."""
        steps = np.zeros(len(self._samples), POWER_DTYPE)
        if steps.size:
            starts, watts = zip(*self._samples, strict=True)
            steps["start_ns"], steps["watts"] = starts, watts
            steps["end_ns"] = [*starts[1:], self._end_ns]
        return steps

    def _sample(self) -> None:
        while True:
            at_ns = self._now_ns()
            try:
                self._samples.append((at_ns, self._sensor.watts()))
            except OSError:
                # one lost I2C transfer must not end a job; the trace says how many there were
                self.missed += 1
            if self._stopped.wait(self._interval_s):
                return
