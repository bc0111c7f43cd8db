"""Stage costs from compiled programs, and the division of cycles among layers."""

from dataclasses import replace

import numpy as np
import pytest
from schedule_cases import chain

from mpi_vta.codegen.program import Binding, HostStep, Layer, Program, Segment
from mpi_vta.hw.cluster import Cluster
from mpi_vta.schedule.cache import ProgramCache, ProgramTiming
from mpi_vta.schedule.cost import CompiledCosts, layer_cycles, stage_graph

CONFIG = Cluster.default(1).boards[0].config
GRAPH = chain(4)


def program_of(graph, config):
    """One instruction and one layer per node; nodes named n2 have none."""
    layers = tuple(Layer(node.name, node.op, "", 1, 1, 1, 1) for node in graph.nodes if node.name != "n2")
    count = len(layers)
    return Program(
        graph.name,
        config,
        np.zeros((count + 1, 2), dtype=np.uint64),
        np.full(count + 1, -1, dtype=np.int16),
        np.array([*range(count), -1], dtype=np.int16),
        (Segment("s", "input", 100),),
        tuple(Binding(value, "s", (1, 3, 8, 8), 0, 100) for value in graph.inputs),
        (),
        layers,
        {},
    )


@pytest.fixture
def costs(tmp_path):
    def time_program(program):
        return ProgramTiming(10 * len(program.layers) + 5, np.array([10] * (len(program.layers) - 1) + [15]))

    return CompiledCosts(GRAPH, ProgramCache(program_of, time_program, tmp_path))


def test_node_cycles_are_those_of_the_layers_and_sum_to_the_whole(costs):
    assert costs.node_cycles(CONFIG) == {"n0": 10, "n1": 10, "n2": 0, "n3": 15}


def test_stage_is_compiled_and_timed_by_itself(costs):
    assert costs.stage(("n0", "n1"), CONFIG).cycles == 25
    assert costs.stage(("n3",), CONFIG).cycles == 15
    # two buffers of the least size: the segment, the instructions
    assert costs.stage(("n3",), CONFIG).memory_bytes == 2 * 8192


def test_only_images_are_gathered(costs):
    assert costs.stage(("n0", "n1"), CONFIG).gathered_bytes == 100
    assert costs.stage(("n2", "n3"), CONFIG).gathered_bytes == 0


def test_result_of_a_host_step_is_gathered(tmp_path):
    def with_host_step(graph, config):
        program = program_of(graph, config)
        inputs = (Binding("patches", "s", (1, 160, 8, 8), 0, 700),)
        return replace(program, inputs=inputs, host_steps=(HostStep("x", (1, 3, 8, 8), "patches", {}),))

    cache = ProgramCache(with_host_step, lambda program: ProgramTiming(1, np.array([1])), tmp_path)
    assert CompiledCosts(GRAPH, cache).stage(("n0",), CONFIG).gathered_bytes == 700


def test_whole_model_as_a_stage_is_the_model_itself():
    assert stage_graph(GRAPH, [node.name for node in GRAPH.nodes]) is GRAPH
    part = stage_graph(GRAPH, ("n1", "n2"))
    assert (part.name, part.inputs, part.outputs) == ("chain[n1..n2]", ("v0",), ("v2",))


def test_layer_cycles_run_from_end_to_end_and_sum_to_the_launch():
    program = replace(program_of(chain(2), CONFIG), insn_layer=np.array([0, 1, 0, 1, -1], dtype=np.int16))
    ends = np.array([10, 40, 30, 90, 99], dtype=np.int64)
    assert layer_cycles(program, ends, 100).tolist() == [30, 70]


def test_layer_that_ends_within_the_one_before_costs_nothing():
    program = replace(program_of(chain(2), CONFIG), insn_layer=np.array([0, 1, -1], dtype=np.int16))
    three = replace(
        program, layers=(*program.layers, program.layers[0]), insn_layer=np.array([0, 1, 2], dtype=np.int16)
    )
    assert layer_cycles(three, np.array([50, 40, 60]), 70).tolist() == [50, 0, 20]
