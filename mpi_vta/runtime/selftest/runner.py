"""Runs the cases on a device and says what their outcomes mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import DeviceError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.runtime.devices.protocol import Device, LoadedProgram
from mpi_vta.runtime.devices.sim import time_launch
from mpi_vta.runtime.selftest.case import Case, CaseLaunch
from mpi_vta.runtime.selftest.cases import TIMED, TIMED_TRIPS, all_cases
from mpi_vta.runtime.selftest.result import HUNG, REFUSED, RIGHT, WRONG, CaseResult

CLOCK_TOLERANCE = 0.1
TIMED_LAUNCHES = 3
_STALE = (
    'bytes are stale: the port is not coherent (write port = "hp" or "hpc" into the board file, or put the .hwh beside '
    "the bitstream), or it executes another instruction set"
)
_EARLY = "bytes are those of the launch before: the end of a launch is seen too early"
_HUNG = (
    "VTA did not finish: it does not see the instructions (the port is not coherent), has no clock, or executes "
    "another instruction set"
)


def run_cases(
    config: VTAConfig, device: Device, reopen: Callable[[], Device], timed_trips: tuple[int, int] = TIMED_TRIPS
) -> tuple[CaseResult, ...]:
    """Run every case.

    Parameters
    ----------
    config : VTAConfig
        The device's build.
    device : Device
        Where to run.
    reopen : callable
        Loads the bitstream anew, as is needed once a program did not end.
    timed_trips : (int, int)
        Trip counts of the two loops that show the clock.
    """
    results = []
    for case in all_cases(config, timed_trips):
        results.append(_run_case(case, device))
        if results[-1].outcome == HUNG:
            device = reopen()
    return tuple(results)


def _run_case(case: Case, device: Device) -> CaseResult:
    cycles, _ = time_launch(case.program)
    total = sum(wanted.size for wanted in case.launches[-1].outputs.values())

    def result(outcome: str, meaning: str, wrong: int, times_ns: Sequence[int]) -> CaseResult:
        measured = min(times_ns) / 1000 if times_ns else None
        return CaseResult(case.name, case.shows, outcome, meaning, wrong, total, cycles, measured)

    times_ns: list[int] = []
    try:
        loaded = device.load(case.program)
    except DeviceError as fault:
        return result(REFUSED, str(fault.what), 0, times_ns)
    before: dict[str, NDArray[np.uint8]] = {}
    repeats = TIMED_LAUNCHES if case.name in TIMED and not device.simulated else 1
    launches = case.launches * repeats
    for launch in launches:
        try:
            found = loaded.run(launch.inputs)
        except DeviceError as fault:
            return result(HUNG, f"{_HUNG} ({fault.what})", total, times_ns)
        _note_time(loaded, times_ns)
        wrong = sum(int(np.count_nonzero(found[name] != wanted)) for name, wanted in launch.outputs.items())
        if wrong:
            return result(WRONG, _meaning(case, launch, found, before), wrong, times_ns)
        before = found
    return result(RIGHT, "", 0, times_ns)


def _note_time(loaded: LoadedProgram, times_ns: list[int]) -> None:
    if loaded.launch_ns is not None:
        times_ns.append(loaded.launch_ns)


def _meaning(
    case: Case, launch: CaseLaunch, found: dict[str, NDArray[np.uint8]], before: dict[str, NDArray[np.uint8]]
) -> str:
    """Tell bytes that did not change from bytes that were computed wrongly."""
    unchanged = all(
        np.all((found[name] == wanted) | (found[name] == before.get(name, np.zeros_like(wanted))))
        for name, wanted in launch.outputs.items()
    )
    if unchanged and before:
        whole = all(np.array_equal(found[name], before[name]) for name in launch.outputs)
        return _EARLY if whole else _STALE
    return _STALE if unchanged else case.meaning


def measured_clock(results: Sequence[CaseResult]) -> float | None:
    """Return VTA's clock in MHz from the two timed loops, None if there is no time or one of them failed.

    What a launch costs besides VTA's cycles is the same in both, so it does not count.
    """
    timed = {entry.name: entry for entry in results if entry.name in TIMED and entry.outcome == RIGHT}
    if set(timed) != set(TIMED):
        return None
    short, long = (timed[name] for name in TIMED)
    if short.measured_us is None or long.measured_us is None or long.measured_us <= short.measured_us:
        return None
    return (long.modelled_cycles - short.modelled_cycles) / (long.measured_us - short.measured_us)


def find_faults(results: Sequence[CaseResult], clock_mhz: float, *, timed: bool) -> tuple[str, ...]:
    """Return what is wrong, each in one line.

    Parameters
    ----------
    results : sequence of CaseResult
        Of `run_cases`.
    clock_mhz : float
        What VTA's clock should be.
    timed : bool
        Whether the device has times of its own.
    """
    meanings: dict[str, list[str]] = {}
    for entry in results:
        if entry.outcome != RIGHT:
            meanings.setdefault(entry.meaning, []).append(entry.name)
    faults = [f"{', '.join(names)}: {meaning}" for meaning, names in meanings.items()]
    found = measured_clock(results)
    if timed and found is not None and abs(found / clock_mhz - 1) > CLOCK_TOLERANCE:
        slow = clock_mhz / found
        text = f"{slow:.1f} times too slow" if slow > 1 else f"{1 / slow:.1f} times too fast"
        faults.append(
            f"wrong clock: VTA runs at {found:.3g} MHz, {text} for {clock_mhz:g}; PS clock 0 is not what the design's "
            "PLL was made for: check input_clock_mhz and clock_mhz of the manifest and the board file"
        )
    return tuple(faults)
