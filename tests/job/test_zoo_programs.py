"""Every network of the zoo at full size: the compiled program's bits are the reference's."""

from __future__ import annotations

import numpy as np
import pytest
from codegen.execution import config_named, run_program

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.graph.reference import execute
from mpi_vta.job.ready_model import ready_model


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_a_compiled_network_equals_the_reference(name):
    model, config = ready_model(name, seed=0, weights=None), config_named("pynq_1x16")
    (image,) = model.graph.inputs
    shape = model.graph.values[image].shape
    inputs = model.quantized.quantize_input(np.random.default_rng(0).random(shape, np.float32))
    wanted = execute(model.graph, inputs)
    found = run_program(compile_graph(model.graph, config), inputs, config.batch)
    for value, array in wanted.items():
        assert len(np.unique(array)) > 1
        np.testing.assert_array_equal(found[value], array)
