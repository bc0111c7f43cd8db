"""Ranks that run a plan over the local transport: right data, and exactly the predicted times."""

import io
from collections import Counter
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_outputs import MemoryOutputs

from mpi_vta.codegen.program import Binding, Program, Segment
from mpi_vta.errors import PlanError
from mpi_vta.graph.layout import packed_bytes, unpack_activation
from mpi_vta.hw.cluster import Cluster
from mpi_vta.plans.network import NetworkModel
from mpi_vta.plans.plan import SINK, SOURCE, Edge, Plan, Stage
from mpi_vta.runtime.endpoint import Endpoint
from mpi_vta.runtime.faults.watchdog import Watchdog
from mpi_vta.runtime.rank import RankJob
from mpi_vta.runtime.transport.local import run_ranks
from mpi_vta.runtime.virtual import VirtualRun
from mpi_vta.schedule.figures import group_count
from mpi_vta.schedule.predict import predict
from mpi_vta.trace.schema import EventKind, RankInfo, rank_group
from mpi_vta.trace.writer import RankTrace

SHAPE = (1, 3, 2, 2)
CLUSTER = Cluster.default(8)
BOARD = CLUSTER.boards[0]
CONFIG = BOARD.config
NETWORK = NetworkModel.of(CLUSTER)


class Adder:
    """A device whose launch adds all inputs and the number of its stage, modulo 256."""

    name = "adder"
    simulated = True

    def __init__(self, carries_data=True):
        self.carries_data = carries_data

    def load(self, program):
        return LoadedAdder(program)


class LoadedAdder:
    def __init__(self, program):
        self.program = program
        self.number = int(program.name)
        self.cycles = 1000 * (self.number + 1)
        self.profile = None

    def run(self, inputs):
        total = np.full(packed_bytes(SHAPE, CONFIG), self.number, np.uint8)
        for binding in self.program.inputs:
            total = total + inputs[binding.value]
        return {binding.value: total for binding in self.program.outputs}


def binding(value):
    return Binding(value, value, SHAPE, 0, packed_bytes(SHAPE, CONFIG))


def program(stage, inputs, outputs):
    return Program(
        str(stage),
        CONFIG,
        np.zeros((0, 2), np.uint64),
        np.zeros(0, np.int16),
        np.zeros(0, np.int16),
        tuple(Segment(value, "scratch", packed_bytes(SHAPE, CONFIG)) for value in dict.fromkeys([*inputs, *outputs])),
        tuple(map(binding, inputs)),
        tuple(map(binding, outputs)),
        (),
        {},
    )


def chain(stages, in_flight_groups, skips=frozenset(), uneven=False):
    """A plan of stages that each read the one before, plus `skips`: pairs of (producer, consumer).

    If `uneven`, the first replica of a stage has two turns where the others have one.
    """
    pairs = {(index, index + 1) for index in range(len(stages) - 1)} | set(skips)
    links = [(SOURCE, 0), *sorted(pairs, key=lambda pair: (pair[1], pair[0])), (len(stages) - 1, SINK)]
    raw, packed = int(np.prod(SHAPE)) * CONFIG.batch, packed_bytes(SHAPE, CONFIG)
    edges = tuple(Edge(f"v{a}", a, b, raw if a == SOURCE else packed) for a, b in links)
    edges = tuple(sorted(edges, key=lambda edge: (edge.consumer, edge.producer, edge.value)))
    built = tuple(
        Stage(
            index,
            (f"n{index}",),
            ranks,
            1000 * (index + 1),
            (BOARD.compute_ns(1000 * (index + 1)),) * len(ranks),
            ((BOARD.pack_ns(raw) if index == 0 else 0),) * len(ranks),
            turns=(0, *range(len(ranks))) if uneven else (),
        )
        for index, ranks in enumerate(stages)
    )
    return Plan("chain", "pipeline", CONFIG.batch, built, edges, in_flight_groups)


def run_plan(plan, images, folder, carries_data=True):
    groups = group_count(len(images), plan.group_images)
    programs = {
        stage.index: program(
            stage.index,
            [edge.value for edge in plan.edges if edge.consumer == stage.index],
            dict.fromkeys(edge.value for edge in plan.edges if edge.producer == stage.index),
        )
        for stage in plan.stages
    }

    def work(transport):
        rank = transport.rank
        own = {stage.index: programs[stage.index] for stage in plan.stages if rank in stage.ranks}
        job = RankJob(plan, NETWORK, BOARD, own, groups, tuple(range(transport.size)))
        endpoint = None
        if rank == 0:
            last = plan.stages[-1].index
            shapes = {f"v{last}": SHAPE}
            store = MemoryOutputs(len(images), shapes)
            endpoint = Endpoint({"v-1": images}, shapes, len(images), plan.group_images, CONFIG, store)
        info = RankInfo(rank, "here", BOARD.name, CONFIG.name, "adder", 1.0, 2.0, "test", 100.0, 100_000, 512, 8)
        watchdog = Watchdog(rank, "here")
        with RankTrace(folder / f"{rank}.h5", info) as trace:
            run = VirtualRun(job, transport, Adder(carries_data), trace, watchdog, endpoint)
            run.run()
            with h5py.File(io.BytesIO(trace.close()), "r") as file:
                kinds = file[rank_group(rank)]["events"]["kind"]
        return endpoint, Counter(EventKind(kind) for kind in kinds)

    return run_ranks(max(plan.ranks) + 1, work)


def expected(plan, images):
    values = {"v-1": images.view(np.uint8)}
    for stage in plan.stages:
        total = np.full(images.shape, stage.index, np.uint8)
        for edge in plan.edges:
            if edge.consumer == stage.index:
                total = total + values[edge.value]
        values[f"v{stage.index}"] = total
    return values[f"v{len(plan.stages) - 1}"].view(np.int8)


@st.composite
def plans(draw):
    count = draw(st.integers(1, 4))
    stages = [tuple(draw(st.permutations(range(6)))[: draw(st.integers(1, 3))]) for _ in range(count)]
    pairs = [(a, b) for a in range(count) for b in range(a + 2, count)]
    skips = draw(st.sets(st.sampled_from(pairs), max_size=2)) if pairs else set()
    return chain(stages, draw(st.integers(1, 6)), skips, draw(st.booleans()))


@settings(max_examples=25, deadline=None)
@given(plan=plans(), count=st.integers(1, 9), seed=st.integers(0, 99))
def test_any_plan_gives_the_right_data_at_the_predicted_times(tmp_path_factory, plan, count, seed):
    images = np.random.default_rng(seed).integers(-128, 128, (count, *SHAPE[1:])).astype(np.int8)
    endpoint, _ = run_plan(plan, images, tmp_path_factory.mktemp("run"))[0]
    (output,) = endpoint.close().values()
    assert np.array_equal(output, expected(plan, images))
    prediction = predict(plan, NETWORK, count)
    assert endpoint.times["start_ns"].tolist() == list(np.repeat(prediction.start_ns, plan.group_images)[:count])
    assert endpoint.times["end_ns"].tolist() == list(np.repeat(prediction.finish_ns, plan.group_images)[:count])


def test_run_without_data_takes_the_same_time(tmp_path):
    plan = chain([(0,), (1, 2), (3,)], 4, {(0, 2)})
    images = np.ones((7, *SHAPE[1:]), np.int8)
    with_data = run_plan(plan, images, tmp_path)[0][0]
    without = run_plan(plan, images, tmp_path, carries_data=False)[0][0]
    assert np.array_equal(with_data.times, without.times)
    assert not without.close()["v2"].any()


def test_every_launch_and_message_is_recorded(tmp_path):
    plan = chain([(0,), (1,)], 2)
    results = run_plan(plan, np.zeros((3, *SHAPE[1:]), np.int8), tmp_path)
    first, second = (events for _, events in results)
    at_rank_0 = (EventKind.START, EventKind.HOST, EventKind.LAUNCH, EventKind.SEND, EventKind.RECEIVE, EventKind.FINISH)
    assert first == dict.fromkeys(at_rank_0, 3)
    assert second == {EventKind.LAUNCH: 3, EventKind.SEND: 3, EventKind.RECEIVE: 3}


def test_cycles_told_are_those_of_the_rank_s_own_build(tmp_path):
    plan = chain([(0,)], 1)
    first_replica_s = replace(plan, stages=(replace(plan.stages[0], cycles=7),))
    run_plan(first_replica_s, np.zeros((1, *SHAPE[1:]), np.int8), tmp_path)
    with h5py.File(tmp_path / "0.h5", "r") as file:
        assert file[rank_group(0)].attrs["cycles"].tolist() == [1000]


def test_plan_with_other_times_than_its_programs_is_refused(tmp_path):
    plan = chain([(0,)], 1)
    stage = plan.stages[0]
    slower = Plan(
        plan.model,
        plan.strategy,
        plan.group_images,
        (Stage(0, stage.nodes, (0,), stage.cycles, (stage.compute_ns[0] + 1,), stage.host_ns),),
        plan.edges,
        1,
    )
    with pytest.raises(PlanError, match=r"stage 0 takes .* ns on rank 0, the plan says"):
        run_plan(slower, np.zeros((1, *SHAPE[1:]), np.int8), tmp_path)


def test_last_group_is_padded_with_zeros_and_the_padding_is_dropped():
    endpoint = Endpoint({"x": np.ones((3, 1, 1, 1), np.int8)}, {"y": (1, 1, 1, 1)}, 3, 2, CONFIG)
    assert endpoint.group(1)["x"].tolist() == [1, 0]
    assert unpack_activation(np.arange(CONFIG.inp_bytes, dtype=np.uint8), (1, 1, 1, 1), CONFIG).size == CONFIG.batch
