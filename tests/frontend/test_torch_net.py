"""What is trained is what is shipped: the same ONNX model, in torch and in the reference."""

from __future__ import annotations

import numpy as np
import pytest
from torch_net import TorchNet
from train_patches import accuracy, patches, train
from train_shapes import targets, turned

from mpi_vta.frontend.onnx_import import import_model
from mpi_vta.frontend.shapes import draw_scene
from mpi_vta.frontend.small_nets import build_depthwise, build_residual, build_shapes
from mpi_vta.graph.reference import execute

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("build", [build_shapes, build_residual, build_depthwise])
def test_torch_computes_what_the_reference_does(build):
    import torch

    model = build(3, None)
    graph = import_model(model, "net", "net")
    images = np.random.default_rng(0).uniform(size=(2, *graph.values["input"].shape[1:])).astype(np.float32)
    net = TorchNet(model)
    with torch.no_grad():
        found = net(torch.from_numpy(images), training=False)
    exact = execute(graph, {"input": images})
    for name, tensor in zip(graph.outputs, found, strict=True):
        np.testing.assert_allclose(tensor.numpy(), exact[name], rtol=1e-3, atol=1e-3)


def test_stored_weights_make_the_same_net_again():
    net = TorchNet(build_depthwise(3, None))
    arrays = net.arrays()
    again = TorchNet(build_depthwise(0, arrays)).arrays()
    assert set(again) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_training_learns():
    images, labels = patches(1, 512)
    before = accuracy(TorchNet(build_residual(0, None)), images, labels)
    assert accuracy(train("residual", images, labels, 6), images, labels) > before + 0.2


def test_boxes_turn_with_their_picture():
    scene = draw_scene(1, 4)
    mask = np.zeros((96, 96))
    left, top, right, bottom = scene.boxes[0].astype(int)
    mask[top:bottom, left:right] = 1
    for turns in range(4):
        for mirrored in (False, True):
            seen = np.rot90(mask, turns)
            seen = seen[:, ::-1] if mirrored else seen
            rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
            expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            np.testing.assert_array_equal(turned(scene.boxes[:1], turns, mirrored)[0], expected)


def test_an_object_is_wanted_in_one_cell_of_one_anchor():
    boxes = [np.array([[40.0, 40, 68, 68]]), np.zeros((0, 4))]
    coarse, fine = targets(boxes, [np.array([2]), np.zeros(0, np.int64)])
    assert (coarse["there"].sum(), fine["there"].sum()) == (1, 0)
    assert coarse["there"][0, 0, 3, 3] == 1
    np.testing.assert_allclose(coarse["box"][0, 0, :, 3, 3], [0.375, 0.375, 0, 0], atol=1e-6)
    assert coarse["kind"][0, 0, :, 3, 3].tolist() == [0, 0, 1, 0]
    assert fine["told"].min() == 1
