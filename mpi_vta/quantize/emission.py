"""The int8 node, or nodes, of each fused layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.graph.ir import Graph, Node, Value
from mpi_vta.graph.op_spec import BOX
from mpi_vta.graph.ops import FLOAT_OPS
from mpi_vta.graph.verify import OPERAND_SHIFT_MAX, SHIFT_MAX
from mpi_vta.quantize.calibration import ValueRange
from mpi_vta.quantize.fusion import Activation, FusedLayer
from mpi_vta.quantize.options import QuantizeOptions
from mpi_vta.quantize.piecewise import fit_pieces
from mpi_vta.quantize.scales import ScaleGroups, leaky_ratio, mean_multiplier, within
from mpi_vta.quantize.weights import FloatLayer, IntegerLayer, choose_weights, tap_coverage

Array = NDArray[Any]

LEAKY_GUARD_BITS = 8  # fraction bits of a sum before its slope is applied, so that the slope's floor costs nothing


@dataclass(frozen=True)
class Emitted:
    """The int8 graph, not yet verified, and what was decided on the way.

    Attributes
    ----------
    graph : Graph
    channel_gains_db : mapping of str to float
        By node: what a weight scale per channel gains, or would gain, in the layer's own error; only of layers in
        which channels want different scales.
    """

    graph: Graph
    channel_gains_db: Mapping[str, float]


def pool_window(graph: Graph, layer: FusedLayer) -> dict[str, Any]:
    """Return kernel, strides and pads of a mean; a global one covers its input."""
    if layer.node.op == "global_avg_pool2d":
        height, width = graph.values[layer.inputs[0]].shape[2:]
        return {"kernel": (height, width), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    return {key: layer.node.attrs[key] for key in ("kernel", "strides", "pads")}


class GraphEmitter:
    """Writes the int8 graph of fused layers.

    Parameters
    ----------
    graph : Graph
        Float graph.
    layers : tuple of FusedLayer
        In topological order.
    alias : mapping of str to str
        Values made by flatten, and the value that holds the same elements.
    scales : ScaleGroups
        Scale of every value.
    ranges : mapping of str to ValueRange
        What was seen of every value.
    options : QuantizeOptions
    """

    def __init__(
        self,
        graph: Graph,
        layers: tuple[FusedLayer, ...],
        alias: Mapping[str, str],
        scales: ScaleGroups,
        ranges: Mapping[str, ValueRange],
        options: QuantizeOptions,
    ) -> None:
        self._float, self._layers, self._alias, self._scales = graph, layers, alias, scales
        self._ranges, self._options = ranges, options
        self._constants: dict[str, Array] = {}
        self._values: dict[str, Value] = {}
        self._gains: dict[str, float] = {}
        # by value: how much too steep each channel is below 0, as its slope is a ratio; 0 for right
        self._steepness: dict[str, NDArray[np.float64]] = {}

    def emit(self) -> Emitted:
        """Return the int8 graph."""
        for name in self._float.inputs:
            self._values[name] = Value(name, self._shape(name), "int8", self._scales[name])
        rules: dict[str, Callable[[FusedLayer], tuple[Node, ...]]] = {
            "conv2d": self._conv,
            "avg_pool2d": self._mean,
            "sum": self._sum,
            "piecewise": self._piecewise,
            "concat": self._concat,
            "slice2d": self._slice,
        }
        nodes: list[Node] = []
        for layer in self._layers:
            made = rules.get(layer.op, self._unscaled)(layer)
            nodes += made
            name = layer.output
            self._note_steepness(layer, made[-1])
            self._values[name] = Value(name, self._shape(name), "int8", self._scales[name])
        outputs = tuple(dict.fromkeys(self._alias.get(name, name) for name in self._float.outputs))
        graph = Graph(
            self._float.name, "int8", self._float.inputs, outputs, tuple(nodes), self._values, self._constants
        )
        return Emitted(graph, self._gains)

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self._float.values[name].shape
        return shape if len(shape) == 4 else (*shape, 1, 1)

    def _where(self, layer: FusedLayer) -> str:
        return f"{self._float.name}: node {layer.node.name}"

    def _unscaled(self, layer: FusedLayer) -> tuple[Node, ...]:
        return (Node(layer.node.name, layer.op, layer.inputs, layer.output, dict(layer.node.attrs), {}),)

    def _concat(self, layer: FusedLayer) -> tuple[Node, ...]:
        return (Node(layer.node.name, layer.op, layer.inputs, layer.output, {}, {}),)

    def _slice(self, layer: FusedLayer) -> tuple[Node, ...]:
        bounds = list(zip(layer.node.attrs["low"], layer.node.attrs["high"], strict=True))
        box = dict(zip(BOX, bounds[1:], strict=True))
        return (Node(layer.node.name, layer.op, layer.inputs, layer.output, box, {}),)

    def _requantize(self, activation: Activation, scale_log2: int, shift: int) -> dict[str, int]:
        """Return shift and bounds; bounds are the activation's in steps of the output."""
        lo, hi = (
            int(np.clip(np.floor(np.ldexp(bound, -scale_log2) + 0.5), -128, 127))
            for bound in (activation.lo, activation.hi)
        )
        ratio_is_zero = activation.alpha is not None and self._leaky(activation) is None
        return {"shift": shift, "lo": max(lo, 0) if ratio_is_zero else lo, "hi": hi}

    def _leaky(self, activation: Activation) -> tuple[int, int] | None:
        return None if activation.alpha is None else leaky_ratio(activation.alpha, fast=self._options.fast_slopes)

    def _note_steepness(self, layer: FusedLayer, node: Node) -> None:
        """Note how far the slope below 0 of a layer's result is off; what does not rescale hands it on."""
        alpha = layer.activation.alpha
        if alpha is not None:
            m, k = node.attrs.get("leaky") or (0, 0)
            off = m / (1 << k) / alpha - 1
            self._steepness[layer.output] = np.full(self._shape(layer.output)[1], off)
        elif layer.op in ("max_pool2d", "upsample2d", "concat"):
            parts = [self._steepness_of(name) for name in layer.inputs]
            self._steepness[layer.output] = np.concatenate(parts)

    def _integers(
        self, layer: FloatLayer, alpha: float | None
    ) -> tuple[IntegerLayer, float | None, tuple[int, int] | None]:
        """Return a layer's integers, what a scale per channel gains, and its ratio: where int32 would not hold the sum
        times a good ratio's multiplier at the scale that the weights want, the fast one."""
        made, gain_db = choose_weights(layer, self._options.per_channel)
        fast = None if alpha is None or layer.leaky is None else leaky_ratio(alpha, fast=True)
        if fast is None or fast == layer.leaky:
            return made, gain_db, layer.leaky
        other, other_gain_db = choose_weights(replace(layer, leaky=fast), self._options.per_channel)
        if other.scale < made.scale:
            return other, other_gain_db, fast
        return made, gain_db, layer.leaky

    def _tilt(self, name: str) -> NDArray[np.float64]:
        """Return what the ratios of slopes add to the mean of each channel of a value."""
        return self._ranges[name].negatives * self._steepness_of(name)

    def _steepness_of(self, name: str) -> NDArray[np.float64]:
        return self._steepness.get(name, np.zeros(self._shape(name)[1]))

    def _mean(self, layer: FusedLayer) -> tuple[Node, ...]:
        window = pool_window(self._float, layer)
        multiplier, exponent = mean_multiplier(int(np.prod(window["kernel"])))
        out = self._scales[layer.output]
        shift = exponent + out - self._scales[layer.inputs[0]]
        within(shift, shift, SHIFT_MAX, self._where(layer))
        attrs = {**window, "multiplier": multiplier, **self._requantize(layer.activation, out, shift)}
        return (Node(layer.node.name, layer.op, layer.inputs, layer.output, attrs, {}),)

    def _sum(self, layer: FusedLayer) -> tuple[Node, ...]:
        ins, out = [self._scales[name] for name in layer.inputs], self._scales[layer.output]
        leaky = self._leaky(layer.activation)
        lowest = max(max(ins) - OPERAND_SHIFT_MAX, out - SHIFT_MAX)
        wanted = min(*ins, out) - (LEAKY_GUARD_BITS if leaky else 0)
        base = within(wanted, lowest, min(*ins, out), self._where(layer))
        attrs: dict[str, Any] = {"input_shifts": tuple(e - base for e in ins), "leaky": leaky}
        attrs |= self._requantize(layer.activation, out, out - base)
        return (Node(layer.node.name, layer.op, layer.inputs, layer.output, attrs, {}),)

    def _piecewise(self, layer: FusedLayer) -> tuple[Node, ...]:
        pieces = FLOAT_OPS[layer.node.op].pieces
        assert pieces is not None, f"{layer.node.op} names no function"
        function = pieces(layer.node)
        source, out = self._scales[layer.inputs[0]], self._scales[layer.output]
        attrs = vars(fit_pieces(function, source, out, self._where(layer)))
        return (Node(layer.node.name, layer.op, layer.inputs, layer.output, dict(attrs), {}),)

    def _conv(self, layer: FusedLayer) -> tuple[Node, ...]:
        weight, bias, window = self._parameters(layer)
        source, spread = self._spread(layer)
        height, width = self._values[source].shape[2:]
        seen = self._ranges[layer.inputs[0]]
        density = np.prod(self._shape(layer.inputs[0])[2:]) / (height * width)  # zeros that a spreading puts between
        geometry = (window["strides"], window["pads"], window["dilations"])
        residual = self._scales[layer.inputs[1]] if len(layer.inputs) == 2 else None
        if residual is not None and self._options.bias_correction == "on":
            bias = bias - self._tilt(layer.inputs[1])
        integers, gain_db, leaky = self._integers(
            FloatLayer(
                weight,
                bias,
                window["groups"],
                self._scales[layer.inputs[0]],
                self._scales[layer.output],
                residual,
                self._leaky(layer.activation),
                seen.means * density,
                seen.powers * density,
                self._tilt(layer.inputs[0]) * density,
                tap_coverage(weight.shape[2:], (height, width), *geometry),
                self._options.bias_correction == "on",
                self._where(layer),
            ),
            layer.activation.alpha,
        )
        name, out = layer.node.name, self._scales[layer.output]
        if gain_db is not None:
            self._gains[name] = gain_db
        base = self._scales[layer.inputs[0]] + integers.scale
        attrs = {**window, "residual_shift": 0 if residual is None else residual - base}
        attrs |= {"leaky": leaky, **self._requantize(layer.activation, out, out - base)}
        arrays: dict[str, Array] = {"weight": integers.weight, "bias": integers.bias}
        if integers.channel_shift is not None:
            arrays["channel_shift"] = integers.channel_shift
        roles = {role: f"{name}.{role}" for role in arrays}
        self._constants |= {roles[role]: array for role, array in arrays.items()}
        inputs = (source, *layer.inputs[1:])
        return (*spread, Node(name, "conv2d", inputs, layer.output, attrs, roles))

    def _spread(self, layer: FusedLayer) -> tuple[str, tuple[Node, ...]]:
        """Return the value that a convolution reads, and the node that spreads a transposed one's input."""
        source = layer.inputs[0]
        if layer.node.op != "conv_transpose2d" or layer.node.attrs["strides"] == (1, 1):
            return source, ()
        scales = layer.node.attrs["strides"]
        _, channels, height, width = self._shape(source)
        name = f"{layer.node.name}.spread"
        shape = (1, channels, (height - 1) * scales[0] + 1, (width - 1) * scales[1] + 1)
        self._values[name] = Value(name, shape, "int8", self._scales[source])
        return name, (Node(name, "spread2d", (source,), name, {"scales": scales}, {}),)

    def _parameters(self, layer: FusedLayer) -> tuple[Array, Array, dict[str, Any]]:
        """Return float weight (O, I/groups, kh, kw), bias (O,) and window of a convolution or dense layer."""
        node = layer.node
        weight, bias = self._float.constants[node.params["weight"]], self._float.param(node, "bias")
        if node.op == "conv_transpose2d":
            weight, window = self._turned(layer, weight)
        elif node.op == "dense":
            # flatten is channel-major, so the rows of the weight are (C, H, W) as they lie
            weight = weight.reshape(weight.shape[0], *self._shape(layer.inputs[0])[1:])
            window = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "groups": 1}
        else:
            window = {key: node.attrs[key] for key in ("strides", "pads", "dilations", "groups")}
        return weight, np.zeros(weight.shape[0], np.float32) if bias is None else bias, window

    def _turned(self, layer: FusedLayer, weight: Array) -> tuple[Array, dict[str, Any]]:
        """Return the weight of the convolution that a transposed one is on its spread input, and its window."""
        attrs = layer.node.attrs
        groups, dilations = attrs["groups"], attrs["dilations"]
        reach = [(extent - 1) * dilation for extent, dilation in zip(weight.shape[2:], dilations, strict=True)]
        more = (0, 0, *attrs["output_pads"])
        pads = tuple(reach[i % 2] + more[i] - attrs["pads"][i] for i in range(4))
        if min(pads) < 0:
            raise ModelError(
                f"a transposed convolution with pads {attrs['pads']} beyond its kernel",
                where=self._where(layer),
                allowed="pads of at most (kernel - 1) * dilation",
            )
        split = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)[..., ::-1, ::-1]
        flipped = np.ascontiguousarray(split.reshape(-1, *split.shape[2:]))
        return flipped, {"strides": (1, 1), "pads": pads, "dilations": dilations, "groups": groups}
