"""How the products of a GEMM core are made: two int8 products in a DSP slice, or in look-up tables."""

from __future__ import annotations

from dataclasses import dataclass

from mpi_vta.hw.config import VTAConfig


@dataclass(frozen=True)
class Multipliers:
    """Pairs of int8 products that share an input.

    Attributes
    ----------
    packed : int
        Pairs in a DSP slice each.
    luts : int
        Pairs in look-up tables.
    """

    packed: int
    luts: int

    @property
    def pairs(self) -> int:
        """All pairs."""
        return self.packed + self.luts


def product_pairs(config: VTAConfig) -> int:
    """Return the pairs of products that a GEMM core makes in a cycle."""
    return config.batch * config.block * config.block // 2


def packed_multipliers(config: VTAConfig) -> Multipliers:
    """Return every pair in a DSP slice."""
    return Multipliers(product_pairs(config), 0)


def multipliers_for(config: VTAConfig, dsp: int) -> Multipliers:
    """Return as many pairs in DSP slices as there are, the others in look-up tables; nothing else takes any.

    Parameters
    ----------
    config : VTAConfig
        The build.
    dsp : int
        DSP slices of the part.
    """
    pairs = product_pairs(config)
    packed = min(pairs, dsp)
    return Multipliers(packed, pairs - packed)
