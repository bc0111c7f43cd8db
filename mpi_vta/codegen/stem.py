"""The first convolution of a picture: three channels would leave most lanes of the GEMM core idle.

The board's CPU gathers window positions into channels (im2col): whole windows, single rows of them, or
groups of as many rows as the stride. Larger pieces fill the lanes better, but are more bytes for the CPU to
copy; what is cheaper in sum is taken. The convolution shrinks to a 1x1 or a kh' x 1 one. Network messages
carry the picture itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.convolution import ungrouped
from mpi_vta.codegen.program import HostStep
from mpi_vta.graph.ir import Graph, Node, Value, window_output_hw
from mpi_vta.hw.config import VTAConfig

THIN_CHANNELS = 4
GATHERED = ".patches"
OTHER_PASSES = 5  # reset, bias, shift, two clips
GATHER_CYCLES_PER_BYTE = 0.5  # 5 ns a byte on a Cortex-A9, against a VTA of 100 MHz


def gather_patches(graph: Graph, config: VTAConfig) -> tuple[Graph, tuple[HostStep, ...]]:
    """Rewrite every convolution over a picture-like graph input (at most 4 channels).

    Returns
    -------
    graph : Graph
        Same outputs, same integer results; such inputs are replaced by their gathered form.
    host_steps : tuple of HostStep
        How to make the gathered inputs.
    """
    host_steps = []
    for name in graph.inputs:
        readers = graph.consumers[name]
        if graph.values[name].shape[1] <= THIN_CHANNELS and len(readers) == 1 and _gatherable(readers[0], name):
            graph, step = _gather(graph, readers[0], name, config)
            host_steps.append(step)
    return graph, tuple(host_steps)


def _gatherable(node: Node, name: str) -> bool:
    return node.op == "conv2d" and node.inputs[0] == name and name not in node.inputs[1:]


@dataclass(frozen=True)
class Packing:
    """One way to gather: what the CPU does, and the convolution that is left.

    Attributes
    ----------
    gather : mapping
        ``kernel``, ``strides``, ``pads`` and ``dilations`` of the windows that become channels.
    rest : mapping
        ``strides``, ``pads`` and ``dilations`` of the remaining convolution.
    weight : ndarray of int8, shape (O, gathered channels, kh', 1)
        Its weight.
    height, width : int
        Size of the gathered map.
    """

    gather: Mapping[str, Any]
    rest: Mapping[str, Any]
    weight: NDArray[np.int8]
    height: int
    width: int

    def cost_cycles(self, out_pixels: int, config: VTAConfig) -> float:
        """Return compute or load cycles, whichever is more, plus what the CPU's copying weighs."""
        outputs, channels, taps, _ = self.weight.shape
        blocks = -(-channels // config.block)
        size_bytes = blocks * self.height * self.width * config.inp_bytes
        compute = out_pixels * -(-outputs // config.block) * (blocks * taps + OTHER_PASSES)
        return float(max(compute, size_bytes * 8 / config.bus_bits) + size_bytes * GATHER_CYCLES_PER_BYTE)


def packings(node: Node, height: int, width: int, weight: NDArray[np.int8]) -> list[Packing]:
    """Return the ways to gather the input of a convolution: rows of windows, groups of rows, whole windows."""
    kh = weight.shape[2]
    groups = {1, kh}
    if node.attrs["dilations"][0] == 1:
        groups.add(min(node.attrs["strides"][0], kh))
    found = (_packing(node, height, width, weight, rows) for rows in sorted(groups))
    return [packing for packing in found if packing is not None]


def _packing(node: Node, height: int, width: int, weight: NDArray[np.int8], rows: int) -> Packing | None:
    """Gather `rows` rows of a window at a time; None if the groups would not tile the input."""
    outputs, _, kh, kw = weight.shape
    (sy, sx), (top, left, bottom, right), (dy, dx) = (node.attrs[k] for k in ("strides", "pads", "dilations"))
    taps = -(-kh // rows)
    rest: dict[str, Any] = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    if rows == kh:
        gather = {"kernel": (kh, kw), "strides": (sy, sx), "pads": (top, left, bottom, right), "dilations": (dy, dx)}
    elif rows == 1:
        gather = {"kernel": (1, kw), "strides": (1, sx), "pads": (0, left, 0, right), "dilations": (1, dx)}
        rest = {"strides": (sy, 1), "pads": (top, 0, bottom, 0), "dilations": (dy, 1)}
    else:  # a group is one stride high, so that windows begin at group borders
        count = window_output_hw(height, width, (kh, kw), (sy, sx), (top, left, bottom, right), (dy, dx))[0] + taps - 1
        below = max(0, count * rows - top - height)
        gather = {"kernel": (rows, kw), "strides": (rows, sx), "pads": (top, left, below, right), "dilations": (1, dx)}
        if window_output_hw(height, width, **gather)[0] != count:
            return None
    padded = np.pad(weight, ((0, 0), (0, 0), (0, taps * rows - kh), (0, 0)))
    shrunk = padded.reshape(outputs, -1, taps, rows, kw).transpose(0, 3, 4, 1, 2)
    size = window_output_hw(height, width, **gather)
    return Packing(gather, rest, np.ascontiguousarray(shrunk).reshape(outputs, -1, taps, 1), *size)


def _gather(graph: Graph, node: Node, name: str, config: VTAConfig) -> tuple[Graph, HostStep]:
    source, (_, _, *out_hw) = graph.values[name], graph.values[node.output].shape
    weight = ungrouped(graph.constants[node.params["weight"]], node.attrs["groups"])
    ways = packings(node, source.shape[2], source.shape[3], weight)
    best = min(ways, key=lambda packing: packing.cost_cycles(out_hw[0] * out_hw[1], config))
    channels = best.weight.shape[1]
    result = Value(name + GATHERED, (1, channels, best.height, best.width), "int8", source.scale_log2)
    constant = node.params["weight"] + GATHERED
    new = replace(
        node,
        inputs=(result.name, *node.inputs[1:]),
        attrs={**node.attrs, **best.rest, "groups": 1},
        params={**node.params, "weight": constant},
    )
    values = {result.name if n == name else n: result if n == name else v for n, v in graph.values.items()}
    constants = {n: a for n, a in graph.constants.items() if n != node.params["weight"]}
    constants[constant] = best.weight
    rewritten = replace(
        graph,
        inputs=tuple(result.name if n == name else n for n in graph.inputs),
        nodes=tuple(new if n is node else n for n in graph.nodes),
        values=values,
        constants=constants,
    )
    return rewritten, HostStep(name, source.shape, result.name, dict(best.gather))


def run_host_step(step: HostStep, images: NDArray[np.int8]) -> NDArray[np.int8]:
    """Gather window positions into channels.

    Parameters
    ----------
    images : ndarray of int8, shape (n, C, H, W)

    Returns
    -------
    ndarray of int8, shape (n, kh * kw * C, H', W')
        Channel (ky * kw + kx) * C + c holds input channel c at window position (ky, kx).
    """
    (kh, kw), (sy, sx) = step.attrs["kernel"], step.attrs["strides"]
    (top, left, bottom, right), (dy, dx) = step.attrs["pads"], step.attrs["dilations"]
    count, channels, height, width = images.shape
    out_h, out_w = window_output_hw(height, width, (kh, kw), (sy, sx), (top, left, bottom, right), (dy, dx))
    padded = np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)))
    result = np.empty((count, kh * kw * channels, out_h, out_w), dtype=np.int8)
    for ky in range(kh):
        for kx in range(kw):
            rows = slice(ky * dy, ky * dy + (out_h - 1) * sy + 1, sy)
            cols = slice(kx * dx, kx * dx + (out_w - 1) * sx + 1, sx)
            first = (ky * kw + kx) * channels
            result[:, first : first + channels] = padded[:, :, rows, cols]
    return result
