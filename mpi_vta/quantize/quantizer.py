"""Quantisation after training: a float graph and calibration images become an int8 graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.verify import OPERAND_SHIFT_MAX, SHIFT_MAX, verify
from mpi_vta.quantize.calibration import Range, best_scale_log2, collect_ranges
from mpi_vta.quantize.fusion import Activation, FusedLayer, fuse, host_reason, split_host
from mpi_vta.quantize.model import ModelOutput, QuantizedModel
from mpi_vta.quantize.scales import ScaleGroups, leaky_ratio, mean_multiplier, within

Array = NDArray[Any]

INT32_MAX = 2**31 - 1
LEAKY_GUARD_BITS = 8  # fraction bits of a sum before its slope is applied, so that the slope's floor costs nothing


def quantize(graph: Graph, calibration: NDArray[np.float32]) -> QuantizedModel:
    """Quantise a float graph to int8 with power-of-two scales per tensor.

    Parameters
    ----------
    graph : Graph
        Verified float graph with one input.
    calibration : ndarray of float32, shape (n, C, H, W), n >= 1
        Typical inputs, preprocessed.

    Returns
    -------
    QuantizedModel
        Deterministic in its arguments.

    Raises
    ------
    ModelError
        If an operator that only the host has comes before one for VTA, or a group convolution.
    InputError
        If there are no calibration images or a value is not finite on them.
    """
    verify(graph)
    body, host = split_host(graph)
    layers, alias = fuse(body)
    names = (body.inputs[0], *(layer.output for layer in layers))
    ranges = collect_ranges(body, calibration, names)
    scales = ScaleGroups(layers, names)
    scales.choose(ranges)
    _fit_means(body, layers, scales)
    int8 = _Emitter(body, layers, alias, scales).graph()
    verify(int8)
    host_graph = None if host is None else _reading(host, alias)
    outputs = tuple(ModelOutput(name, graph.values[name].shape, alias.get(name, name)) for name in graph.outputs)
    host_ops = () if host is None else tuple((node.name, node.op, host_reason(node)) for node in host.nodes)
    return QuantizedModel(int8, scales[body.inputs[0]], host_graph, host_ops, outputs)


def _reading(host: Graph, alias: dict[str, str]) -> Graph:
    """Return the host graph with its inputs under the names that the int8 graph gives them."""
    renamed = {name: alias.get(name, name) for name in host.inputs}
    if len(set(renamed.values())) != len(renamed):
        raise ModelError("the host reads one value in two shapes", where=host.name)
    nodes = tuple(replace(node, inputs=tuple(renamed.get(n, n) for n in node.inputs)) for node in host.nodes)
    values = [replace(value, name=renamed.get(name, name)) for name, value in host.values.items()]
    inputs = tuple(renamed.values())
    result = replace(host, inputs=inputs, nodes=nodes, values={value.name: value for value in values})
    verify(result)
    return result


def _fit_means(graph: Graph, layers: tuple[FusedLayer, ...], scales: ScaleGroups) -> None:
    """Raise output scales until the shift of every average pooling is at least 0."""
    means = [layer for layer in layers if layer.op == "avg_pool2d"]
    changed = True
    while changed:
        changed = False
        for layer in means:
            _, exponent = mean_multiplier(_window_size(graph, layer))
            changed |= scales.raise_to(layer.output, scales[layer.inputs[0]] - exponent)


def _window(graph: Graph, layer: FusedLayer) -> dict[str, Any]:
    if layer.node.op == "global_avg_pool2d":
        height, width = graph.values[layer.inputs[0]].shape[2:]
        return {"kernel": (height, width), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    return {key: layer.node.attrs[key] for key in ("kernel", "strides", "pads")}


def _window_size(graph: Graph, layer: FusedLayer) -> int:
    height, width = _window(graph, layer)["kernel"]
    return int(height * width)


class _Emitter:
    """Writes the int8 node of each layer."""

    def __init__(
        self, graph: Graph, layers: tuple[FusedLayer, ...], alias: dict[str, str], scales: ScaleGroups
    ) -> None:
        self._float, self._layers, self._alias, self._scales = graph, layers, alias, scales
        self._constants: dict[str, Array] = {}

    def graph(self) -> Graph:
        """Return the int8 graph (not yet verified)."""
        rules = {"conv2d": self._conv, "avg_pool2d": self._mean, "sum": self._sum}
        nodes = tuple(rules.get(layer.op, self._unscaled)(layer) for layer in self._layers)
        names = (*self._float.inputs, *(layer.output for layer in self._layers))
        outputs = tuple(dict.fromkeys(self._alias.get(name, name) for name in self._float.outputs))
        values = {name: Value(name, self._shape(name), "int8", self._scales[name]) for name in names}
        return Graph(self._float.name, "int8", self._float.inputs, outputs, nodes, values, self._constants)

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self._float.values[name].shape
        return shape if len(shape) == 4 else (*shape, 1, 1)

    def _where(self, layer: FusedLayer) -> str:
        return f"{self._float.name}: node {layer.node.name}"

    def _unscaled(self, layer: FusedLayer) -> Node:
        return Node(layer.node.name, layer.op, layer.inputs, layer.output, dict(layer.node.attrs), {})

    def _requantize(self, activation: Activation, scale_log2: int, shift: int) -> dict[str, int]:
        """Return shift and bounds; bounds are the activation's in steps of the output."""
        lo, hi = (
            int(np.clip(np.floor(np.ldexp(bound, -scale_log2) + 0.5), -128, 127))
            for bound in (activation.lo, activation.hi)
        )
        ratio_is_zero = activation.alpha is not None and leaky_ratio(activation.alpha) is None
        return {"shift": shift, "lo": max(lo, 0) if ratio_is_zero else lo, "hi": hi}

    def _leaky(self, activation: Activation) -> tuple[int, int] | None:
        return None if activation.alpha is None else leaky_ratio(activation.alpha)

    def _mean(self, layer: FusedLayer) -> Node:
        multiplier, exponent = mean_multiplier(_window_size(self._float, layer))
        out = self._scales[layer.output]
        shift = exponent + out - self._scales[layer.inputs[0]]
        within(shift, shift, SHIFT_MAX, self._where(layer))
        attrs = {**_window(self._float, layer), "multiplier": multiplier}
        attrs |= self._requantize(layer.activation, out, shift)
        return Node(layer.node.name, layer.op, layer.inputs, layer.output, attrs, {})

    def _sum(self, layer: FusedLayer) -> Node:
        ins, out = [self._scales[name] for name in layer.inputs], self._scales[layer.output]
        leaky = self._leaky(layer.activation)
        lowest = max(max(ins) - OPERAND_SHIFT_MAX, out - SHIFT_MAX)
        wanted = min(*ins, out) - (LEAKY_GUARD_BITS if leaky else 0)
        base = within(wanted, lowest, min(*ins, out), self._where(layer))
        attrs: dict[str, Any] = {"input_shifts": tuple(e - base for e in ins), "leaky": leaky}
        attrs |= self._requantize(layer.activation, out, out - base)
        return Node(layer.node.name, layer.op, layer.inputs, layer.output, attrs, {})

    def _conv(self, layer: FusedLayer) -> Node:
        weight, bias, window = self._parameters(layer)
        source, out = self._scales[layer.inputs[0]], self._scales[layer.output]
        residual = self._scales[layer.inputs[1]] if len(layer.inputs) == 2 else None
        leaky = self._leaky(layer.activation)
        low, high = out - source - SHIFT_MAX, out - source
        if residual is not None:
            low, high = max(low, residual - source - OPERAND_SHIFT_MAX), min(high, residual - source)
        wanted = best_scale_log2([Range(float(np.abs(weight).max()), weight.reshape(-1))])
        scale = within(wanted, low, high, self._where(layer))
        integers, bias32 = _fixed_point(weight, bias, source, scale)
        residual_shift = 0 if residual is None else residual - source - scale
        while _accumulator_peak(integers, bias32, residual_shift, leaky) > INT32_MAX:
            scale = within(scale + 1, scale + 1, high, self._where(layer))
            integers, bias32 = _fixed_point(weight, bias, source, scale)
            residual_shift = 0 if residual is None else residual - source - scale
        attrs = {**window, "groups": 1, "residual_shift": residual_shift, "leaky": leaky}
        attrs |= self._requantize(layer.activation, out, out - source - scale)
        name = layer.node.name
        roles = {"weight": f"{name}.weight", "bias": f"{name}.bias"}
        self._constants |= {roles["weight"]: integers, roles["bias"]: bias32.astype(np.int32)}
        return Node(name, "conv2d", layer.inputs, layer.output, attrs, roles)

    def _parameters(self, layer: FusedLayer) -> tuple[Array, Array, dict[str, Any]]:
        """Return float weight (O, I, kh, kw), bias (O,) and window of a convolution or dense layer."""
        node = layer.node
        weight, bias = self._float.constants[node.params["weight"]], self._float.param(node, "bias")
        bias = np.zeros(weight.shape[0], np.float32) if bias is None else bias
        if node.op == "dense":
            # flatten is channel-major, so the rows of the weight are (C, H, W) as they lie
            weight = weight.reshape(weight.shape[0], *self._shape(layer.inputs[0])[1:])
            return weight, bias, {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
        if node.attrs["groups"] != 1:
            raise ModelError(f"{node.attrs['groups']} groups", where=self._where(layer), allowed="1 group")
        return weight, bias, {key: node.attrs[key] for key in ("strides", "pads", "dilations")}


def _fixed_point(weight: Array, bias: Array, source: int, scale: int) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Return int8 weights at 2**scale and the bias at 2**(source + scale), which may exceed int32."""
    integers = np.clip(np.rint(np.ldexp(weight, -scale)), -128, 127).astype(np.int8)
    exact = np.rint(np.ldexp(bias.astype(np.float64), -source - scale))
    return integers, np.clip(exact, -(2.0**62), 2.0**62).astype(np.int64)


def _accumulator_peak(
    weight: NDArray[np.int8], bias: NDArray[np.int64], residual_shift: int, leaky: tuple[int, int] | None
) -> int:
    """Return a bound on what the accumulator can reach, so that quantised models never wrap."""
    products = np.abs(weight.astype(np.int64)).reshape(weight.shape[0], -1).sum(axis=1) * 128
    peak = int((products + np.abs(bias)).max()) + (128 << residual_shift)
    return peak * (leaky[0] if leaky else 1)
