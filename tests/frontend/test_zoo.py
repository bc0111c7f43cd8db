from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_import import import_model
from mpi_vta.frontend.zoo import BUILDERS, build_digits, build_resnet18, build_yolo
from mpi_vta.graph.reference import execute_all

COUNTS = {
    "resnet18": {"conv2d": 20, "relu": 17, "add": 8, "max_pool2d": 1, "global_avg_pool2d": 1, "flatten": 1, "dense": 1},
    "resnet34": {
        "conv2d": 36,
        "relu": 33,
        "add": 16,
        "max_pool2d": 1,
        "global_avg_pool2d": 1,
        "flatten": 1,
        "dense": 1,
    },
    "resnet50": {
        "conv2d": 53,
        "relu": 49,
        "add": 16,
        "max_pool2d": 1,
        "global_avg_pool2d": 1,
        "flatten": 1,
        "dense": 1,
    },
    "yolo": {"conv2d": 13, "leaky_relu": 11, "max_pool2d": 6, "upsample2d": 1, "concat": 1},
    "vgg11": {"conv2d": 8, "relu": 10, "max_pool2d": 5, "flatten": 1, "dense": 3},
    "squeezenet": {"conv2d": 26, "relu": 26, "max_pool2d": 3, "concat": 8, "global_avg_pool2d": 1, "flatten": 1},
    "mobilenet_v1": {"conv2d": 27, "clip": 27, "global_avg_pool2d": 1, "flatten": 1, "dense": 1},
    "mobilenet_v2": {"conv2d": 52, "clip": 35, "add": 10, "global_avg_pool2d": 1, "flatten": 1, "dense": 1},
    "digits": {"conv2d": 3, "relu": 3, "max_pool2d": 2, "flatten": 1, "dense": 1},
    "shapes": {"conv2d": 11, "leaky_relu": 9, "max_pool2d": 3, "upsample2d": 1, "concat": 1},
    "residual": {"conv2d": 9, "relu": 7, "add": 3, "max_pool2d": 1, "global_avg_pool2d": 1, "flatten": 1, "dense": 1},
    "depthwise": {
        "conv2d": 14,
        "clip": 9,
        "activation": 1,
        "add": 2,
        "global_avg_pool2d": 1,
        "flatten": 1,
        "dense": 1,
    },
}
OUTPUTS = {
    "yolo": [(1, 255, 13, 13), (1, 255, 26, 26)],
    "digits": [(1, 10)],
    "shapes": [(1, 18, 6, 6), (1, 18, 12, 12)],
    "residual": [(1, 8)],
    "depthwise": [(1, 8)],
}
OWN = ("digits", "shapes", "residual", "depthwise")  # networks of this project, trained by it
# parameters of torchvision's networks, and the filters with batch norm: folding leaves one bias per
# filter where torch counts a scale and a shift
TORCHVISION = {
    "resnet18": (11_689_512, 4_800),
    "resnet34": (21_797_672, 8_512),
    "resnet50": (25_557_032, 26_560),
    "vgg11": (132_863_336, 0),
    "mobilenet_v2": (3_504_872, 17_056),
    "squeezenet": (1_235_496, 0),
}
HEAVY = ("vgg11",)  # half a gigabyte of weights
QUICK = [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in BUILDERS]


@cache
def graph_of(name):
    return import_model(BUILDERS[name](0, None), name, name)


@pytest.mark.parametrize("name", QUICK)
def test_a_zoo_model_has_its_published_layers(name):
    graph = graph_of(name)
    ops = [node.op for node in graph.nodes]
    assert {op: ops.count(op) for op in set(ops)} == COUNTS[name]
    assert [graph.values[output].shape for output in graph.outputs] == OUTPUTS.get(name, [(1, 1000)])


@pytest.mark.parametrize("name", [name for name in QUICK if name not in ("yolo", "mobilenet_v1", *OWN)])
def test_parameters_count_as_torchvision_s(name):
    published, filters = TORCHVISION[name]
    assert sum(array.size for array in graph_of(name).constants.values()) == published - filters


def test_parameters_of_mobilenet_v1_count_as_keras_s():
    """Keras counts 4 253 864, four for each of the 10 944 filters with batch norm."""
    assert sum(array.size for array in graph_of("mobilenet_v1").constants.values()) == 4_253_864 - 3 * 10_944


def test_parameters_of_yolo_count_as_darknet_s():
    """darknet's yolov3-tiny.weights holds 8 858 734 numbers, four for each filter's batch norm."""
    filters = 16 + 32 + 64 + 128 + 256 + 512 + 1024 + 256 + 512 + 128 + 256
    assert sum(array.size for array in graph_of("yolo").constants.values()) == 8_858_734 - 3 * filters


def test_layers_keep_their_names():
    names = {node.name for node in graph_of("resnet18").nodes}
    assert {"conv1", "maxpool", "layer3.0.conv1", "layer3.0.downsample.0", "layer4.1.add", "fc"} <= names
    yolo = {node.name: node for node in graph_of("yolo").nodes}
    assert yolo["layer11.pool"].attrs == {"kernel": (2, 2), "strides": (1, 1), "pads": (0, 0, 1, 1)}
    assert yolo["layer20.concat"].inputs == ("layer19.upsample", "layer8.leaky")


def test_a_seed_makes_the_same_weights_every_time():
    one, again, other = (import_model(build_digits(seed, None), "d", "d") for seed in (3, 3, 4))
    assert one.sha256 == again.sha256
    assert one.sha256 != other.sha256


@pytest.mark.parametrize("name", [name for name in QUICK if name not in OWN])
def test_activations_stay_in_range(name):
    graph = graph_of(name)
    image = np.random.default_rng(0).uniform(0, 1, graph.values["input"].shape).astype(np.float32)
    values = execute_all(graph, {"input": image})
    for node in graph.nodes:
        spread = float(values[node.output].std())
        assert 0.05 < spread < 20, (node.name, spread)


def weights_of(build) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    constants = {entry.name: numpy_helper.to_array(entry) for entry in build(0, None).graph.initializer}
    return {name: array for name, array in constants.items() if not name.endswith(".scales")}


def test_given_weights_replace_the_seeded_ones():
    weights = weights_of(build_digits)
    weights["fc.bias"] = np.arange(10, dtype=np.float64)
    weights["bn1.num_batches_tracked"] = np.array(5)
    graph = import_model(build_digits(1, weights), "d", "d")
    np.testing.assert_array_equal(graph.constants["fc.bias"], np.arange(10, dtype=np.float32))


def test_weights_that_do_not_fit_are_listed_in_one_error():
    weights = weights_of(build_yolo)
    del weights["layer0.conv.weight"]
    weights["layer2.conv.weight"] = np.zeros((32, 16, 1, 1), np.float32)
    weights["layer99.conv.weight"] = np.zeros(1, np.float32)
    with pytest.raises(ModelError) as caught:
        build_yolo(0, weights)
    message = str(caught.value)
    assert "layer0.conv.weight is missing" in message
    assert "layer2.conv.weight is float32 (32, 16, 1, 1), not float (32, 16, 3, 3)" in message
    assert "layer99.conv.weight is not in the model" in message
    assert message.startswith("--weights: the weights do not fit yolo")


def test_many_faults_are_counted():
    with pytest.raises(ModelError, match=r"conv1.weight is missing, .* and \d+ more; allowed: 102 float arrays"):
        build_resnet18(0, {})
