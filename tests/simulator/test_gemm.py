import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mpi_vta.simulator.decoding import LoopOperands
from mpi_vta.simulator.gemm import factor


def operands(uops, trips=(1, 1), dst=(0, 0), src=(0, 0), wgt=(0, 0)):
    columns = tuple(np.array(column, dtype=np.int64) for column in zip(*uops, strict=True))
    return LoopOperands(columns, trips, dst, src, wgt)


def shapes(products):
    """Return (pixels, output blocks, reduction) of each product."""
    return sorted((*product.dst.shape, product.src.shape[1]) for product in products)


def triples(products):
    """Return every (dst, src, wgt) that the products stand for."""
    found = []
    for product in products:
        for pixel in range(product.dst.shape[0]):
            for block in range(product.dst.shape[1]):
                for tap in range(product.src.shape[1]):
                    found.append((product.dst[pixel, block], product.src[pixel, tap], product.wgt[block, tap]))
    return sorted(found)


def test_convolution_over_rows_and_columns_is_one_product():
    taps = [(0, 6 * y + x, 3 * y + x) for y in range(3) for x in range(3)]
    assert shapes(factor(operands(taps, (4, 5), dst=(5, 1), src=(6, 1)))) == [(20, 1, 9)]


def test_taps_and_output_blocks_in_the_micro_ops_are_one_product():
    uops = [(20 * block, 6 * y + x, 9 * block + 3 * y + x) for y in range(3) for x in range(3) for block in range(2)]
    assert shapes(factor(operands(uops, (4, 5), dst=(5, 1), src=(6, 1)))) == [(20, 2, 9)]


def test_pixels_taps_and_blocks_in_the_micro_ops_are_one_product():
    uops = [(8 * b + p, 10 * t + p, 4 * b + t) for t in range(4) for b in range(2) for p in range(8)]
    assert shapes(factor(operands(uops))) == [(8, 2, 4)]


def test_loops_over_the_reduction_and_over_blocks_are_one_product():
    uops = [(p, p, 0) for p in range(6)]
    assert shapes(factor(operands(uops, (3, 4), dst=(6, 0), src=(0, 6), wgt=(4, 1)))) == [(6, 3, 4)]


def test_diagonal_weights_are_a_product_per_channel_block():
    uops = [(10 * block, 10 * block + tap, 2 * block + tap) for tap in range(2) for block in range(3)]
    assert shapes(factor(operands(uops, (1, 8), dst=(0, 1), src=(0, 1)))) == [(8, 1, 2)] * 3


def test_overlapping_pixel_loops_join_the_reduction():
    # iterations (0, 1) and (1, 0) meet in the same accumulator
    products = factor(operands([(0, 0, 0)], (2, 2), dst=(1, 1), src=(1, 2)))
    assert triples(products) == [(0, 0, 0), (1, 1, 0), (1, 2, 0), (2, 3, 0)]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_products_stand_for_exactly_the_instruction(data):
    small = st.integers(0, 6)
    uops = data.draw(st.lists(st.tuples(small, small, small), min_size=1, max_size=8))
    pair = st.tuples(st.integers(0, 4), st.integers(0, 4))
    trips = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    ours = operands(uops, trips, data.draw(pair), data.draw(pair), data.draw(pair))
    products = factor(ours)
    assert triples(products) == sorted(zip(ours.dst, ours.src, ours.wgt, strict=True))
    written = np.concatenate([product.dst.reshape(-1) for product in products])
    assert np.unique(written).size == written.size
