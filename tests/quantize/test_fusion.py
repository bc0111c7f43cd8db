from __future__ import annotations

import numpy as np
import pytest
from graph_strategies import GraphBuilder

from mpi_vta.errors import ModelError
from mpi_vta.quantize.fusion import Activation, fuse, split_host

PLAIN = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}


class Net(GraphBuilder):
    def __init__(self):
        super().__init__("float32", np.random.default_rng(0))
        self.source = self.input((1, 4, 6, 6))

    def conv(self, source):
        weight = self.rng.normal(0, 0.2, (4, self.values[source].shape[1], 3, 3)).astype(np.float32)
        return self.add("conv2d", (source,), PLAIN, {"weight": weight})

    def dense(self, source, outputs=5):
        weight = self.rng.normal(0, 0.2, (outputs, self.values[source].shape[1])).astype(np.float32)
        return self.add("dense", (source,), params={"weight": weight})

    def layers(self):
        return [(layer.node.name, layer.op, layer.inputs, layer.output) for layer in fuse(self.build())[0]]


def test_a_convolution_takes_residual_and_activation():
    net = Net()
    first = net.conv(net.source)
    total = net.add("add", (first, net.conv(first)))
    net.add("relu", (total,))
    layers = fuse(net.build())[0]
    assert [layer.node.name for layer in layers] == ["conv2d_0", "conv2d_1"]
    assert layers[1].inputs == ("conv2d_0:0", "conv2d_0:0")
    assert (layers[1].output, layers[1].activation) == ("relu_3:0", Activation(lo=0.0))


def test_of_two_convolutions_the_first_takes_the_addition():
    net = Net()
    one, other = net.conv(net.source), net.conv(net.source)
    net.add("add", (one, other))
    assert net.layers() == [
        ("conv2d_1", "conv2d", ("input0",), "conv2d_1:0"),
        ("conv2d_0", "conv2d", ("input0", "conv2d_1:0"), "add_2:0"),
    ]


def test_an_addition_behind_an_activation_is_a_sum():
    net = Net()
    active = net.add("relu", (net.conv(net.source),))
    net.add("clip", (net.add("add", (active, net.source)),), {"lo": 0.0, "hi": 6.0})
    layers = fuse(net.build())[0]
    assert [(layer.op, layer.output) for layer in layers] == [("conv2d", "relu_1:0"), ("sum", "clip_3:0")]
    assert layers[1].activation == Activation(lo=0.0, hi=6.0)


def test_a_value_with_two_readers_is_kept():
    net = Net()
    first = net.conv(net.source)
    net.add("relu", (first,))
    net.add("leaky_relu", (first,), {"alpha": 0.1})
    assert [entry[1] for entry in net.layers()] == ["conv2d", "sum", "sum"]


def test_a_value_that_is_an_output_is_kept():
    net = Net()
    first = net.conv(net.source)
    net.add("relu", (first,))
    graph = net.build()
    graph = type(graph)(
        **{**{f: getattr(graph, f) for f in graph.__dataclass_fields__}, "outputs": (first, "relu_1:0")}
    )
    assert [layer.op for layer in fuse(graph)[0]] == ["conv2d", "sum"]


def test_a_value_added_to_itself_is_a_sum():
    net = Net()
    first = net.conv(net.source)
    net.add("add", (first, first))
    assert [entry[1:3] for entry in net.layers()] == [
        ("conv2d", ("input0",)),
        ("sum", ("conv2d_0:0", "conv2d_0:0")),
    ]


def test_flatten_disappears_before_a_dense_layer():
    net = Net()
    flat = net.add("flatten", (net.conv(net.source),))
    net.add("relu", (net.dense(flat),))
    body, host = split_host(net.build())
    layers, alias = fuse(body)
    assert host is None
    assert alias == {"flatten_1:0": "conv2d_0:0"}
    assert [(layer.op, layer.inputs, layer.output) for layer in layers] == [
        ("conv2d", ("input0",), "conv2d_0:0"),
        ("conv2d", ("conv2d_0:0",), "relu_3:0"),
    ]


def test_softmax_and_what_follows_it_go_to_the_host():
    net = Net()
    pooled = net.add("global_avg_pool2d", (net.conv(net.source),))
    soft = net.add("softmax", (net.dense(net.add("flatten", (pooled,))),))
    net.add("clip", (soft,), {"lo": 0.1, "hi": 0.9})
    body, host = split_host(net.build())
    assert [node.op for node in body.nodes] == ["conv2d", "global_avg_pool2d", "flatten", "dense"]
    assert [node.op for node in host.nodes] == ["softmax", "clip"]
    assert host.inputs == body.outputs == ("dense_3:0",)


def test_a_flatten_at_the_end_goes_to_the_host():
    net = Net()
    net.add("flatten", (net.conv(net.source),))
    body, host = split_host(net.build())
    assert [node.op for node in body.nodes] == ["conv2d"]
    assert [node.op for node in host.nodes] == ["flatten"]


def test_a_layer_behind_a_host_operator_is_refused():
    net = Net()
    net.conv(net.add("sigmoid", (net.conv(net.source),)))
    with pytest.raises(ModelError, match="node conv2d_2: conv2d follows an operator that runs on the host only"):
        split_host(net.build())


def test_a_model_for_the_host_alone_is_refused():
    net = Net()
    net.add("sigmoid", (net.source,))
    with pytest.raises(ModelError, match="no layer that VTA can run"):
        split_host(net.build())


def test_a_host_operator_on_the_input_is_refused():
    net = Net()
    net.add("sigmoid", (net.source,))
    net.conv(net.source)
    with pytest.raises(ModelError, match="an operator for the host reads the model's input"):
        split_host(net.build())
