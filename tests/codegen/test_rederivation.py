"""A compiled program is known again by its graph, whatever was changed in it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graph_strategies import GraphBuilder

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.rederivation import find_change
from mpi_vta.codegen.tiling import Tiling
from mpi_vta.hw.config import VTAConfig

CONFIGS = Path(__file__).parents[2] / "hw/vta_configs"


def small_graph():
    builder = GraphBuilder("int8", np.random.default_rng(0))
    value = builder.input((1, 3, 6, 6), 0)
    attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1, "leaky": None}
    attrs |= {"residual_shift": 0, "shift": 8, "lo": -128, "hi": 127}
    for channels in (3, 16):
        params = {"weight": builder.int8_weights((16, channels, 3, 3)), "bias": np.arange(16, dtype=np.int32)}
        value = builder.add("conv2d", (value,), attrs, params, 0)
    return builder.build()


GRAPH = small_graph()


@pytest.fixture(scope="module", params=["pynq_1x16", "pynq_2x16"])
def config(request):
    return VTAConfig.load(CONFIGS / f"{request.param}.json")


@pytest.fixture(scope="module")
def program(config):
    return compile_graph(GRAPH, config)


def with_bit_changed(program, segment):
    data = {name: content.copy() for name, content in program.data.items()}
    data[segment][data[segment].size // 2] ^= 1
    return replace(program, data=data)


@pytest.mark.parametrize("every", [False, True])
def test_program_as_it_was_compiled_has_no_change(config, program, every):
    assert find_change(GRAPH, config, program, every_instruction=every) == ""


@pytest.mark.parametrize("segment", ["const.wgt", "const.acc"])
def test_single_bit_of_a_constant_is_found_at_once(config, program, segment):
    changed = with_bit_changed(program, segment)
    assert find_change(GRAPH, config, changed, every_instruction=False) == f"{segment} holds other values"


def test_missing_constants_are_found(config, program):
    changed = replace(program, data={name: content for name, content in program.data.items() if name != "const.acc"})
    assert find_change(GRAPH, config, changed, every_instruction=False) == "const.acc holds other values"


def test_program_for_another_build_is_found(program, config):
    other = VTAConfig.load(CONFIGS / "ultra96_1x16.json")
    assert find_change(GRAPH, other, program, every_instruction=False) == f"it is for {config.name}"


def test_other_instructions_micro_ops_and_symbols_are_found(config, program):
    insns = program.insns.copy()
    insns[len(insns) // 2, 1] ^= np.uint64(1)
    binding = replace(program.outputs[0], scale_log2=3)
    for changed in (
        replace(program, insns=insns),
        with_bit_changed(program, "const.uop"),
        replace(program, outputs=(binding,)),
        replace(program, layers=(replace(program.layers[0], gemm_uops=1), *program.layers[1:])),
    ):
        found = find_change(GRAPH, config, changed, every_instruction=True)
        assert found == "its instructions, micro-ops or symbols are others"


@pytest.mark.parametrize("schedule", ["", "yx>c 1x1x1", "yx>c 1x1x0 step 1x1 slots 1/1/1"])
def test_schedule_that_cannot_be_is_found(config, program, schedule):
    layers = (replace(program.layers[0], schedule=schedule), *program.layers[1:])
    found = find_change(GRAPH, config, replace(program, layers=layers), every_instruction=True)
    assert found.startswith("its schedules cannot be used (")


def test_schedule_is_read_from_its_name():
    for outer in (False, True):
        tiling = Tiling(1, 2, 3, 4, 5, outer, 6, 7, 8)
        assert Tiling.parse(str(tiling)) == tiling
