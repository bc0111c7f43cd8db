"""ImageNet classifiers of the zoo, built as ONNX with torchvision's layer names where torchvision has the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from mpi_vta.frontend.onnx_builder import OnnxBuilder

Weights = Mapping[str, NDArray[Any]]

INPUT_SHAPE = (1, 3, 224, 224)
CLASSES = 1000

# channels of the convolutions of VGG-11, each 3x3; 0 is a pooling
_VGG11 = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
# (squeezed, expanded twice) channels of the fire modules of SqueezeNet 1.1; 0 is a pooling
_SQUEEZENET = {3: 16, 4: 16, 5: 0, 6: 32, 7: 32, 8: 0, 9: 48, 10: 48, 11: 64, 12: 64}
# (channels, stride) of the separable blocks of MobileNet v1
_MOBILENET_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# (expansion, channels, blocks, stride of the first) of MobileNet v2
_MOBILENET_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                 (6, 320, 1, 1))  # fmt: skip


def build_resnet18(seed: int, weights: Weights | None) -> Any:
    """Return ResNet-18 for 224x224 RGB images as an ``onnx.ModelProto``."""
    return _resnet("resnet18", (2, 2, 2, 2), seed, weights)


def build_resnet34(seed: int, weights: Weights | None) -> Any:
    """Return ResNet-34 for 224x224 RGB images as an ``onnx.ModelProto``."""
    return _resnet("resnet34", (3, 4, 6, 3), seed, weights)


def build_resnet50(seed: int, weights: Weights | None) -> Any:
    """Return ResNet-50 as torchvision has it: a bottleneck's stride lies in its 3x3 convolution."""
    return _resnet("resnet50", (3, 4, 6, 3), seed, weights, bottleneck=True)


def _resnet(name: str, depths: tuple[int, ...], seed: int, weights: Weights | None, bottleneck: bool = False) -> Any:
    net = OnnxBuilder(name, INPUT_SHAPE, seed=seed, weights=weights)
    x = net.batch_norm(net.conv("input", "conv1", 64, 7, stride=2), "bn1")
    x = net.max_pool(net.activation(x, "relu", "Relu"), "maxpool", 3, 2, (1, 1, 1, 1))
    block = _bottleneck if bottleneck else _basic_block
    for layer, (channels, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), start=1):
        for index in range(depth):
            x = block(net, x, f"layer{layer}.{index}", channels, 2 if layer > 1 and index == 0 else 1)
    return net.model([net.dense(net.global_average_pool(x, "avgpool"), "fc", CLASSES)])


def _basic_block(net: OnnxBuilder, source: str, name: str, channels: int, stride: int) -> str:
    x = net.batch_norm(net.conv(source, f"{name}.conv1", channels, 3, stride=stride), f"{name}.bn1")
    x = net.conv(net.activation(x, f"{name}.relu1", "Relu"), f"{name}.conv2", channels, 3)
    x = net.batch_norm(x, f"{name}.bn2", gain=0.5)
    return _joined(net, source, x, name, "relu2", stride)


def _bottleneck(net: OnnxBuilder, source: str, name: str, channels: int, stride: int) -> str:
    x = net.batch_norm(net.conv(source, f"{name}.conv1", channels, 1), f"{name}.bn1")
    x = net.conv(net.activation(x, f"{name}.relu1", "Relu"), f"{name}.conv2", channels, 3, stride=stride)
    x = net.activation(net.batch_norm(x, f"{name}.bn2"), f"{name}.relu2", "Relu")
    x = net.batch_norm(net.conv(x, f"{name}.conv3", 4 * channels, 1), f"{name}.bn3", gain=0.5)
    return _joined(net, source, x, name, "relu3", stride)


def _joined(net: OnnxBuilder, source: str, branch: str, name: str, relu: str, stride: int) -> str:
    """Add the shortcut of a block, projected where the shapes differ, and the last activation."""
    shortcut, channels = source, net.shape(branch)[1]
    if net.shape(source) != net.shape(branch):
        projected = net.conv(source, f"{name}.downsample.0", channels, 1, stride=stride)
        shortcut = net.batch_norm(projected, f"{name}.downsample.1", gain=0.7)
    return net.activation(net.add(branch, shortcut, f"{name}.add"), f"{name}.{relu}", "Relu")


def build_vgg11(seed: int, weights: Weights | None) -> Any:
    """Return VGG-11 (without batch norm) for 224x224 RGB images as an ``onnx.ModelProto``."""
    net = OnnxBuilder("vgg11", INPUT_SHAPE, seed=seed, weights=weights)
    x, index = "input", 0
    for channels in _VGG11:
        if channels:
            x = net.conv(x, f"features.{index}", channels, 3, bias=True)
            x = net.activation(x, f"features.{index + 1}", "Relu")
        else:
            x = net.max_pool(x, f"features.{index}", 2, 2)
        index += 2 if channels else 1
    for index in (0, 3):
        x = net.activation(net.dense(x, f"classifier.{index}", 4096, gain=2.0), f"classifier.{index + 1}", "Relu")
    return net.model([net.dense(x, "classifier.6", CLASSES)])


def build_squeezenet(seed: int, weights: Weights | None) -> Any:
    """Return SqueezeNet 1.1 for 224x224 RGB images as an ``onnx.ModelProto``."""
    net = OnnxBuilder("squeezenet", INPUT_SHAPE, seed=seed, weights=weights)
    x = net.conv("input", "features.0", 64, 3, stride=2, pad=0, bias=True)
    x = net.max_pool(net.activation(x, "features.1", "Relu"), "features.2", 3, 2)
    for index, squeezed in _SQUEEZENET.items():
        name = f"features.{index}"
        x = _fire(net, x, name, squeezed) if squeezed else net.max_pool(x, name, 3, 2)
    x = net.activation(net.conv(x, "classifier.1", CLASSES, 1, bias=True), "classifier.2", "Relu")
    return net.model([net.flatten(net.global_average_pool(x, "classifier.3"), "flatten")])


def _fire(net: OnnxBuilder, source: str, name: str, squeezed: int) -> str:
    def layer(source: str, part: str, channels: int, kernel: int) -> str:
        made = net.conv(source, f"{name}.{part}", channels, kernel, bias=True)
        return net.activation(made, f"{name}.{part}_activation", "Relu")

    x = layer(source, "squeeze", squeezed, 1)
    wide = [layer(x, f"expand{kernel}x{kernel}", 4 * squeezed, kernel) for kernel in (1, 3)]
    return net.concat(wide, f"{name}.concat")


def build_mobilenet_v1(seed: int, weights: Weights | None) -> Any:
    """Return MobileNet v1 (width 1) for 224x224 RGB images; torchvision has none, names count as in v2."""
    net = OnnxBuilder("mobilenet_v1", INPUT_SHAPE, seed=seed, weights=weights)
    x = _conv_bn_relu6(net, "input", "features.0.0", "features.0.1", 32, 3, 2)
    for index, (channels, stride) in enumerate(_MOBILENET_V1, start=1):
        name = f"features.{index}"
        inputs = net.shape(x)[1]
        x = _conv_bn_relu6(net, x, f"{name}.0.0", f"{name}.0.1", inputs, 3, stride, groups=inputs)
        x = _conv_bn_relu6(net, x, f"{name}.1.0", f"{name}.1.1", channels, 1, 1)
    return net.model([net.dense(net.global_average_pool(x, "avgpool"), "classifier.1", CLASSES)])


def build_mobilenet_v2(seed: int, weights: Weights | None) -> Any:
    """Return MobileNet v2 (width 1) for 224x224 RGB images as an ``onnx.ModelProto``."""
    net = OnnxBuilder("mobilenet_v2", INPUT_SHAPE, seed=seed, weights=weights)
    x, index = _conv_bn_relu6(net, "input", "features.0.0", "features.0.1", 32, 3, 2), 1
    for expansion, channels, blocks, first_stride in _MOBILENET_V2:
        for block in range(blocks):
            x = _inverted_residual(net, x, f"features.{index}", expansion, channels, first_stride if block == 0 else 1)
            index += 1
    x = _conv_bn_relu6(net, x, f"features.{index}.0", f"features.{index}.1", 1280, 1, 1)
    return net.model([net.dense(net.global_average_pool(x, "avgpool"), "classifier.1", CLASSES)])


def _inverted_residual(net: OnnxBuilder, source: str, name: str, expansion: int, channels: int, stride: int) -> str:
    inputs = net.shape(source)[1]
    hidden, x, part = inputs * expansion, source, 0
    if expansion != 1:
        x = _conv_bn_relu6(net, x, f"{name}.conv.0.0", f"{name}.conv.0.1", hidden, 1, 1)
        part = 1
    x = _conv_bn_relu6(net, x, f"{name}.conv.{part}.0", f"{name}.conv.{part}.1", hidden, 3, stride, groups=hidden)
    skips = stride == 1 and inputs == channels
    x = net.conv(x, f"{name}.conv.{part + 1}", channels, 1)
    x = net.batch_norm(x, f"{name}.conv.{part + 2}", gain=0.5 if skips else 1.0)
    return net.add(source, x, f"{name}.add") if skips else x


def _conv_bn_relu6(
    net: OnnxBuilder, source: str, conv: str, norm: str, channels: int, kernel: int, stride: int, groups: int = 1
) -> str:
    x = net.batch_norm(net.conv(source, conv, channels, kernel, stride=stride, groups=groups), norm)
    return net.clip(x, f"{norm}.relu6", 0.0, 6.0)
