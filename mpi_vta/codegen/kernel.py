"""What every layer is to the code generator: terms that accumulate, a pooling, a bias, an epilogue.

A convolution, a residual, a mean, a copy and an upsampling differ only in their terms. All are GEMMs:
dense terms carry weight blocks for every pair of channel blocks, diagonal ones multiply each channel
block by one constant times the identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.config import VTAConfig

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


@dataclass(frozen=True)
class Term:
    """One accumulation into the output tile.

    Attributes
    ----------
    value : str
        Input value.
    blocks, height, width : int
        Size of the input in channel blocks, rows and columns.
    weights : ndarray of int8
        Dense: (out blocks, in blocks, kh, kw, block, block). Diagonal: (block, block).
    kernel, strides, pads, dilations : tuples
        The window; pads are (top, left, bottom, right).
    upsample : tuple of int
        Each input pixel lands on this many output rows and columns (only with a 1x1 window).
    first_block : int
        Diagonal: output block that input block 0 lands on.
    lift : int
        The accumulator is shifted left by this much before the term is added.
    """

    value: str
    blocks: int
    height: int
    width: int
    weights: NDArray[np.int8]
    kernel: Pair = (1, 1)
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    upsample: Pair = (1, 1)
    first_block: int = 0
    lift: int = 0

    @property
    def dense(self) -> bool:
        """Whether every output block depends on every input block."""
        return self.weights.ndim == 6

    @property
    def taps(self) -> int:
        """Window positions."""
        return self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class Pool:
    """Maximum over windows of the accumulated map, before bias and epilogue (all of them monotone)."""

    kernel: Pair = (1, 1)
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)


@dataclass(frozen=True)
class Epilogue:
    """ALU work on the finished accumulators: leaky (m, k), rounding, shift, clip; None clips nothing."""

    leaky: Pair | None = None
    rounding: int = 0
    shift: int = 0
    lo: int | None = None
    hi: int | None = None


@dataclass(frozen=True)
class Kernel:
    """One layer to be tiled and emitted.

    Attributes
    ----------
    name, op : str
        For the reports.
    output : str
        Value that it makes.
    blocks, height, width : int
        Size of the output in channel blocks, rows and columns.
    terms : tuple of Term
        Accumulated, in order.
    pool : Pool
        Identity unless a pooling is fused.
    bias : ndarray of int32 or None, shape (blocks * block,)
        Added after the pooling.
    epilogue : Epilogue
        The rest.
    acc_height, acc_width : int
        Size of the accumulated map before pooling.
    lift : int
        The accumulator is shifted left by this much after the last term.
    """

    name: str
    op: str
    output: str
    blocks: int
    height: int
    width: int
    terms: tuple[Term, ...]
    acc_height: int
    acc_width: int
    pool: Pool = field(default_factory=Pool)
    bias: NDArray[np.int32] | None = None
    epilogue: Epilogue = field(default_factory=Epilogue)
    lift: int = 0


def identity_block(factor: int, config: VTAConfig) -> NDArray[np.int8]:
    """Return `factor` times the identity as one weight block."""
    return np.asarray(np.eye(config.block, dtype=np.int8) * np.int8(factor), dtype=np.int8)


def weight_blocks(weight: NDArray[np.int8], config: VTAConfig) -> NDArray[np.int8]:
    """Cut a convolution weight (O, I, kh, kw) into blocks, zero-padded: (ob, ib, kh, kw, block, block)."""
    out_channels, in_channels, kh, kw = weight.shape
    block = config.block
    ob, ib = -(-out_channels // block), -(-in_channels // block)
    full = np.zeros((ob * block, ib * block, kh, kw), dtype=np.int8)
    full[:out_channels, :in_channels] = weight
    return np.ascontiguousarray(full.reshape(ob, block, ib, block, kh, kw).transpose(0, 2, 4, 5, 1, 3))
