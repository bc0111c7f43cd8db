"""Darknet's networks built as ONNX, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.darknet import DARKNET_EPSILON, LEAKY_SLOPE
from mpi_vta.frontend.darknet_cfg import DarknetNet, Section, activation_of, padding_of, strides_of
from mpi_vta.frontend.onnx_builder import OnnxBuilder


def build_cfg(net: DarknetNet, seed: int, weights: Mapping[str, NDArray[Any]] | None) -> Any:
    """Return a network as an ``onnx.ModelProto``; its outputs are what the heads read, or the last layer."""
    builder = OnnxBuilder(net.name, net.input_shape, seed=seed, weights=weights)
    made: list[str] = []
    heads: list[str] = []
    for index, layer in enumerate(net.layers):
        sources = [made[n] if n >= 0 else "input" for n in layer.sources]
        if layer.section.kind == "yolo":
            heads.append(sources[0])
        if len(builder.shape(sources[0])) != 4 and layer.section.kind not in ("softmax", "dropout"):
            raise ModelError("follows a softmax", where=layer.section.where, allowed="a softmax as the last layer")
        made.append(_build(builder, layer.section, f"layer{index}", sources))
    last = made[-1]
    if not heads and net.layers[-1].section.kind == "avgpool":
        last = builder.flatten(last, f"layer{len(made) - 1}.flatten")
    return builder.model(heads or [last])


def _build(net: OnnxBuilder, section: Section, name: str, sources: list[str]) -> str:
    kind, source = section.kind, sources[0]
    if kind == "convolutional":
        return _convolution(net, section, name, source)
    if kind == "maxpool":
        return _maximum(net, section, name, source)
    if kind == "upsample":
        return net.upsample(source, f"{name}.upsample", section.number("stride", 2))
    if kind == "shortcut":
        for index, other in enumerate(sources[1:]):
            if net.shape(source) != net.shape(other):
                found = f"adds {net.shape(source)} and {net.shape(other)}"
                raise ModelError(found, where=section.where, allowed="equal shapes")
            source = net.add(source, other, f"{name}.add" if index == 0 else f"{name}.add{index}")
        return _activated(net, section, name, source)
    if kind == "route":
        groups, chosen = section.number("groups", 1), section.number("group_id", 0)
        if groups > 1:
            parts = [net.shape(entry)[1] // groups for entry in sources]
            sources = [
                net.channel_slice(entry, f"{name}.group{n}", chosen * part, (chosen + 1) * part)
                for n, (entry, part) in enumerate(zip(sources, parts, strict=True))
            ]
        if len({net.shape(entry)[2:] for entry in sources}) != 1:
            shapes = ", ".join(str(net.shape(entry)) for entry in sources)
            raise ModelError(f"joins {shapes}", where=section.where, allowed="equal heights and widths")
        return sources[0] if len(sources) == 1 else net.concat(sources, f"{name}.concat")
    if kind == "avgpool":
        return net.global_average_pool(source, f"{name}.mean")
    if kind == "softmax":  # over all numbers of the layer before
        flat = source if len(net.shape(source)) == 2 else net.flatten(source, f"{name}.flatten")
        return net.activation(flat, f"{name}.softmax", "Softmax")
    return source  # yolo and dropout


def _convolution(net: OnnxBuilder, section: Section, name: str, source: str) -> str:
    kernel, dilation = section.number("size", 1), section.number("dilation", 1)
    normalized = section.number("batch_normalize", 0) != 0
    x = net.conv(
        source,
        f"{name}.conv",
        section.number("filters", 1),
        kernel,
        stride=strides_of(section),
        pad=padding_of(section) * dilation,
        dilation=dilation,
        groups=section.number("groups", 1),
        bias=not normalized,
    )
    if min(net.shape(x)) < 1:
        raise ModelError(f"gives {net.shape(x)}", where=section.where, allowed="a window that fits its input")
    if normalized:
        x = net.batch_norm(x, f"{name}.bn", gain=0.9, epsilon=DARKNET_EPSILON)
    return _activated(net, section, name, x)


def _activated(net: OnnxBuilder, section: Section, name: str, x: str) -> str:
    kind = activation_of(section)
    if kind == "leaky":
        return net.activation(x, f"{name}.leaky", "LeakyRelu", alpha=LEAKY_SLOPE)
    if kind == "relu6":
        return net.clip(x, f"{name}.relu6", 0.0, 6.0)
    if kind == "swish":
        return net.multiply(x, net.activation(x, f"{name}.gate", "Sigmoid"), f"{name}.swish")
    operators = {"relu": "Relu", "logistic": "Sigmoid", "mish": "Mish"}
    return net.activation(x, f"{name}.{kind}", operators[kind]) if kind in operators else x


def _maximum(net: OnnxBuilder, section: Section, name: str, source: str) -> str:
    """Add a pooling; darknet pads by size - 1 in all, more of it behind, and what no window reaches is left out."""
    strides = strides_of(section)
    size = section.number("size", section.number("stride", 1))
    padding = section.number("padding", size - 1)
    extents = net.shape(source)[2:]
    if min(strides) < 1 or size < 1 or not 0 <= padding < 2 * size or min(extents) + padding < size:
        raise ModelError(f"size {size}, strides {strides}", where=section.where, allowed="a window that fits")
    before = padding // 2
    behind = []
    for extent, stride in zip(extents, strides, strict=True):
        count = (extent + padding - size) // stride + 1
        behind.append(max((count - 1) * stride + size - extent - before, 0))
    return net.max_pool(source, f"{name}.pool", size, strides, (before, before, behind[0], behind[1]))
