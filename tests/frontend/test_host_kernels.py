from __future__ import annotations

import numpy as np
import pytest

from mpi_vta.errors import ModelError
from mpi_vta.frontend.host_kernels import RULES, host_engine, run_compiled
from mpi_vta.graph.activations import ACTIVATIONS
from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.ops import FLOAT_OPS, VTA
from mpi_vta.graph.reference import execute
from mpi_vta.graph.verify import verify


def chain(*steps, shape=(1, 6, 4, 5)):
    """A float graph of operators in a row: (op, attrs, shape of the result, constants by role)."""
    values, nodes, constants = {"x": Value("x", shape, "float32")}, [], {}
    for index, (op, attrs, result, params) in enumerate(steps):
        source = nodes[-1].output if nodes else "x"
        is_pair = op in ("add", "concat") or (op == "arithmetic" and not params)
        inputs = (source, source) if is_pair else (source,)
        roles = {role: f"{index}.{role}" for role in params}
        constants |= {roles[role]: array for role, array in params.items()}
        nodes.append(Node(f"n{index}", op, inputs, f"v{index}", attrs, roles))
        values[f"v{index}"] = Value(f"v{index}", result, "float32")
    outputs = tuple(node.output for node in nodes)
    graph = Graph("tail", "float32", ("x",), outputs, tuple(nodes), values, constants)
    verify(graph)
    return graph


def test_every_operator_of_a_tail_equals_numpy():
    rng = np.random.default_rng(0)
    factors = {"scale": rng.normal(size=6).astype(np.float32), "offset": rng.normal(size=6).astype(np.float32)}
    full = (1, 6, 4, 5)
    smooth = [("activation", {"kind": kind}, full, {}) for kind in ACTIVATIONS]
    graph = chain(
        ("scale_shift", {}, full, factors),
        ("scale_shift", {}, full, {"scale": factors["offset"]}),
        ("add", {}, full, {}),
        ("leaky_relu", {"alpha": 0.1}, full, {}),
        ("clip", {"lo": -1.0, "hi": 2.0}, full, {}),
        *smooth,
        ("relu", {}, full, {}),
        ("concat", {"axis": 1}, (1, 12, 4, 5), {}),
        ("slice", {"low": (0, 2, 1, 0), "high": (1, 8, 3, 4)}, (1, 6, 2, 4), {}),
        ("pad2d", {"pads": (1, 0, 2, 1)}, (1, 6, 5, 5), {}),
        ("upsample2d", {"scales": (2, 1)}, (1, 6, 10, 5), {}),
        ("sigmoid", {}, (1, 6, 10, 5), {}),
        ("transpose", {"order": (0, 2, 3, 1)}, (1, 10, 5, 6), {}),
        ("reshape", {"shape": (1, 50, 6)}, (1, 50, 6), {}),
        ("softmax", {}, (1, 50, 6), {}),
        *(
            ("arithmetic", {"rule": rule, "constant_first": 0}, (1, 50, 6), {})
            for rule in ("add", "multiply", "maximum")
        ),
        ("arithmetic", {"rule": "subtract", "constant_first": 1}, (1, 50, 6), {"constant": factors["scale"]}),
        ("function", {"rule": "exp"}, (1, 50, 6), {}),
        ("function", {"rule": "log"}, (1, 50, 6), {}),
        ("function", {"rule": "exp"}, (1, 50, 6), {}),
        ("arithmetic", {"rule": "divide", "constant_first": 1}, (1, 50, 6), {"constant": np.ones(1, np.float32)}),
        ("function", {"rule": "sqrt"}, (1, 50, 6), {}),
        ("arithmetic", {"rule": "power", "constant_first": 0}, (1, 50, 6), {"constant": np.full(1, 2, np.float32)}),
        ("arithmetic", {"rule": "minimum", "constant_first": 0}, (1, 50, 6), {}),
        ("concat", {"axis": 2}, (1, 50, 12), {}),
        ("slice", {"low": (0, 10, 3), "high": (1, 20, 9)}, (1, 10, 6), {}),
        *(("reduce", {"rule": rule, "axis": 1}, (1, 1, 6), {}) for rule in ("sum", "mean", "max", "min")),
    )
    x = rng.normal(0, 2, size=(3, *full[1:])).astype(np.float32)
    found, wanted = run_compiled(graph, {"x": x}), execute(graph, {"x": x})
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], array, rtol=2e-5, atol=2e-6)


def test_every_operator_that_a_host_may_do_has_a_kernel():
    assert {name for name, row in FLOAT_OPS.items() if row.place != VTA} <= set(RULES) <= set(FLOAT_OPS)


def test_a_flat_tail_and_another_number_of_images():
    graph = chain(("flatten", {}, (1, 6), {}), ("softmax", {}, (1, 6), {}), shape=(1, 6, 1, 1))
    for count in (1, 4):
        x = np.random.default_rng(count).normal(size=(count, 6, 1, 1)).astype(np.float32)
        np.testing.assert_allclose(run_compiled(graph, {"x": x})["v1"], execute(graph, {"x": x})["v1"], rtol=1e-5)


def test_numpy_runs_where_tvm_is_not_installed(monkeypatch):
    assert host_engine().name == "kernels compiled by TVM"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    engine = host_engine()
    assert (engine.name, engine.run) == ("NumPy, as TVM is not installed", execute)


def test_a_layer_for_vta_is_no_operator_for_the_host():
    window = {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)}
    graph = chain(("max_pool2d", window, (1, 6, 2, 2), {}))
    with pytest.raises(ModelError, match="tail: n0: max_pool2d is no operator for the host"):
        run_compiled(graph, {"x": np.zeros((1, 6, 4, 5), np.float32)})
