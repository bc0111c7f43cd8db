"""Every legal VTA build for a part, within stated ranges, and why the others are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.parts import Fpga
from mpi_vta.hw.resources import Resources, estimate

LOG_BATCHES = range(0, 5)
LOG_BLOCKS = range(2, 7)
LOG_UOP_DEPTHS = range(10, 14)
LOG_DEPTHS = range(7, 15)
"""Depths of inp, wgt and acc: a block RAM holds 1024 elements whatever the depth, and 2^7 leave no room to double."""

Judge = Callable[[VTAConfig, Fpga, float], Resources]

INP_BITS = WGT_BITS = 3
ACC_BITS = 5


@dataclass(frozen=True)
class EnumeratedBuild:
    """One VTA build for a part.

    Attributes
    ----------
    config : VTAConfig
        The build.
    resources : Resources or None
        What it takes of the part; None if it is illegal.
    legal : bool
        Whether the instruction set has room for it.
    reason : str
        Why it is illegal or does not fit; empty if it can be built.
    """

    config: VTAConfig
    resources: Resources | None
    legal: bool
    reason: str

    @property
    def usable(self) -> bool:
        """Whether the build is legal and fits."""
        return not self.reason

    @property
    def shape(self) -> tuple[int, int]:
        """GEMM batch and block."""
        return (self.config.batch, self.config.block)


def check_build(config: VTAConfig, part: Fpga, clock_mhz: float) -> EnumeratedBuild:
    """Return a configuration as a build for a part, legal or not, with the reason if it cannot be built."""
    return _judged(config, "; ".join(config.legality_faults()), part, clock_mhz)


def _judged(config: VTAConfig, illegal: str, part: Fpga, clock_mhz: float, judge: Judge = estimate) -> EnumeratedBuild:
    """Return a build for a part; `illegal` says which rules it breaks, empty if none."""
    if illegal:
        return EnumeratedBuild(config, None, False, illegal)
    resources = judge(config, part, clock_mhz)
    return EnumeratedBuild(config, resources, True, resources.why_not or "")


def enumerated_builds(part: Fpga, clock_mhz: float, judge: Judge = estimate) -> Iterator[EnumeratedBuild]:
    """Yield every combination of GEMM shape and buffer depths in the ranges of this module.

    Parameters
    ----------
    part : Fpga
        The FPGA.
    clock_mhz : float
        Clock that is wanted.
    judge : callable, optional
        What a build takes of a part: that of VTA's HLS builds, or `mpi_vta.hw.core_resources.estimate_core`.
    """
    # the rules speak of depths alone, so each combination of depths is judged once for all shapes
    legality: dict[tuple[int, ...], str] = {}
    depths = list(product(LOG_UOP_DEPTHS, LOG_DEPTHS, LOG_DEPTHS, LOG_DEPTHS))
    for batch, block in product(LOG_BATCHES, LOG_BLOCKS):
        for combination in depths:
            config = config_of(part.target, batch, block, *combination)
            if combination not in legality:
                legality[combination] = "; ".join(config.legality_faults())
            yield _judged(config, legality[combination], part, clock_mhz, judge)


def largest_builds(builds: Sequence[EnumeratedBuild]) -> tuple[EnumeratedBuild, ...]:
    """Return the usable builds none of whose buffers could be larger with the others as they are.

    A smaller buffer is never of use by itself: it only leaves room for another.
    """
    usable = {_sizes(build.config): build for build in builds if build.usable}
    return tuple(
        build for sizes, build in usable.items() if not any(larger in usable for larger in _one_step_larger(sizes))
    )


def config_of(
    target: str, log_batch: int, log_block: int, log_uop: int, log_inp: int, log_wgt: int, log_acc: int
) -> VTAConfig:
    """Return the configuration, legal or not, of a GEMM shape and of buffer depths, all as base-2 logarithms."""
    lanes = log_batch + log_block
    return VTAConfig(
        target=target,
        hw_ver="0.0.2",
        log_inp_width=INP_BITS,
        log_wgt_width=WGT_BITS,
        log_acc_width=ACC_BITS,
        log_batch=log_batch,
        log_block=log_block,
        log_uop_buff_size=log_uop + 2,
        log_inp_buff_size=log_inp + lanes + INP_BITS - 3,
        log_wgt_buff_size=log_wgt + 2 * log_block + WGT_BITS - 3,
        log_acc_buff_size=log_acc + lanes + ACC_BITS - 3,
    )


def _sizes(config: VTAConfig) -> tuple[int, ...]:
    depths = (config.log_uop_depth, config.log_inp_depth, config.log_wgt_depth, config.log_acc_depth)
    return (config.log_batch, config.log_block, *depths)


def _one_step_larger(sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for index in range(2, len(sizes)):
        yield (*sizes[:index], sizes[index] + 1, *sizes[index + 1 :])


@dataclass(frozen=True)
class ShapeSummary:
    """What became of the builds of one GEMM shape.

    Attributes
    ----------
    batch, block : int
        The shape.
    illegal, unfit, usable : int
        Builds the instruction set has no room for, the part has no room for, and the rest.
    peak_gops : float
        Multiplications and additions at the wanted clock.
    largest : EnumeratedBuild or None
        The usable build with the most, and the most even, buffer depths; None if there is none.
    reason : str
        If none is usable, why the smallest legal one is not.
    """

    batch: int
    block: int
    illegal: int
    unfit: int
    usable: int
    peak_gops: float
    largest: EnumeratedBuild | None
    reason: str


def summarise_shapes(builds: Sequence[EnumeratedBuild], clock_mhz: float) -> tuple[ShapeSummary, ...]:
    """Return one summary per GEMM shape, the widest cores last."""
    by_shape: dict[tuple[int, int], list[EnumeratedBuild]] = {}
    for build in builds:
        by_shape.setdefault(build.shape, []).append(build)
    summaries = []
    for (batch, block), group in sorted(by_shape.items(), key=lambda item: (item[0][0] * item[0][1] ** 2, item[0])):
        usable = [build for build in group if build.usable]
        legal = [build for build in group if build.legal]
        summaries.append(
            ShapeSummary(
                batch,
                block,
                len(group) - len(legal),
                len(legal) - len(usable),
                len(usable),
                2 * batch * block * block * clock_mhz / 1000,
                max(usable, key=_roominess) if usable else None,
                "" if usable else min(legal, key=_roominess).reason,
            )
        )
    return tuple(summaries)


def _roominess(build: EnumeratedBuild) -> tuple[int, int, int]:
    config = build.config
    depths = (config.log_inp_depth, config.log_wgt_depth, config.log_acc_depth)
    return (sum(depths), min(depths), config.log_uop_depth)


def illegal_reasons(builds: Sequence[EnumeratedBuild]) -> Counter[str]:
    """Return how many builds break each rule; a build that breaks several counts for each."""
    rules: Counter[str] = Counter()
    for build in builds:
        if not build.legal:
            rules.update({rule for key, rule in RULES.items() if key in build.reason})
    return rules


RULES = {
    "a micro-op needs": "a micro-op beyond 32 bits",
    "the first GEMM word": "the first GEMM word beyond 64 bits",
    "the second GEMM word": "the second GEMM word beyond 64 bits",
    "the second ALU word": "the second ALU word beyond 64 bits",
    "exceeds inp depth": "an accumulator deeper than the input buffer",
    "deeper than 2^16": "a buffer beyond 2^16 elements",
}
"""Start of each rule's message in `VTAConfig.legality_faults`, and the rule."""
