"""The GEMM core's multipliers and adders against a matrix product."""

import numpy as np
import pytest
from gateware.simulation import run_sync

from mpi_vta.errors import ConfigError
from mpi_vta.gateware.gemm_array import GemmArray, check_array
from mpi_vta.hw.enumeration import config_of
from mpi_vta.hw.multipliers import Multipliers, multipliers_for


def packed_bytes(array):
    return int.from_bytes(array.tobytes(), "little")


def extremes(random, shape):
    """int8 values, every fourth of them -128, as many at the other ends."""
    values = random.integers(-128, 128, shape)
    return np.where(random.integers(0, 4, shape) == 0, random.choice([-128, -1, 0, 1, 127], shape), values).astype("i1")


@pytest.mark.parametrize(
    ("log_batch", "log_block", "dsp"), [(0, 2, 8), (0, 2, 0), (0, 2, 5), (1, 2, 9), (0, 3, 20), (2, 2, 1)]
)
def test_sums_are_the_matrix_product(log_batch, log_block, dsp):
    config = config_of("pynq", log_batch, log_block, 10, 8, 7, 7)
    array = GemmArray(config, multipliers_for(config, dsp))
    random = np.random.default_rng(1)
    count = 60
    inp = extremes(random, (count, config.batch, config.block))
    wgt = extremes(random, (count, config.block, config.block))
    inp[:2], wgt[0], wgt[1] = -128, -128, 127
    rows = [{"inp": packed_bytes(x), "wgt": packed_bytes(w)} for x, w in zip(inp, wgt, strict=True)]
    rows += [{}] * array.LATENCY
    found = [value for (value,) in run_sync(array, rows, ("sums",))][array.LATENCY :]
    wanted = np.einsum("nbi,noi->nbo", inp.astype(np.int32), wgt.astype(np.int32))
    assert found == [packed_bytes(sums) for sums in wanted.astype("<i4")]


def test_multipliers_of_another_build_are_refused():
    with pytest.raises(ConfigError, match="7 pairs of multipliers"):
        check_array(config_of("pynq", 0, 2, 10, 8, 7, 7), Multipliers(5, 2))


def test_a_block_without_two_levels_of_adders_is_refused():
    with pytest.raises(ConfigError, match=r"block 2.*4 and up"):
        check_array(config_of("pynq", 0, 1, 10, 8, 7, 7), Multipliers(2, 0))
