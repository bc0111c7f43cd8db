"""Throw-away ONNX models, and a comparison of what we make of them with ONNX's reference evaluator."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mpi_vta.frontend.onnx_import import import_model
from mpi_vta.graph.reference import execute


class Net:
    """A throw-away ONNX model: one input, nodes chained by name."""

    def __init__(self, shape, seed=0, opset=17):
        self.shape, self.opset = tuple(shape), opset
        self.rng = np.random.default_rng(seed)
        self.nodes, self.initializers = [], []

    def constant(self, name, array):
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def normal(self, name, *shape, mean=0.0, spread=1.0):
        return self.constant(name, self.rng.normal(mean, spread, shape).astype(np.float32))

    def add(self, op, *inputs, name=None, **attrs):
        name = name or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attrs))
        return name

    def conv(self, source, inputs, outputs, kernel=3, bias=True, name=None, **attrs):
        name = name or f"n{len(self.nodes)}"
        spread = (2 / (inputs * kernel * kernel)) ** 0.5
        operands = [source, self.normal(f"{name}.weight", outputs, inputs, kernel, kernel, spread=spread)]
        if bias:
            operands.append(self.normal(f"{name}.bias", outputs))
        return self.add("Conv", *operands, name=name, **attrs)

    def batch_norm(self, source, channels, name=None):
        name = name or f"n{len(self.nodes)}"
        scale, shift = self.normal(f"{name}.s", channels, mean=1.0), self.normal(f"{name}.b", channels)
        variance = np.abs(self.rng.normal(1, 0.3, channels)).astype(np.float32) + 0.1
        mean, var = self.normal(f"{name}.m", channels), self.constant(f"{name}.v", variance)
        return self.add("BatchNormalization", source, scale, shift, mean, var, name=name, epsilon=1e-3)

    def model(self, *outputs):
        make = helper.make_tensor_value_info
        graph_input = make("input", TensorProto.FLOAT, self.shape)
        results = [make(name, TensorProto.FLOAT, None) for name in outputs or [self.nodes[-1].output[0]]]
        graph = helper.make_graph(self.nodes, "net", [graph_input], results, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def compare(model, seed=0, positive=False):
    """Import a model, run it both ways, return our graph."""
    graph = import_model(model, "net", "net.onnx")
    image = np.random.default_rng(seed).normal(size=graph.values["input"].shape).astype(np.float32)
    image = np.abs(image) if positive else image
    expected = ReferenceEvaluator(model).run(None, {"input": image})
    results = execute(graph, {graph.inputs[0]: image})
    for name, array in zip(graph.outputs, expected, strict=True):
        np.testing.assert_allclose(results[name], array, rtol=1e-4, atol=1e-4 * max(1, np.abs(array).max()))
    return graph


def ops(graph):
    return [node.op for node in graph.nodes]
