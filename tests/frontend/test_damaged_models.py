"""Whatever is wrong with a model, the import either works or says so as a `ModelError`, and quietly."""

from __future__ import annotations

import functools
import random

import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpi_vta.errors import MpiVtaError
from mpi_vta.frontend.onnx_import import import_model
from mpi_vta.frontend.onnx_operators import supported
from mpi_vta.frontend.zoo import build_digits
from mpi_vta.graph.verify import verify


@functools.cache
def whole() -> bytes:
    return build_digits(0, None).SerializeToString()


def drop_node(rng, graph):
    graph.node.remove(rng.choice(graph.node))


def rename_input(rng, graph):
    inputs = rng.choice([node for node in graph.node if node.input]).input
    inputs[rng.randrange(len(inputs))] = rng.choice(["ghost", "input", "", "conv1", "fc.weight"])


def drop_input(rng, graph):
    rng.choice([node for node in graph.node if node.input]).input.pop()


def rename_output(rng, graph):
    rng.choice(graph.node).output[0] = rng.choice(["other", "conv1"])


def change_operator(rng, graph):
    rng.choice(graph.node).op_type = rng.choice(supported())


def change_attribute(rng, graph):
    ints = rng.choice([a for node in graph.node for a in node.attribute if a.ints]).ints
    ints[rng.randrange(len(ints))] = rng.choice([-1, 0, 5, 100])


def change_initializer(rng, graph):
    rng.choice(graph.initializer).dims[0] = rng.choice([0, 1, 16, 64])


def change_input(rng, graph):
    rng.choice(graph.input[0].type.tensor_type.shape.dim).dim_value = rng.choice([1, 2, 5, 9])


DAMAGES = (
    drop_node,
    rename_input,
    drop_input,
    rename_output,
    change_operator,
    change_attribute,
    change_initializer,
    change_input,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_damaged_model_is_imported_or_refused(seed, capfd):
    rng, model = random.Random(seed), onnx.load_model_from_string(whole())
    for damage in rng.choices(DAMAGES, k=rng.randint(1, 2)):
        damage(rng, model.graph)
    message = "damaged"
    try:
        verify(import_model(model, "damaged", "damaged.onnx"))
    except MpiVtaError as fault:
        message = str(fault)
    assert "damaged" in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")
