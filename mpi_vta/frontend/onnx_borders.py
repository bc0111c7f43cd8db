"""Means that do not count padding, and linear interpolation: sums with zeros around, corrected at the borders.

Near a border fewer pixels count, so what a window over zeros gives is too small there by a factor that is the same for
a whole row or column. Those rows are cut out, multiplied by what is missing and added: two layers for each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.frontend.onnx_net import OnnxNet, OnnxNode
from mpi_vta.frontend.onnx_windows import window_span

Array = NDArray[Any]
Factors = list[float]

_LINEAR = ("linear", "bilinear")


def correct_borders(net: OnnxNet) -> OnnxNet:
    """Return the net with means that count their padding, and enlargement by repetition alone.

    Takes plain nodes (`mpi_vta.frontend.onnx_attributes`).

    Raises
    ------
    ModelError
        For an interpolation that is none of half pixels, or by no whole number.
    """
    return _Correction(net).result()


class _Correction:
    def __init__(self, net: OnnxNet) -> None:
        self._net = net
        self._nodes: list[OnnxNode] = []
        self._constants = dict(net.initializers)

    def result(self) -> OnnxNet:
        for node in self._net.nodes:
            if node.op == "AveragePool" and len(self._shape(node)) == 4 and _is_window(node.attrs):
                self._mean(node)
            elif node.op == "Resize" and node.attrs["mode"] in _LINEAR:
                self._interpolation(node)
            else:
                self._nodes.append(node)
        return replace(self._net, nodes=tuple(self._nodes), initializers=self._constants)

    def _shape(self, node: OnnxNode) -> tuple[int, ...]:
        return self._net.shapes.get(node.inputs[0], ())

    def _mean(self, node: OnnxNode) -> None:
        shape, attrs = self._shape(node), node.attrs
        kernel, strides = attrs["kernel_shape"], attrs.get("strides", [1, 1])
        given, pads, factors, extents = attrs.get("pads", [0] * 4), [0] * 4, list[Factors](), list[int]()
        for axis in range(2):
            begin, end, count = window_span(attrs, shape[2 + axis], kernel[axis], strides[axis], given[axis::2])
            if count < 1:
                what = f"a window of {tuple(kernel)} in {shape}"
                raise ModelError(what, where=self._net.where(node), allowed="windows within the padded picture")
            starts = np.arange(count) * strides[axis] - begin
            inside = (0, shape[2 + axis])
            if attrs.get("count_include_pad", 0):
                inside = (-begin, shape[2 + axis] + end)
            counted = np.minimum(starts + kernel[axis], inside[1]) - np.maximum(starts, inside[0])
            if counted.min() < 1:
                raise ModelError(
                    "a mean of padding alone", where=self._net.where(node), allowed="pads below the kernel"
                )
            factors.append((kernel[axis] / counted).tolist())
            pads[axis], pads[2 + axis] = begin, max(end, int(starts[-1]) + kernel[axis] - shape[2 + axis])
            extents.append(count)
        plain = {"kernel_shape": list(kernel), "strides": list(strides), "pads": pads, "count_include_pad": 1}
        self._corrected(node, "AveragePool", node.inputs, plain, shape[1], factors)

    def _interpolation(self, node: OnnxNode) -> None:
        """Repeat pixels, then take the mean over as many as each was repeated."""
        shape = self._shape(node)
        scales = node.attrs.get("scales", [])
        sizes = node.attrs.get("sizes") or [int(n * s) for n, s in zip(shape, scales, strict=False)]
        if len(shape) != 4 or len(sizes) != 4 or list(sizes[:2]) != list(shape[:2]):
            raise ModelError(f"resizes {shape} to {sizes}", where=self._net.where(node), allowed="rows and columns")
        repeats, taps, factors, pads = [1, 1], [np.ones(1), np.ones(1)], list[Factors](), [0] * 4
        for axis in range(2):
            size, extent = sizes[2 + axis], shape[2 + axis]
            repeats[axis] = size // extent
            if size < extent:
                self._refuse(node, f"that resizes {extent} to {size}")
            if extent > 1 and size > extent:
                taps[axis], pads[axis], pads[2 + axis] = self._taps(node, size, extent)
            weight = np.convolve(np.ones(size), taps[axis][::-1])
            factors.append((1 / weight[pads[2 + axis] :][:size]).tolist())
        if min(repeats) < 1 or any(
            extent * repeat != size for extent, repeat, size in zip(shape[2:], repeats, sizes[2:], strict=True)
        ):
            self._refuse(node, f"that resizes {shape[2:]} to {tuple(sizes[2:])}")
        repeated = {"mode": "nearest", "sizes": list(sizes), "coordinates": "asymmetric", "rounding": "floor"}
        if max(len(entry) for entry in taps) == 1:
            self._nodes.append(replace(node, attrs=repeated))
            return
        large = f"{node.output} repeated"
        self._nodes.append(OnnxNode(f"{node.name}.repeat", "Resize", node.inputs, large, repeated))
        name = f"{node.name}.weight means"
        window = np.outer(taps[0], taps[1]).astype(np.float32)
        self._constants[name] = np.broadcast_to(window, (shape[1], 1, *window.shape)).copy()
        plain = {"kernel_shape": list(window.shape), "pads": pads, "group": shape[1]}
        self._corrected(node, "Conv", (large, name), plain, shape[1], factors)

    def _taps(self, node: OnnxNode, size: int, extent: int) -> tuple[Array, int, int]:
        """Return the weights of a mean over repeated pixels, and how many of them lie before and behind."""
        scale, coordinates = size // extent, node.attrs["coordinates"]
        if size % extent:
            self._refuse(node, f"that resizes {extent} to {size}")
        if coordinates == "asymmetric":
            return np.full(scale, 1 / scale), 0, scale - 1
        if coordinates not in ("half_pixel", "pytorch_half_pixel"):
            self._refuse(node, f"with {coordinates}")
        if scale % 2:
            return np.full(scale, 1 / scale), scale // 2, scale // 2
        taps = np.full(scale + 1, 1 / scale)
        taps[[0, -1]] /= 2
        return taps, scale // 2, scale // 2

    def _refuse(self, node: OnnxNode, what: str) -> None:
        raise ModelError(
            f"linear interpolation {what}",
            where=self._net.where(node),
            allowed="enlargement by whole numbers with half_pixel or asymmetric coordinates",
            remedy="export with align_corners=False, or use mode nearest",
        )

    def _corrected(
        self,
        node: OnnxNode,
        op: str,
        inputs: tuple[str, ...],
        attrs: dict[str, Any],
        channels: int,
        factors: list[Factors],
    ) -> None:
        """Add a node over windows, and what its rows and columns near the borders lack."""
        extents = [len(entry) for entry in factors]
        bands = [(axis, *band) for axis in range(2) for band in _bands(factors[axis])]
        result = node.output if not bands else f"{node.output} uncorrected"
        self._nodes.append(OnnxNode(node.name, op, inputs, result, attrs))
        for index, (axis, low, high, factor) in enumerate(bands):
            label, box = f"{node.name}.border{index}", [[0, 0, 0, 0], [1, channels, *extents]]
            box[0][2 + axis], box[1][2 + axis] = low, high
            pads = [0] * 4
            pads[axis], pads[2 + axis] = low, extents[axis] - high
            cut, lacking = f"{label} cut", f"{label} lacking"
            self._constants[f"{label}.weight"] = np.full((channels, 1, 1, 1), factor - 1, np.float32)
            output = node.output if index == len(bands) - 1 else f"{label} corrected"
            self._nodes += [
                OnnxNode(f"{label}.cut", "Slice", (result,), cut, {"low": box[0], "high": box[1]}),
                OnnxNode(
                    label, "Conv", (cut, f"{label}.weight"), lacking,
                    {"kernel_shape": [1, 1], "pads": pads, "group": channels},
                ),
                OnnxNode(f"{label}.sum", "Add", (lacking, result), output),
            ]  # fmt: skip
            result = output


def _is_window(attrs: dict[str, Any]) -> bool:
    """Tell whether kernel, strides and pads are those of a window in two axes; what others lack is named later."""
    legal = {"kernel_shape": (2, 1, ()), "strides": (2, 1, (1, 1)), "pads": (4, 0, (0,) * 4)}
    given = [(attrs.get(key, default), count, least) for key, (count, least, default) in legal.items()]
    return all(len(numbers) == count and min(numbers) >= least for numbers, count, least in given)


def _bands(factors: Factors) -> list[tuple[int, int, float]]:
    """Return runs of equal factors other than 1, with where they begin and end."""
    bands: list[tuple[int, int, float]] = []
    for index, factor in enumerate(factors):
        if abs(factor - 1) < 1e-6:
            continue
        if bands and bands[-1][1] == index and abs(bands[-1][2] - factor) < 1e-9:
            bands[-1] = (bands[-1][0], index + 1, factor)
        else:
            bands.append((index, index + 1, factor))
    return bands
