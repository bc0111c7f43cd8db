"""GEMM instructions as matrix products: the structure is found once, at decoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpi_vta.simulator.decoding import Indices, LoopOperands
from mpi_vta.simulator.sram import Rows, Sram

# 1024 products of at most 2^14 sum to at most 2^24: every partial sum is exact in float32
EXACT_PRODUCTS = 1024


@dataclass(frozen=True, eq=False)
class Product:
    """Part of a GEMM that is one matrix product.

    ``acc[dst[p, o]] += sum over r of inp[src[p, r]] . wgt[wgt[o, r]]^T``

    Attributes
    ----------
    dst : ndarray of int64, shape (p, o)
        Accumulator elements, all distinct within the instruction.
    src : ndarray of int64, shape (p, r)
        Input elements.
    wgt : ndarray of int64, shape (o, r)
        Weight elements.
    """

    dst: Indices
    src: Indices
    wgt: Indices


def factor(operands: LoopOperands) -> tuple[Product, ...]:
    """Factor a GEMM into matrix products of (pixels) x (reduction) x (output blocks).

    A loop that moves dst but not wgt runs over pixels and stays a loop; everything else is expanded
    and grouped by dst. Any instruction factors: in the worst case each dst is a product of its own.
    """
    is_pixel = [
        trip > 1 and step != 0 and wgt == 0
        for trip, step, wgt in zip(operands.trips, operands.dst_steps, operands.wgt_steps, strict=True)
    ]
    inner = _expand_loops(operands, [not pixel for pixel in is_pixel])
    products = tuple(_over_pixels(product, operands, is_pixel) for product in _group(*inner))
    dst = np.concatenate([product.dst.reshape(-1) for product in products])
    if np.unique(dst).size == dst.size:
        return products
    # iterations of a pixel loop meet in the same accumulator, so they are part of the reduction
    return _group(operands.dst, operands.src, operands.wgt)


def _expand_loops(operands: LoopOperands, chosen: list[bool]) -> tuple[Indices, ...]:
    trips = (operands.trips[0] if chosen[0] else 1, operands.trips[1] if chosen[1] else 1)
    expanded = []
    for values, steps in zip(operands.uops, (operands.dst_steps, operands.src_steps, operands.wgt_steps), strict=True):
        outer = np.arange(trips[0])[:, None, None] * steps[0]
        expanded.append((outer + np.arange(trips[1])[None, :, None] * steps[1] + values).reshape(-1))
    return tuple(expanded)


def _over_pixels(product: Product, operands: LoopOperands, is_pixel: list[bool]) -> Product:
    dst, src = product.dst[None], product.src[None]
    for axis in (1, 0):
        if is_pixel[axis]:
            trip = np.arange(operands.trips[axis])[:, None, None, None]
            dst = (trip * operands.dst_steps[axis] + dst).reshape(-1, *product.dst.shape)
            src = (trip * operands.src_steps[axis] + src).reshape(-1, *product.src.shape)
    dst, src = dst.reshape(-1, product.dst.shape[1]), src.reshape(-1, product.src.shape[1])
    by_dst = np.argsort(dst[:, 0], kind="stable")
    return Product(dst[by_dst], src[by_dst], product.wgt)


def _group(dst: Indices, src: Indices, wgt: Indices) -> tuple[Product, ...]:
    """Group index triples by dst; dsts that share their src lists and wgt lists make a product."""
    order = np.argsort(dst, kind="stable")
    unique, start, count = np.unique(dst[order], return_index=True, return_counts=True)
    products: list[Product] = []
    for length in np.unique(count).tolist():
        chosen = count == length
        rows = order[start[chosen][:, None] + np.arange(length)]
        products += _products(unique[chosen], src[rows], wgt[rows])
    return tuple(products)


def _products(dst: Indices, src: Indices, wgt: Indices) -> list[Product]:
    pixel = _row_class(src)
    block = _row_class(wgt)
    by_pixels: dict[bytes, list[Indices]] = {}
    for number in range(int(block.max()) + 1):
        members = np.flatnonzero(block == number)
        members = members[np.argsort(pixel[members], kind="stable")]
        by_pixels.setdefault(pixel[members].tobytes(), []).append(members)
    found = []
    for members_of in by_pixels.values():
        grid = np.stack(members_of, axis=1)
        grid = grid[np.argsort(dst[grid[:, 0]], kind="stable")]
        found.append(Product(dst[grid], src[grid[:, 0]], wgt[grid[0]]))
    return found


def _row_class(table: Indices) -> Indices:
    """Return for each row the number of the class of equal rows that it is in."""
    packed = np.ascontiguousarray(table).view(np.dtype((np.void, table.shape[1] * table.itemsize))).reshape(-1)
    return np.unique(packed, return_inverse=True)[1].reshape(-1).astype(np.int64)


class GemmStep:
    """A GEMM bound to buffers, ready to run."""

    def __init__(self, products: tuple[Product, ...], sram: Sram, write_out: bool) -> None:
        batch, depth, block = sram.inp.shape
        self._inp = sram.inp.reshape(-1, block)
        self._wgt = sram.wgt.reshape(-1, block)
        self._parts = []
        taps = EXACT_PRODUCTS // block
        for product in products:
            pixels, blocks = product.dst.shape
            src = (np.arange(batch)[:, None, None] * depth + product.src).reshape(batch * pixels, -1)
            wgt = (product.wgt[:, None, :] * block + np.arange(block)[:, None]).reshape(blocks * block, -1)
            spans = [slice(begin, begin + taps) for begin in range(0, src.shape[1], taps)]
            chunks = [
                (np.ascontiguousarray(src[:, span], dtype=np.intp), np.ascontiguousarray(wgt[:, span], dtype=np.intp))
                for span in spans
            ]
            out = Rows(sram.out, product.dst) if write_out else None
            self._parts.append((Rows(sram.acc, product.dst), chunks, (batch, pixels, blocks, block), out))

    def __call__(self, dram: NDArray[np.uint8]) -> None:
        """Accumulate the products."""
        for acc, chunks, shape, out in self._parts:
            total = acc.read()
            for src, wgt in chunks:
                inputs = self._inp.take(src, axis=0).reshape(src.shape[0], -1)
                weights = self._wgt.take(wgt, axis=0).reshape(wgt.shape[0], -1)
                total += (inputs @ weights.T).astype(np.int32).reshape(shape)
            if acc.view is None:
                acc.write(total)
            if out is not None:
                out.write(total.astype(np.int8))


class ResetStep:
    """A GEMM with the reset flag: its accumulators become 0, the out buffer stays."""

    def __init__(self, dst: Indices, sram: Sram) -> None:
        self._rows = Rows(sram.acc, np.unique(dst))

    def __call__(self, dram: NDArray[np.uint8]) -> None:
        """Clear the accumulators."""
        self._rows.write(0)
