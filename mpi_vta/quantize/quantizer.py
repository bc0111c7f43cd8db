"""Quantisation after training: a float graph and calibration images become an int8 graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.reference import execute
from mpi_vta.graph.verify import verify
from mpi_vta.quantize.calibration import ValueRange, collect_ranges, with_stated
from mpi_vta.quantize.emission import Emitted, GraphEmitter, pool_window
from mpi_vta.quantize.equalization import equalized
from mpi_vta.quantize.fusion import FusedLayer, fuse, host_reason, split_host
from mpi_vta.quantize.model import ModelOutput, QuantizedModel, dequantize, quantize_input
from mpi_vta.quantize.options import QuantizeOptions
from mpi_vta.quantize.rewriting import without_scale_shifts
from mpi_vta.quantize.scales import ScaleGroups, mean_multiplier

MEASURED_IMAGES = 16  # calibration images on which two ways to quantise are compared
WORTH_DB = 0.1
DEFAULTS = QuantizeOptions()


@dataclass(frozen=True)
class Quantization:
    """A quantised model with what it was made from.

    Attributes
    ----------
    model : QuantizedModel
    body : Graph
        The float graph that the int8 graph stands for: rewritten, equalised, without the host's part.
    layers : tuple of FusedLayer
        Of `body`.
    alias : mapping of str to str
        Values of `body` made by flatten, and the value that holds the same elements.
    channel_gains_db : mapping of str to float
        See `mpi_vta.quantize.emission.Emitted`.
    equalized_gain_db : float or None
        What equalisation gained in the outputs' SQNR, or would have; None if it was not tried.
    is_equalized : bool
        Whether it was used.
    """

    model: QuantizedModel
    body: Graph
    layers: tuple[FusedLayer, ...]
    alias: Mapping[str, str]
    channel_gains_db: Mapping[str, float]
    equalized_gain_db: float | None
    is_equalized: bool


def quantize(
    graph: Graph,
    calibration: NDArray[np.float32],
    options: QuantizeOptions = DEFAULTS,
    stated_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> QuantizedModel:
    """Quantise a float graph to int8 with power-of-two scales; see `quantize_with_decisions`."""
    return quantize_with_decisions(graph, calibration, options, stated_ranges).model


def quantize_with_decisions(
    graph: Graph,
    calibration: NDArray[np.float32],
    options: QuantizeOptions = DEFAULTS,
    stated_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Quantization:
    """Quantise a float graph to int8 with power-of-two scales, and say what was decided.

    Parameters
    ----------
    graph : Graph
        Verified float graph with one input.
    calibration : ndarray of float32, shape (n, C, H, W), n >= 1
        Typical inputs, preprocessed.
    options : QuantizeOptions
    stated_ranges : mapping of str to (float, float), or None
        Lowest and highest of values, where the model brings them. Nothing is equalised then: it would change them.

    Returns
    -------
    Quantization
        Deterministic in its arguments.

    Raises
    ------
    ModelError
        If an operator that only the host has comes before one for VTA, or an operator cannot be expressed.
    InputError
        If there are no calibration images or a value is not finite on them.
    """
    verify(graph)
    body, host = split_host(without_scale_shifts(graph))
    plain = _Body(graph, body, host, calibration, options, stated_ranges or {})
    if options.equalize == "never" or stated_ranges:
        return plain.result(None, False)
    clips = [node.output for node in body.nodes if node.op == "clip"]
    moved = equalized(body, collect_ranges(body, calibration, clips) if clips else {})
    if moved is body:
        return plain.result(None, False)
    other = _Body(graph, moved, host, calibration, options, {})
    gain_db = other.output_sqnr_db() - plain.output_sqnr_db()
    use = options.equalize == "always" or gain_db >= WORTH_DB
    return (other if use else plain).result(gain_db, use)


class _Body:
    """One float graph for VTA, quantised."""

    def __init__(
        self,
        whole: Graph,
        body: Graph,
        host: Graph | None,
        calibration: NDArray[np.float32],
        options: QuantizeOptions,
        stated: Mapping[str, tuple[float, float]],
    ) -> None:
        self._whole, self._body, self._host = whole, body, host
        self._images = calibration[:MEASURED_IMAGES]
        self._layers, self._alias = fuse(body)
        names = (body.inputs[0], *(layer.output for layer in self._layers))
        ranges: Mapping[str, ValueRange] = with_stated(collect_ranges(body, calibration, names), stated)
        self._scales = ScaleGroups(self._layers, names)
        self._scales.choose(ranges, options.calibration)
        _fit_means(body, self._layers, self._scales)
        self._emitted: Emitted = GraphEmitter(body, self._layers, self._alias, self._scales, ranges, options).emit()
        verify(self._emitted.graph)

    def result(self, equalized_gain_db: float | None, is_equalized: bool) -> Quantization:
        """Return the quantised model with what was decided."""
        alias, host, whole = self._alias, self._host, self._whole
        host_graph = None if host is None else _reading(host, alias)
        outputs = tuple(ModelOutput(name, whole.values[name].shape, alias.get(name, name)) for name in whole.outputs)
        host_ops = () if host is None else tuple((node.name, node.op, host_reason(host, node)) for node in host.nodes)
        scale = self._scales[self._body.inputs[0]]
        model = QuantizedModel(self._emitted.graph, scale, host_graph, host_ops, outputs)
        gains = self._emitted.channel_gains_db
        return Quantization(model, self._body, self._layers, alias, gains, equalized_gain_db, is_equalized)

    def output_sqnr_db(self) -> float:
        """Return the least SQNR of the outputs on some of the calibration images."""
        graph = self._emitted.graph
        exact = execute(self._body, {self._body.inputs[0]: self._images})
        integers = quantize_input(self._images, self._scales[self._body.inputs[0]])
        found = execute(graph, {graph.inputs[0]: integers})
        worst = []
        for name, array in exact.items():
            source = self._alias.get(name, name)
            real = dequantize(found[source], self._scales[source])
            worst.append(sqnr_db(array, real))
        return min(worst)


def sqnr_db(exact: NDArray[np.float32], approximate: NDArray[np.float32]) -> float:
    """Return the signal's power over that of the error in dB; infinite where there is no error."""
    wrong = exact.astype(np.float64) - approximate.reshape(exact.shape)
    return decibels(float(np.square(exact.astype(np.float64)).mean()), float(np.square(wrong).mean()))


def decibels(signal: float, noise: float) -> float:
    """Return the ratio of two powers in dB; infinite without noise."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _reading(host: Graph, alias: Mapping[str, str]) -> Graph:
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
            _, exponent = mean_multiplier(int(np.prod(pool_window(graph, layer)["kernel"])))
            changed |= scales.raise_to(layer.output, scales[layer.inputs[0]] - exponent)
