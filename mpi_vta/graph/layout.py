"""How an int8 activation lies in DRAM and on the wire: ``[n/batch][c/block][h][w][batch][block]``.

Lanes beyond the last channel or image hold 0. A board's output is another board's input as it lies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpi_vta.hw.config import VTAConfig


def channel_blocks(channels: int, config: VTAConfig) -> int:
    """Return how many blocks of channels a tensor takes."""
    return -(-channels // config.block)


def packed_bytes(shape: tuple[int, ...], config: VTAConfig) -> int:
    """Return the size of one GEMM batch of a (1, C, H, W) tensor."""
    _, channels, height, width = shape
    return channel_blocks(channels, config) * height * width * config.inp_bytes


def pack_activation(images: NDArray[np.int8], config: VTAConfig) -> NDArray[np.uint8]:
    """Lay out up to `config.batch` images.

    Parameters
    ----------
    images : ndarray of int8, shape (n, C, H, W), n <= config.batch

    Returns
    -------
    ndarray of uint8, shape (packed_bytes,)
    """
    count, channels, height, width = images.shape
    blocks = channel_blocks(channels, config)
    full = np.zeros((config.batch, blocks * config.block, height, width), dtype=np.int8)
    full[:count, :channels] = images
    split = full.reshape(config.batch, blocks, config.block, height, width)
    return np.ascontiguousarray(split.transpose(1, 3, 4, 0, 2)).reshape(-1).view(np.uint8)


def unpack_activation(
    data: NDArray[np.uint8], shape: tuple[int, ...], config: VTAConfig, count: int | None = None
) -> NDArray[np.int8]:
    """Undo `pack_activation`.

    Returns
    -------
    ndarray of int8, shape (count, C, H, W)
        `count` defaults to the whole GEMM batch.
    """
    _, channels, height, width = shape
    blocks = channel_blocks(channels, config)
    split = data.view(np.int8).reshape(blocks, height, width, config.batch, config.block)
    full = split.transpose(3, 0, 4, 1, 2).reshape(config.batch, blocks * config.block, height, width)
    return np.ascontiguousarray(full[: config.batch if count is None else count, :channels])
