"""How a kernel's bias gets into the accumulator: by one GEMM per tap, or by an ALU addition.

As a GEMM it costs one cycle a vector instead of two: a constant input vector (1, m, m, ...) times
weights that write the bias in those digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.kernel import Kernel
from mpi_vta.hw.config import VTAConfig

DIGIT = 127
MAX_TAPS = 2
FEW_PIXELS = 64  # below this, loading weight blocks costs more than the ALU's second cycle
FEW_PIXELS_DEPTHWISE = 32  # such a layer loads little else


@dataclass(frozen=True)
class BiasPlan:
    """What the bias needs.

    Attributes
    ----------
    taps : int
        GEMM micro-ops per accumulator vector; 0 if the ALU adds it, or there is none.
    vector : ndarray of int8, shape (taps, batch, block)
        Constant inp elements.
    weights : ndarray of int8, shape (blocks, taps, block, block)
        Weight blocks.
    accumulator : ndarray of int32, shape (blocks, batch, block)
        For the ALU: one acc element per channel block.
    shifts : ndarray of int32, shape (blocks, batch, block)
        Channel shifts for the ALU, if there are any, behind ``accumulator``.
    """

    taps: int = 0
    vector: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    weights: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    accumulator: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0, 0), np.int32))
    shifts: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0, 0), np.int32))

    @property
    def inp_elements(self) -> int:
        """Elements of the inp buffer that it keeps."""
        return self.taps

    @property
    def wgt_elements(self) -> int:
        """Elements of the wgt buffer that it keeps."""
        return self.weights.shape[0] * self.taps if self.taps else 0

    @property
    def acc_elements(self) -> int:
        """Elements of the acc buffer that it keeps."""
        return len(self.accumulator) + len(self.shifts)


def plan_bias(kernel: Kernel, config: VTAConfig) -> BiasPlan:
    """Choose the cheaper way for a kernel's bias, and lay out its channel shifts."""
    plan = _plan_bias(kernel, config)
    if kernel.channel_shift is None:
        return plan
    return replace(plan, shifts=_one_per_block(kernel.channel_shift, kernel, config))


def _one_per_block(values: NDArray[np.int32], kernel: Kernel, config: VTAConfig) -> NDArray[np.int32]:
    """Return acc elements that hold one value per lane, the same for every image of the GEMM batch."""
    lanes = values.reshape(kernel.blocks, 1, config.block)
    return np.ascontiguousarray(np.broadcast_to(lanes, (kernel.blocks, config.batch, config.block)))


def _plan_bias(kernel: Kernel, config: VTAConfig) -> BiasPlan:
    bias = kernel.bias
    if bias is None or not bias.any():
        return BiasPlan()
    capacity = (config.block - 1) * DIGIT * DIGIT + DIGIT // 2
    taps = -(-int(np.abs(bias.astype(np.int64)).max()) // capacity)
    depthwise = any(term.bands > 1 and not term.shared for term in kernel.terms)
    few = kernel.height * kernel.width < (FEW_PIXELS_DEPTHWISE if depthwise else FEW_PIXELS)
    if taps > MAX_TAPS or few or kernel.blocks * taps > config.wgt_depth // 4 or config.block < 2:
        return BiasPlan(accumulator=_one_per_block(bias, kernel, config))
    lanes = np.full(config.block, DIGIT, dtype=np.int8)
    lanes[0] = 1
    vector = np.broadcast_to(lanes, (taps, config.batch, config.block))
    return BiasPlan(taps, np.ascontiguousarray(vector), _digits(bias, taps, kernel.blocks, config.block))


def _digits(bias: NDArray[np.int32], taps: int, blocks: int, block: int) -> NDArray[np.int8]:
    """Write each bias as w0 + DIGIT * sum(w1..), spread over the taps."""
    result = np.zeros((blocks * block, taps, block), dtype=np.int64)
    left = bias.astype(np.int64)
    for tap in range(taps):
        limit = (block - 1) * DIGIT * DIGIT + DIGIT // 2
        part = np.clip(left, -limit, limit) if tap < taps - 1 else left
        left = left - part
        units = (part + DIGIT // 2) // DIGIT
        result[:, tap, 0] = part - units * DIGIT
        for lane in range(1, block):
            digit = np.clip(units, -DIGIT, DIGIT)
            result[:, tap, lane] = digit
            units = units - digit
    return np.ascontiguousarray(result.reshape(blocks, block, taps, block).transpose(0, 2, 1, 3)).astype(np.int8)
