"""Power read in the background: pieces without gaps, lost readings counted, and labelled in the trace."""

import itertools
import time

import h5py
import numpy as np
from trace_cases import run_record

from mpi_vta.runtime.devices.sensor import PowerSensor
from mpi_vta.runtime.power_sampling import PowerSampler
from mpi_vta.runtime.wall import WallClock
from mpi_vta.trace.merge import merge
from mpi_vta.trace.reader import read
from mpi_vta.trace.schema import CLOCK_SAMPLE_DTYPE, IMAGE_DTYPE, MEASURED, POWER_DTYPE, EventKind, RankInfo
from mpi_vta.trace.writer import RankTrace


def test_samples_are_pieces_without_gaps(tmp_path):
    chip = tmp_path / "power1_input"
    chip.write_text("2500000\n")
    clock = WallClock()
    sampler = PowerSampler(PowerSensor("ina226", (chip,)), clock.now_ns, interval_s=0.005)
    with sampler.running():
        time.sleep(0.1)
    steps = sampler.steps()
    assert len(steps) >= 3
    assert set(steps["watts"]) == {2.5}
    assert steps["end_ns"][:-1].tolist() == steps["start_ns"][1:].tolist()
    assert steps["end_ns"][-1] - steps["start_ns"][0] >= 100_000_000
    assert sampler.missed == 0


def test_lost_readings_are_counted_and_do_not_end_the_job():
    answers = itertools.cycle([1.0, None])

    class Flaky(PowerSensor):
        def watts(self):
            if (value := next(answers)) is None:
                raise OSError("no acknowledge")
            return value

    sampler = PowerSampler(Flaky("ina226", ()), WallClock().now_ns, interval_s=0.002)
    with sampler.running():
        time.sleep(0.05)
    assert abs(sampler.missed - len(sampler.steps())) <= 1
    assert sampler.missed > 0


def test_sensor_that_never_answers_leaves_no_sample(tmp_path):
    sampler = PowerSampler(PowerSensor("ina226", (tmp_path / "gone",)), WallClock().now_ns)
    with sampler.running():
        pass
    assert len(sampler.steps()) == 0
    assert sampler.missed == 1


def test_trace_says_whose_power_was_measured(tmp_path):
    files = []
    for rank in range(2):
        info = RankInfo(rank, "here", "zcu104", "c", "pynq", 11.0, 14.0, "a data sheet", 333.0, 40_000, 512, 16)
        with RankTrace(tmp_path / f"{rank}.h5", info) as trace:
            trace.note_profiles({})
            trace.record(EventKind.LAUNCH, 1_000, 2_000, stage=0, image=0)
            if rank:
                samples = np.array([(0, 5_000.0, 10), (10_000, 5_000.0, 10)], CLOCK_SAMPLE_DTYPE)
                trace.note_clock(samples)
                trace.note_power(np.array([(0, 900, 12.0), (900, 3_000, 13.0)], POWER_DTYPE), "ina226", 4)
            files.append(trace.close())
    merge(tmp_path / "run.h5", files, run_record("{}", np.zeros(0, IMAGE_DTYPE), {"time": MEASURED}))
    run = read(tmp_path / "run.h5")
    assert run.ranks[1].power["watts"].tolist() == [12.0, 13.0]
    # brought to rank 0's clock as the events are
    assert run.ranks[1].power["start_ns"].tolist() == [5_000, 5_900]
    assert set(run.ranks[0].power["watts"]) == {11.0, 14.0}
    with h5py.File(tmp_path / "run.h5") as file:
        found = [dict(file[f"ranks/00{rank}/power"].attrs) for rank in range(2)]
    assert found == [
        {"kind": "modelled", "source": "a data sheet"},
        {"kind": "measured", "source": "ina226", "missed": 4},
    ]
