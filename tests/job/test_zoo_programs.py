"""Every network of the zoo at full size: the compiled program's bits are the reference's."""

from __future__ import annotations

import numpy as np
import pytest
from codegen.execution import config_named, run_program

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.graph.reference import execute
from mpi_vta.job.ready_model import ready_model
from mpi_vta.schedule.cache import ProgramCache
from mpi_vta.schedule.cost import time_program

# minutes each, and built of the layers of the others
LONG = ("resnet34", "resnet50", "vgg11")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in LONG else pytest.mark.slow) for name in BUILDERS]
)
def test_a_compiled_network_equals_the_reference(name):
    model, config = ready_model(name, seed=0, weights=None), config_named("pynq_1x16")
    (image,) = model.graph.inputs
    shape = model.graph.values[image].shape
    inputs = model.quantized.quantize_input(np.random.default_rng(0).random(shape, np.float32))
    wanted = execute(model.graph, inputs)
    program = ProgramCache(compile_graph, time_program).program(model.graph, config)
    found = run_program(program, inputs, config.batch)
    for value, array in wanted.items():
        assert len(np.unique(array)) > 1
        np.testing.assert_array_equal(found[value], array)
