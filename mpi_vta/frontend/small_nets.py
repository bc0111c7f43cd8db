"""Small networks that are trained by this project, on the pictures of `mpi_vta.frontend.shapes`, built as ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from mpi_vta.frontend.onnx_builder import OnnxBuilder
from mpi_vta.frontend.shapes import CLASSIFIED, DETECTED, PATCH_SIZE, SCENE_SIZE

Weights = Mapping[str, NDArray[Any]]

LEAKY_SLOPE = 0.1
# (width, height) in input pixels: the coarse head, then the fine one
ANCHORS = (((28, 28), (41, 41)), ((14, 14), (20, 20)))


def build_shapes(seed: int, weights: Weights | None) -> Any:
    """Return a YOLO for 96x96 RGB scenes: heads of 6x6 and 12x12 cells, two anchors each, four classes."""
    net = OnnxBuilder("shapes", (1, 3, SCENE_SIZE, SCENE_SIZE), seed=seed, weights=weights)
    channels = len(ANCHORS[0]) * (5 + len(DETECTED))

    def layer(source: str, index: int, outputs: int, kernel: int = 3, stride: int = 1) -> str:
        x = net.conv(source, f"conv{index}", outputs, kernel, stride=stride)
        return net.activation(net.batch_norm(x, f"bn{index}"), f"leaky{index}", "LeakyRelu", alpha=LEAKY_SLOPE)

    x = layer("input", 1, 16, stride=2)
    x = net.max_pool(layer(x, 2, 24), "pool2", 2, 2)
    x = net.max_pool(layer(x, 3, 48), "pool3", 2, 2)
    kept = layer(x, 4, 96)
    neck = layer(layer(net.max_pool(kept, "pool4", 2, 2), 5, 128), 6, 64, kernel=1)
    coarse = net.conv(layer(neck, 7, 128), "coarse", channels, 1, bias=True)
    raised = net.upsample(layer(neck, 8, 32, kernel=1), "upsample8", 2)
    fine = net.conv(layer(net.concat([raised, kept], "concat9"), 9, 48), "fine", channels, 1, bias=True)
    return net.model([coarse, fine])


def build_residual(seed: int, weights: Weights | None) -> Any:
    """Return a residual network for 32x32 RGB patches: three basic blocks; its output is (1, 8) logits."""
    net = OnnxBuilder("residual", (1, 3, PATCH_SIZE, PATCH_SIZE), seed=seed, weights=weights)
    x = net.batch_norm(net.conv("input", "stem", 16, 3), "stem.bn")
    x = net.max_pool(net.activation(x, "stem.relu", "Relu"), "stem.pool", 2, 2)
    for name, channels, stride in (("block1", 16, 1), ("block2", 32, 2), ("block3", 64, 2)):
        shortcut = x
        if stride > 1:
            shortcut = net.batch_norm(net.conv(x, f"{name}.skip", channels, 1, stride=stride), f"{name}.skip.bn")
        x = net.batch_norm(net.conv(x, f"{name}.conv1", channels, 3, stride=stride), f"{name}.bn1")
        x = net.conv(net.activation(x, f"{name}.relu1", "Relu"), f"{name}.conv2", channels, 3)
        x = net.add(net.batch_norm(x, f"{name}.bn2"), shortcut, f"{name}.add")
        x = net.activation(x, f"{name}.relu2", "Relu")
    return net.model([net.dense(net.global_average_pool(x, "pool"), "fc", len(CLASSIFIED))])


def build_depthwise(seed: int, weights: Weights | None) -> Any:
    """Return an inverted-residual network (MobileNetV2's blocks, ReLU6, a hard-swish at the end) for 32x32 patches."""
    net = OnnxBuilder("depthwise", (1, 3, PATCH_SIZE, PATCH_SIZE), seed=seed, weights=weights)

    def layer(source: str, name: str, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> str:
        x = net.conv(source, name, outputs, kernel, stride=stride, groups=groups)
        return net.clip(net.batch_norm(x, f"{name}.bn"), f"{name}.relu6", 0.0, 6.0)

    x, inputs = layer("input", "stem", 16, 3, 2), 16
    for number, (channels, stride) in enumerate(((16, 1), (32, 2), (32, 1), (64, 2)), start=1):
        name, wide = f"block{number}", 3 * inputs
        y = layer(layer(x, f"{name}.expand", wide, 1), f"{name}.depthwise", wide, 3, stride, wide)
        y = net.batch_norm(net.conv(y, f"{name}.project", channels, 1), f"{name}.project.bn")
        x = net.add(y, x, f"{name}.add") if (channels, stride) == (inputs, 1) else y
        inputs = channels
    x = net.batch_norm(net.conv(x, "last", 128, 1), "last.bn")
    x = net.global_average_pool(net.activation(x, "last.hard_swish", "HardSwish"), "pool")
    return net.model([net.dense(x, "fc", len(CLASSIFIED))])
