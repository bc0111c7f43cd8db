"""Quantised ONNX in QDQ format: its integers become floats again, its scales the ranges of values.

A pair of QuantizeLinear and DequantizeLinear rounds a tensor to a scale and a zero point of its own. VTA
has scales that are powers of two and no zero point, so a pair becomes the range that it can hold, which
quantisation takes in place of a calibration. What a pair does besides rounding is kept:

- the quantiser drops a ReLU where the range begins at 0: the pair clips instead, and so does a Clip here;
- a pair that VTA can reproduce (int8, no zero point, a power of two) in front of an addition or an
  activation stays a value of its own, as a Clip, so that nothing is fused across it and results stay equal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import Fate, OnnxNet, OnnxNode
from mpi_vta.frontend.onnx_operators import row

_LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}


@dataclass(frozen=True)
class _Grid:
    """The values that a pair lets through: ``(q - zero_point) * scale`` for q in low..high."""

    scale: float
    zero_point: int
    low: int
    high: int

    @property
    def bounds(self) -> tuple[float, float]:
        return (self.low - self.zero_point) * self.scale, (self.high - self.zero_point) * self.scale

    @property
    def is_exact(self) -> bool:
        """Whether an int8 value of VTA holds the same numbers."""
        return (self.low, self.zero_point) == (-128, 0) and float(np.log2(self.scale)).is_integer()


def take_ranges(net: OnnxNet) -> OnnxNet:
    """Return the net without QuantizeLinear and DequantizeLinear, and with the ranges that they state.

    Raises
    ------
    ModelError
        For a pair of another type than int8 and uint8, with a scale per channel, or torn apart.
    """
    quantizers = {node.output: node for node in net.nodes if node.op == "QuantizeLinear"}
    readers, made = net.consumers(), net.producers()
    alias: dict[str, str] = {}
    kept: list[OnnxNode] = []
    fates: dict[str, Fate] = {}
    ranges = dict(net.ranges)
    for node in net.nodes:
        if node.op == "QuantizeLinear":
            grid = _grid(net, node)
            pairs = _dequantizers(net, node, readers.get(node.output, []), grid)
            tensor, results = _origin(node.inputs[0], alias), [pair.output for pair in pairs]
            bounds = grid.bounds
            fates[node.name] = Fate("", f"states the range {bounds[0]:.4g}..{bounds[1]:.4g}")
            clips = _clips(net, grid, made.get(tensor), [r for name in results for r in readers.get(name, [])])
            if clips and results:
                kept.append(
                    OnnxNode(node.name, "Clip", (tensor,), results[0], dict(zip(("min", "max"), bounds, strict=True)))
                )
                made[results[0]] = kept[-1]
                del fates[node.name]
                tensor, results = results[0], results[1:]
            alias.update(dict.fromkeys(results, tensor))
            ranges[tensor] = bounds
        elif node.op == "DequantizeLinear":
            if node.inputs[0] not in quantizers:
                raise ModelError(
                    f"dequantises {node.inputs[0]}, which no QuantizeLinear makes",
                    where=net.where(node),
                    allowed="weights, and pairs of QuantizeLinear and DequantizeLinear",
                )
            fates[node.name] = Fate(quantizers[node.inputs[0]].name, "second half of a pair")
        else:
            kept.append(node)
    result = _keeping_output_names(net.rewired(kept, alias, net.initializers), net.outputs)
    names = dict(zip(result.outputs, result.outputs, strict=True))
    names |= {_origin(old, alias): new for old, new in zip(net.outputs, result.outputs, strict=True)}
    ranges = {names.get(name, name): bounds for name, bounds in ranges.items()}
    return inherit_ranges(replace(result, ranges=ranges).noting(fates))


def inherit_ranges(net: OnnxNet) -> OnnxNet:
    """Return the net with the range of its operand for each result that lies on the same grid."""
    ranges = dict(net.ranges)
    for node in net.nodes:
        if row(node).keeps_grid and node.output not in ranges and node.inputs[0] in ranges:
            ranges[node.output] = ranges[node.inputs[0]]
    return replace(net, ranges=ranges)


def _grid(net: OnnxNet, node: OnnxNode) -> _Grid:
    scale = net.scalar(node, 1)
    has_zero = len(node.inputs) > 2 and node.inputs[2] != ""
    kind = str(net.constant(node, 2).dtype) if has_zero else "uint8"
    if kind not in _LIMITS or node.attrs.get("output_dtype", 0):
        raise ModelError(f"quantises to {kind}", where=net.where(node), allowed="int8, uint8")
    if not 0 < scale < np.inf:
        raise ModelError(f"scale {scale}", where=net.where(node), allowed="a positive number")
    return _Grid(scale, int(net.scalar(node, 2)) if has_zero else 0, *_LIMITS[kind])


def _dequantizers(net: OnnxNet, node: OnnxNode, readers: list[OnnxNode], grid: _Grid) -> list[OnnxNode]:
    for reader in readers:
        if reader.op != "DequantizeLinear" or _grid(net, reader) != grid:
            raise ModelError(
                f"{reader.name} ({reader.op}) does not undo it",
                where=net.where(node),
                allowed="DequantizeLinear of the same scale and zero point",
            )
    if node.output in net.outputs:
        raise ModelError("an output in integers", where=net.where(node), allowed="float32 outputs")
    return readers


def _clips(net: OnnxNet, grid: _Grid, producer: OnnxNode | None, readers: list[OnnxNode]) -> bool:
    """Tell whether a pair does more than round: see the module's description."""
    if producer is None:
        return False
    if grid.bounds[0] == 0 and row(producer).accumulates:
        return True
    return grid.is_exact and row(producer).accumulates and any(row(reader).fuses for reader in readers)


def _origin(name: str, alias: dict[str, str]) -> str:
    while name in alias:
        name = alias[name]
    return name


def _keeping_output_names(net: OnnxNet, wanted: tuple[str, ...]) -> OnnxNet:
    """Return the net with the names that its outputs had before, where no other tensor needs them."""
    made = net.producers()
    renamed: dict[str, str] = {}
    for name, stated in zip(net.outputs, wanted, strict=True):
        if name != stated and name in made and stated not in made and name not in renamed:
            renamed[name] = stated
    nodes = [
        replace(
            node,
            inputs=tuple(renamed.get(name, name) for name in node.inputs),
            output=renamed.get(node.output, node.output),
        )
        for node in net.nodes
    ]
    return replace(net, nodes=tuple(nodes), outputs=tuple(renamed.get(name, name) for name in net.outputs))
