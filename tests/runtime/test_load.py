"""Long jobs and any plan: what is kept does not grow with the images, and no plan ever stands still."""

import gc
import threading
import tracemalloc
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runtime.test_piece_copier import divisions, plan_of
from runtime.test_virtual import BOARD, CONFIG, NETWORK, chain, program

from mpi_vta.runtime.endpoint import Endpoint
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.rank import RankJob
from mpi_vta.runtime.transport.local import LocalWorld, run_ranks
from mpi_vta.runtime.virtual import VirtualRun
from mpi_vta.runtime.wall import WallClock, WallRun
from mpi_vta.schedule.predict import predict
from mpi_vta.schedule.timeline import Receive, Send, edge_peers, rank_steps
from mpi_vta.schedule.validate import validate
from mpi_vta.trace.schema import RankInfo
from mpi_vta.trace.writer import RankTrace

STANDSTILL_S = 1200  # no machine is so slow
BYTES_PER_IMAGE = 24  # less than one integer kept per image on one of the ranks


class NoTrace:
    """Takes events and forgets them."""

    def record(self, *event, **fields):
        pass

    note_stages = note_profiles = record


class TimeOnly:
    """A device that does nothing, whatever the program."""

    name, simulated, carries_data = "timing", False, False

    def load(self, program):
        return self

    cycles = profile = None


def run_times(plan, images, world, *, wall=False, trace=NoTrace, on_finish=lambda: None):
    """Run a plan without data on all its ranks and return rank 0's image times; a standstill fails it."""
    groups = -(-images // plan.group_images)

    def work(transport):
        rank = transport.rank
        mine = {s.index: program(s.index, [], []) for s in plan.stages if rank in s.ranks}
        job = RankJob(plan, NETWORK, BOARD, mine, groups, tuple(range(transport.size)))
        endpoint = Endpoint({}, {}, images, plan.group_images, CONFIG) if rank == 0 else None
        fixed = (job, transport, TimeOnly(), trace(), Watchdog(rank, "here"))
        run = WallRun(*fixed, WallClock(), endpoint, on_finish) if wall else VirtualRun(*fixed, endpoint, on_finish)
        run.run()
        return endpoint

    guard = threading.Timer(STANDSTILL_S, world.failed.set)
    guard.daemon = True
    guard.start()
    try:
        return run_ranks(world.size, work, world)[0].times
    finally:
        guard.cancel()


@st.composite
def any_plans(draw):
    """Any graph, any cut; runs of layers split by any grid, whole on any boards that take any turns, or both."""
    graph, placements, ranks = draw(divisions())
    ranks = draw(st.integers(ranks, 8))
    for index, placement in enumerate(placements):
        on = placement.ranks
        if placement.share is None:
            on = tuple(draw(st.lists(st.integers(0, ranks - 1), min_size=1, max_size=3, unique=True)))
        extra = draw(st.lists(st.integers(0, len(on) - 1), max_size=2))
        turns = tuple(draw(st.permutations([*range(len(on)), *extra]))) if extra else ()
        placements[index] = replace(placement, ranks=on, turns=turns)
    plan, _ = plan_of(graph, placements)
    stages = [
        replace(
            stage,
            turns=placement.turns,
            compute_ns=tuple(draw(st.integers(1, 10**6)) for _ in stage.ranks),
            host_ns=(0,) * len(stage.ranks),
        )
        for stage, placement in zip(plan.stages, placements, strict=True)
    ]
    plan = replace(plan, stages=tuple(stages), in_flight_groups=draw(st.sampled_from([1, 1, 2, 5])))
    validate(plan, graph, ranks, CONFIG)
    return plan


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plan=any_plans(), images=st.integers(1, 12), eager=st.booleans(), wall=st.booleans())
def test_no_plan_stands_still_whether_sends_wait_for_their_receivers_or_not(plan, images, eager, wall):
    world = LocalWorld(max(plan.ranks) + 1, eager=eager)
    times = run_times(plan, images, world, wall=wall)
    assert (times["end_ns"] > times["start_ns"]).all()
    if not wall:
        assert times["end_ns"].tolist() == list(np.repeat(predict(plan, NETWORK, images).finish_ns, plan.group_images))
    assert all(depth <= plan.in_flight_groups for depth in world.deepest.values())


@settings(max_examples=100, deadline=None)
@given(plan=any_plans(), groups=st.integers(1, 20))
def test_peers_of_an_edge_are_those_of_its_steps(plan, groups):
    for rank in plan.ranks:
        steps = list(rank_steps(plan, rank, groups))
        for index in range(len(plan.edges)):
            for kind, sends in ((Send, True), (Receive, False)):
                wanted = [step.peer for step in steps if isinstance(step, kind) and step.edge == index]
                assert list(edge_peers(plan, index, rank, groups, sends=sends)) == wanted


def growth_bytes(tmp_path, images, *, wall):
    """Return by how many bytes the memory of all ranks grew over the second half of a job.

    The clocks remember a bounded number of gaps.
    """
    plan = chain([(0,), (1, 2), (3, 4, 5), (6,)], 12, {(0, 2)}, uneven=True)
    held, done = [], iter(range(1, images + 1))
    numbers = iter(range(16))

    def trace():
        rank = next(numbers)
        info = RankInfo(rank, "here", BOARD.name, CONFIG.name, "none", 1.0, 2.0, "test", 100.0, 100_000, 512, 8)
        return RankTrace(tmp_path / f"{rank}.h5", info)

    def look():
        if next(done) in (images // 2, images - plan.in_flight_groups):
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        run_times(plan, images, LocalWorld(7), wall=wall, trace=trace, on_finish=look)
    finally:
        tracemalloc.stop()
    before, after = held
    return after - before


def test_memory_does_not_grow_with_the_images(tmp_path):
    assert growth_bytes(tmp_path, 2400, wall=False) < 1200 * BYTES_PER_IMAGE


def test_memory_does_not_grow_with_the_images_in_real_time(tmp_path):
    assert growth_bytes(tmp_path, 1600, wall=True) < 800 * BYTES_PER_IMAGE
