"""Ranks in real time over the local transport: right data in any order of events, and times that are held."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_outputs import MemoryOutputs
from runtime.test_virtual import BOARD, CONFIG, NETWORK, SHAPE, Adder, chain, expected, plans, program

from mpi_vta.runtime.clock_comparison import ROUNDS, compare_clocks
from mpi_vta.runtime.endpoint import Endpoint
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.rank import RankJob
from mpi_vta.runtime.transport.local import run_ranks
from mpi_vta.runtime.wall import WallClock, WallRun, Worker
from mpi_vta.schedule.figures import group_count
from mpi_vta.schedule.predict import predict
from mpi_vta.trace.clock_sync import fit_clock
from mpi_vta.trace.schema import RankInfo
from mpi_vta.trace.writer import RankTrace


def run_wall(plan, images, folder, carries_data=True, simulated=True):
    groups = group_count(len(images), plan.group_images)

    def work(transport):
        rank = transport.rank
        own = {
            stage.index: program(
                stage.index,
                [edge.value for edge in plan.edges if edge.consumer == stage.index],
                dict.fromkeys(edge.value for edge in plan.edges if edge.producer == stage.index),
            )
            for stage in plan.stages
            if rank in stage.ranks
        }
        endpoint = None
        if rank == 0:
            last = plan.stages[-1].index
            shapes = {f"v{last}": SHAPE}
            store = MemoryOutputs(len(images), shapes)
            endpoint = Endpoint({"v-1": images}, shapes, len(images), plan.group_images, CONFIG, store)
        info = RankInfo(rank, "here", BOARD.name, CONFIG.name, "adder", 1.0, 2.0, "test", 100.0, 100_000, 512, 8)
        device = Adder(carries_data)
        device.simulated = simulated
        with RankTrace(folder / f"{rank}.h5", info) as trace:
            watchdog = Watchdog(rank, "here")
            job = RankJob(plan, NETWORK, BOARD, own, groups, tuple(range(transport.size)))
            WallRun(job, transport, device, trace, watchdog, WallClock(), endpoint).run()
        return endpoint

    return run_ranks(max(plan.ranks) + 1, work)[0]


@settings(max_examples=25, deadline=None)
@given(plan=plans(), count=st.integers(1, 9), seed=st.integers(0, 99), simulated=st.booleans())
def test_any_plan_gives_the_right_data_in_real_time(tmp_path_factory, plan, count, seed, simulated):
    images = np.random.default_rng(seed).integers(-128, 128, (count, *SHAPE[1:])).astype(np.int8)
    endpoint = run_wall(plan, images, tmp_path_factory.mktemp("run"), simulated=simulated)
    (output,) = endpoint.close().values()
    assert np.array_equal(output, expected(plan, images))


@pytest.mark.parametrize("carries_data", [True, False])
def test_simulated_launches_are_held_for_their_modelled_time(tmp_path, carries_data):
    plan = chain([(0,), (1,), (2,)], 4)
    endpoint = run_wall(plan, np.zeros((12, *SHAPE[1:]), np.int8), tmp_path, carries_data)
    modelled_ns = sum(stage.compute_ns[0] for stage in plan.stages)
    assert (endpoint.times["latency_ns"] >= modelled_ns).all()
    # launches overlap as in the model, so the job is not the sum of them all, whatever the machine adds
    assert endpoint.times["end_ns"].max() >= predict(plan, NETWORK, 12).finish_ns[-1] - 12 * 10**6


def test_real_boards_are_not_held(tmp_path):
    plan = chain([(0,)], 1)
    stage = plan.stages[0]
    started = time.monotonic()
    run_wall(plan, np.zeros((3, *SHAPE[1:]), np.int8), tmp_path, simulated=False)
    assert stage.compute_ns[0] > 0
    assert time.monotonic() - started < 5


class SlowSleeper:
    """A clock that only sleeping moves on, a millisecond too far each time."""

    def __init__(self):
        self.now = 0

    def now_ns(self):
        return self.now

    def sleep(self, seconds):
        self.now += round(seconds * 1e9) + 1_000_000


def test_sleeping_too_long_does_not_add_up(monkeypatch):
    clock = SlowSleeper()
    monkeypatch.setattr("mpi_vta.runtime.wall.time.sleep", clock.sleep)
    worker = Worker("test", clock)
    all_handed_in = threading.Event()
    futures = [worker.submit(2_000_000, lambda: all_handed_in.wait(60) and {}) for _ in range(50)]
    all_handed_in.set()
    first, last = futures[0].result()[0], futures[-1].result()[0]
    worker.close()
    # 50 sleeps, each a millisecond late, would be 50 ms late together
    assert (first.start_ns, last.end_ns) == (0, 101_000_000)


def test_clocks_are_compared_with_rank_0_s():
    shift_ns = 5_000_000_000

    def work(transport):
        def now_ns():
            return time.monotonic_ns() - shift_ns * transport.rank

        return np.concatenate([compare_clocks(transport, now_ns), compare_clocks(transport, now_ns)])

    first, *others = run_ranks(3, work)
    assert len(first) == 0
    for rank, samples in enumerate(others, 1):
        assert len(samples) == 2 * ROUNDS
        line = fit_clock(samples, f"rank {rank}")
        found = line.to_reference(samples["local_ns"]) - samples["local_ns"]
        assert np.abs(found - rank * shift_ns).max() <= line.error_ns + 1


def test_fault_of_a_launch_ends_the_run(tmp_path):
    plan = chain([(0,)], 2)

    class Broken(Adder):
        def load(self, program):
            loaded = super().load(program)

            def run(inputs):
                raise RuntimeError("smoke")

            loaded.run = run
            return loaded

    def work(transport):
        endpoint = Endpoint({"v-1": np.zeros((2, *SHAPE[1:]), np.int8)}, {"v0": SHAPE}, 2, plan.group_images, CONFIG)
        info = RankInfo(0, "here", BOARD.name, CONFIG.name, "adder", 1.0, 2.0, "test", 100.0, 100_000, 512, 8)
        job = RankJob(plan, NETWORK, BOARD, {0: program(0, ["v-1"], ["v0"])}, 2, (0,))
        with RankTrace(tmp_path / "0.h5", info) as trace:
            watchdog = Watchdog(0, "here")
            WallRun(job, transport, Broken(), trace, watchdog, WallClock(), endpoint).run()

    with pytest.raises(RuntimeError, match="smoke"):
        run_ranks(1, work)
