"""What every layer is to the code generator: terms that accumulate, a pooling, a bias, an epilogue.

A convolution, a residual, a mean, a copy and an upsampling differ only in their terms. All are GEMMs.
The channel blocks of a term fall into bands: some output blocks that depend on some input blocks and on
no others. A plain convolution is one band, a depthwise one has a band per block, with diagonal weights;
groups lie between. A shared term multiplies every channel block by one and the same weight block, a
constant times the identity.
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
        (output blocks, input blocks of a band, kh, kw, block, block); shared: (block, block).
    band : tuple of int
        Output and input blocks of a band.
    bands : int
        How many bands follow one another.
    kernel, strides, pads, dilations : tuples
        The window; pads are (top, left, bottom, right).
    upsample : tuple of int
        Each input pixel lands on this many output rows and columns (only with a 1x1 window).
    spread : tuple of int
        The window walks over the input with this much less one zeros between its pixels (only with strides 1).
    first_block, first_source : int
        First output block and first input block of band 0.
    lift : int
        The accumulator is shifted left by this much before the term is added.
    chain : int
        Terms of chain 0 accumulate in place; those of another one, consecutive, in a scratch tile that is then added.
    clamp : tuple of int, optional
        (side, threshold): the maximum (1) or minimum (-1) with the threshold is taken after the term.
    """

    value: str
    blocks: int
    height: int
    width: int
    weights: NDArray[np.int8]
    band: Pair
    bands: int
    kernel: Pair = (1, 1)
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    upsample: Pair = (1, 1)
    spread: Pair = (1, 1)
    first_block: int = 0
    first_source: int = 0
    lift: int = 0
    chain: int = 0
    clamp: Pair | None = None

    @property
    def shared(self) -> bool:
        """Whether all bands multiply by one weight block."""
        return self.weights.ndim == 2

    @property
    def taps(self) -> int:
        """Window positions."""
        return self.kernel[0] * self.kernel[1]

    @property
    def out_blocks(self) -> int:
        """Output blocks that the term adds to."""
        return self.bands * self.band[0]


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
    channel_shift : ndarray of int32 or None, shape (blocks * block,)
        0..15: the accumulator is shifted right by this much after the bias.
    late_terms : int
        So many of the last terms are accumulated after bias and channel shift; then nothing is pooled.
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
    channel_shift: NDArray[np.int32] | None = None
    late_terms: int = 0
    epilogue: Epilogue = field(default_factory=Epilogue)
    lift: int = 0

    @property
    def needs_scratch(self) -> bool:
        """Whether a scratch tile is needed beside the accumulated one."""
        return self.epilogue.leaky is not None or any(term.chain for term in self.terms)


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
