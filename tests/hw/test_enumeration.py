"""Enumerated builds: legal by the one set of rules, none forgotten, reasons for the rest."""

from itertools import product

import pytest

from mpi_vta.errors import ConfigError
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.enumeration import (
    LOG_BATCHES,
    LOG_BLOCKS,
    LOG_DEPTHS,
    LOG_UOP_DEPTHS,
    check_build,
    config_of,
    enumerated_builds,
    illegal_reasons,
    largest_builds,
    summarise_shapes,
)
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import find


@pytest.fixture(scope="module")
def builds():
    return tuple(enumerated_builds(load_part("XC7Z020"), 100))


def test_every_combination_is_there_once(builds):
    shapes = len(LOG_BATCHES) * len(LOG_BLOCKS)
    assert len(builds) == shapes * len(LOG_UOP_DEPTHS) * len(LOG_DEPTHS) ** 3
    assert len({build.config for build in builds}) == len(builds)


def test_legality_is_that_of_the_configuration(builds):
    for build in builds[::97]:
        assert build.legal == (not build.config.legality_faults())
        assert build.usable == (not build.reason)
        if build.legal:
            assert VTAConfig.from_dict(build.config.to_dict()) == build.config
            assert build.resources is not None
            assert build.usable == build.resources.fits
        else:
            with pytest.raises(ConfigError, match="illegal VTA configuration"):
                VTAConfig.from_dict(build.config.to_dict())


@pytest.mark.parametrize(
    ("name", "part"), [("pynq_1x16", "XC7Z020"), ("pynq_4x8", "XC7Z020"), ("zcu104_1x16", "ZU7EV")]
)
def test_published_builds_are_among_the_usable(name, part):
    config = VTAConfig.load(find("vta_configs", name, ".json"))
    found = [build for build in enumerated_builds(load_part(part), 100) if build.config == config]
    assert len(found) == 1
    assert found[0].usable


def test_legal_builds_that_do_not_fit_have_the_reason(builds):
    unfit = [build for build in builds if build.legal and not build.usable]
    assert unfit
    assert all(build.resources.why_not == build.reason for build in unfit)


def test_no_buffer_of_a_largest_build_can_grow_and_every_usable_build_is_below_one(builds):
    part = load_part("XC7Z020")
    largest = largest_builds(builds)
    depths = [_depths(build) for build in largest]
    for build, sizes in zip(largest, depths, strict=True):
        for index in range(4):
            grown = tuple(size + (place == index) for place, size in enumerate(sizes))
            config = config_of("pynq", build.config.log_batch, build.config.log_block, *grown)
            inside = all(size in span for size, span in zip(grown, _RANGES, strict=True))
            assert not inside or not check_build(config, part, 100).usable
    for build in [build for build in builds if build.usable][::53]:
        above = (sizes for other, sizes in zip(largest, depths, strict=True) if other.shape == build.shape)
        assert any(all(a <= b for a, b in zip(_depths(build), sizes, strict=True)) for sizes in above)


_RANGES = (LOG_UOP_DEPTHS, LOG_DEPTHS, LOG_DEPTHS, LOG_DEPTHS)


def _depths(build):
    config = build.config
    return (config.log_uop_depth, config.log_inp_depth, config.log_wgt_depth, config.log_acc_depth)


def test_the_published_build_is_a_largest_one(builds):
    config = VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))
    assert config in {build.config for build in largest_builds(builds)}


def test_shapes_are_summed_up_with_a_reason_where_nothing_fits(builds):
    summaries = summarise_shapes(builds, 100)
    assert {(s.batch, s.block) for s in summaries} == {(1 << b, 1 << c) for b, c in product(LOG_BATCHES, LOG_BLOCKS)}
    for summary in summaries:
        assert summary.illegal + summary.unfit + summary.usable == len(builds) / len(summaries)
        assert (summary.largest is None) == bool(summary.reason) == (summary.usable == 0)
    usual = next(summary for summary in summaries if (summary.batch, summary.block) == (1, 16))
    assert usual.largest.config.name == "pynq_1x16_i8w8a32_15_15_18_17"
    assert usual.peak_gops == 51.2


def test_rules_broken_are_counted(builds):
    reasons = illegal_reasons(builds)
    assert reasons["an accumulator deeper than the input buffer"] > 0
    assert sum(reasons.values()) >= sum(not build.legal for build in builds)


def test_every_fault_of_an_illegal_build_belongs_to_a_counted_rule(builds):
    for build in builds[::31]:
        if not build.legal:
            counted = illegal_reasons([build])
            assert sum(counted.values()) == len(build.config.legality_faults())
