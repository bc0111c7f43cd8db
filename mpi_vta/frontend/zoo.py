"""The models that come with the project, built as ONNX, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from mpi_vta.frontend.classifiers import (
    build_mobilenet_v1,
    build_mobilenet_v2,
    build_resnet18,
    build_resnet34,
    build_resnet50,
    build_squeezenet,
    build_vgg11,
)
from mpi_vta.frontend.darknet import DARKNET_EPSILON, LEAKY_SLOPE
from mpi_vta.frontend.onnx_builder import OnnxBuilder
from mpi_vta.frontend.small_nets import build_depthwise, build_residual, build_shapes

Weights = Mapping[str, NDArray[Any]]

YOLO_HEAD_CHANNELS = 255


def build_yolo(seed: int, weights: Weights | None) -> Any:
    """Return YOLOv3-tiny for 416x416 RGB images as an ``onnx.ModelProto``.

    Layers carry their index in darknet's ``yolov3-tiny.cfg``; the outputs are the two heads,
    (1, 255, 13, 13) and (1, 255, 26, 26).
    """
    net = OnnxBuilder("yolo", (1, 3, 416, 416), seed=seed, weights=weights)
    x, kept = "input", {}
    for index, channels in zip(range(0, 12, 2), (16, 32, 64, 128, 256, 512), strict=True):
        x = kept[index] = _darknet_conv(net, x, index, channels, 3)
        last = index == 10
        pads = (0, 0, 1, 1) if last else (0, 0, 0, 0)
        x = net.max_pool(x, f"layer{index + 1}.pool", 2, 1 if last else 2, pads)
    x = _darknet_conv(net, x, 12, 1024, 3)
    neck = _darknet_conv(net, x, 13, 256, 1)
    x = _darknet_conv(net, neck, 14, 512, 3)
    coarse = net.conv(x, "layer15.conv", YOLO_HEAD_CHANNELS, 1, bias=True)
    x = net.upsample(_darknet_conv(net, neck, 18, 128, 1), "layer19.upsample", 2)
    x = net.concat([x, kept[8]], "layer20.concat")
    x = _darknet_conv(net, x, 21, 256, 3)
    fine = net.conv(x, "layer22.conv", YOLO_HEAD_CHANNELS, 1, bias=True)
    return net.model([coarse, fine])


def _darknet_conv(net: OnnxBuilder, source: str, index: int, channels: int, kernel: int) -> str:
    x = net.conv(source, f"layer{index}.conv", channels, kernel)
    x = net.batch_norm(x, f"layer{index}.bn", gain=0.9, epsilon=DARKNET_EPSILON)
    return net.activation(x, f"layer{index}.leaky", "LeakyRelu", alpha=LEAKY_SLOPE)


def build_digits(seed: int, weights: Weights | None) -> Any:
    """Return the CNN for 8x8 grey digits as an ``onnx.ModelProto``; its output is (1, 10) logits."""
    net = OnnxBuilder("digits", (1, 1, 8, 8), seed=seed, weights=weights)
    x = net.activation(net.conv("input", "conv1", 16, 3, bias=True), "relu1", "Relu")
    x = net.activation(net.conv(x, "conv2", 32, 3, bias=True), "relu2", "Relu")
    x = net.max_pool(x, "pool2", 2, 2)
    x = net.activation(net.conv(x, "conv3", 64, 3, bias=True), "relu3", "Relu")
    x = net.max_pool(x, "pool3", 2, 2)
    return net.model([net.dense(x, "fc", 10)])


BUILDERS: Mapping[str, Callable[[int, Weights | None], Any]] = {
    "resnet18": build_resnet18,
    "resnet34": build_resnet34,
    "resnet50": build_resnet50,
    "yolo": build_yolo,
    "vgg11": build_vgg11,
    "mobilenet_v1": build_mobilenet_v1,
    "mobilenet_v2": build_mobilenet_v2,
    "squeezenet": build_squeezenet,
    "digits": build_digits,
    "shapes": build_shapes,
    "residual": build_residual,
    "depthwise": build_depthwise,
}
