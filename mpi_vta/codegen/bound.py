"""The roofline of a layer: cycles that no schedule can avoid, unit by unit.

Compute: the GEMM micro-ops of the best packing, one reset of every accumulator, and the ALU passes of
pooling, bias, channel shifts and epilogue. Groups count the blocks that they touch, a depthwise layer one per
tap; zeros between the pixels of a spread map count nothing; a piecewise function takes its recipe's passes.
Reading and writing: every tensor moved once. The three units run side by side, so a layer needs at least the
largest of the three; instruction overhead, latencies, halos and micro-op loads are what a schedule may add.
A layer may still beat its bound by a little, as the end of one layer and the start of the next overlap; a
network cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from mpi_vta.codegen.kernel import Kernel, Term
from mpi_vta.codegen.kernel_list import kernels_of
from mpi_vta.codegen.stem import gather_patches
from mpi_vta.codegen.tiling import Plane, TileRange, covered, load_beats
from mpi_vta.graph.ir import Graph, Node
from mpi_vta.hw.config import VTAConfig
from mpi_vta.simulator.bursts import store_beat_cycles
from mpi_vta.simulator.profile import RTL, TimingProfile


@dataclass(frozen=True)
class Bound:
    """Least cycles of one layer on each unit."""

    name: str
    compute_cycles: int
    read_cycles: int
    write_cycles: int

    @property
    def cycles(self) -> int:
        """Least cycles of the layer."""
        return max(self.compute_cycles, self.read_cycles, self.write_cycles)


def layer_bounds(graph: Graph, config: VTAConfig, profile: TimingProfile = RTL) -> list[Bound]:
    """Return the bound of every layer that `compile_graph` makes of the graph, in the same order."""
    gathered, host_steps = gather_patches(graph, config)
    thin = {node.name: node for step in host_steps for node in graph.consumers[step.source]}
    return [_bound(kernel, thin.get(kernel.name), graph, config, profile) for kernel in kernels_of(gathered, config)]


def _bound(kernel: Kernel, thin: Node | None, graph: Graph, config: VTAConfig, profile: TimingProfile) -> Bound:
    accumulated = kernel.blocks * kernel.acc_height * kernel.acc_width
    gemm = accumulated + sum(_gemm_uops(term, kernel) for term in kernel.terms)
    read = _moved(kernel, config)
    if thin is not None:
        # as if whole windows were packed, and the picture came without its gathered copies
        kh, kw = graph.constants[thin.params["weight"]].shape[2:]
        channels = graph.values[thin.inputs[0]].shape[1]
        packed = accumulated + accumulated * -(-channels * kh * kw // config.block)
        gemm = min(gemm, packed)
        picture = graph.values[thin.inputs[0]].shape
        read = min(read, load_beats(picture[1] * picture[2] * picture[3], config.batch, config))
    write_beats = load_beats(kernel.blocks * kernel.height * kernel.width, config.out_bytes, config)
    return Bound(
        kernel.name,
        gemm + _alu_cycles(kernel, profile),
        read,
        ceil(write_beats * store_beat_cycles(config)),
    )


def _gemm_uops(term: Term, kernel: Kernel) -> int:
    """Return the micro-ops of a term: one per accumulator, input block of its band, and window position."""
    cells = _taken(term, 0, kernel.acc_height) * _taken(term, 1, kernel.acc_width)
    return min(term.out_blocks, kernel.blocks) * term.band[1] * cells


def _taken(term: Term, axis: int, extent: int) -> int:
    """Return how many (row, window position) pairs an axis multiplies; zeros between pixels are left out."""
    pad, taps = term.pads[axis], term.kernel[axis]
    whole = Plane(0, extent, extent, TileRange(0, extent))
    rows = covered(term, axis, whole).valid
    if term.spread[axis] == 1:
        return rows.size * taps
    positions = (row - pad + tap * term.dilations[axis] for row in range(rows.low, rows.high) for tap in range(taps))
    return sum(position % term.spread[axis] == 0 for position in positions)


def _moved(kernel: Kernel, config: VTAConfig) -> int:
    inputs = {term.value: term.blocks * _reached(term, 0) * _reached(term, 1) for term in kernel.terms}
    weights = sum(1 if term.shared else term.out_blocks * term.band[1] * term.taps for term in kernel.terms)
    return load_beats(sum(inputs.values()), config.inp_bytes, config) + load_beats(weights, config.wgt_bytes, config)


def _reached(term: Term, axis: int) -> int:
    """Return how many input rows (axis 0) or columns (1) some window reads."""
    extent = (term.height, term.width)[axis]
    if term.kernel[axis] * term.dilations[axis] >= term.strides[axis] or term.spread[axis] > 1:
        return extent
    return min(extent, term.kernel[axis] * -(-extent // term.strides[axis]))


def _alu_cycles(kernel: Kernel, profile: TimingProfile) -> int:
    """Return the cycles of the ALU passes (the bias counts as one GEMM pass)."""
    pool, end = kernel.pool, kernel.epilogue
    pixels = kernel.blocks * kernel.height * kernel.width
    # a separable maximum: columns on all accumulated rows, then rows on what is left
    columns = kernel.blocks * kernel.acc_height * kernel.width * (pool.kernel[1] - 1)
    rows = pixels * (pool.kernel[0] - 1)
    immediate = bool(end.rounding) + bool(end.shift) + (end.lo is not None) + (end.hi is not None)
    register = 0
    if end.leaky:
        multiplier, _ = end.leaky
        register = multiplier.bit_count() + 1
        immediate += multiplier.bit_count()
    bias = int(kernel.bias is not None and bool(kernel.bias.any()))
    register += kernel.channel_shift is not None
    clamps, chains = sum(term.clamp is not None for term in kernel.terms), max(term.chain for term in kernel.terms)
    reset = bool(end.leaky) + chains
    return (
        (columns + rows + pixels * (register + chains)) * profile.alu_reg_ii
        + pixels * (immediate + clamps) * profile.alu_imm_ii
        + pixels * (bias + reset)
    )
