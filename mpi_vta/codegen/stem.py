"""The first convolution of a picture: three channels would leave most lanes of the GEMM core idle.

The board's CPU gathers window positions into channels (im2col), whole windows or single rows of them,
whichever keeps the core less busy; the convolution shrinks to a 1x1 or a kh x 1 one. Network messages
carry the picture itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import HostStep
from mpi_vta.graph.ir import Graph, Node, Value, window_output_hw
from mpi_vta.hw.config import VTAConfig

THIN_CHANNELS = 4
GATHERED = ".patches"


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


def _gather(graph: Graph, node: Node, name: str, config: VTAConfig) -> tuple[Graph, HostStep]:
    source = graph.values[name]
    weight = graph.constants[node.params["weight"]]
    channels, kh, kw = weight.shape[1:]
    out_blocks = -(-len(weight) // config.block)
    strides = node.attrs["strides"]
    whole = _busy_cycles(kh * kw * channels, 1, out_blocks, 1, config) <= _busy_cycles(
        kw * channels, kh, out_blocks, strides[0], config
    )
    (sy, sx), (top, left, bottom, right), (dy, dx) = (node.attrs[k] for k in ("strides", "pads", "dilations"))
    attrs: dict[str, Any]
    if whole:
        attrs = {"kernel": (kh, kw), "strides": (sy, sx), "pads": (top, left, bottom, right), "dilations": (dy, dx)}
        rest = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
        shrunk = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1, 1, 1)
    else:
        attrs = {"kernel": (1, kw), "strides": (1, sx), "pads": (0, left, 0, right), "dilations": (1, dx)}
        rest = {"strides": (sy, 1), "pads": (top, 0, bottom, 0), "dilations": (dy, 1)}
        shrunk = weight.transpose(0, 3, 1, 2).reshape(len(weight), -1, kh, 1)
    height, width = window_output_hw(source.shape[2], source.shape[3], **attrs)
    result = Value(name + GATHERED, (1, shrunk.shape[1], height, width), "int8", source.scale_log2)
    constant = node.params["weight"] + GATHERED
    new = replace(
        node,
        inputs=(result.name, *node.inputs[1:]),
        attrs={**node.attrs, **rest},
        params={**node.params, "weight": constant},
    )
    values = {result.name if n == name else n: result if n == name else v for n, v in graph.values.items()}
    constants = {n: a for n, a in graph.constants.items() if n != node.params["weight"]}
    constants[constant] = np.ascontiguousarray(shrunk)
    rewritten = replace(
        graph,
        inputs=tuple(result.name if n == name else n for n in graph.inputs),
        nodes=tuple(new if n is node else n for n in graph.nodes),
        values=values,
        constants=constants,
    )
    return rewritten, HostStep(name, source.shape, result.name, attrs)


def _busy_cycles(channels: int, taps: int, out_blocks: int, rows: int, config: VTAConfig) -> int:
    """Return the larger of GEMM cycles and load beats per output pixel, `rows` gathered rows feeding one."""
    blocks = -(-channels // config.block)
    beats = -(-config.inp_bytes * 8 // config.bus_bits)
    return blocks * max(taps * out_blocks, rows * beats)


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
