"""The estimate of this project's own core against yosys' counts, and against the geometry of block RAMs."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from strategies import configs

from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.core_resources import LUT_ERROR, bram36, estimate_core
from mpi_vta.hw.enumeration import config_of
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import find

COUNTED = json.loads((Path(__file__).parents[2] / "benchmarks" / "core_counts.json").read_text())
XC7Z020 = load_part("XC7Z020")


@pytest.mark.parametrize("core", COUNTED["cores"], ids=lambda core: VTAConfig.from_dict(core["config"]).name)
def test_counted_cores_come_out(core):
    found, counted = estimate_core(VTAConfig.from_dict(core["config"]), load_part(COUNTED["part"]), 100), core["total"]
    assert found.dsp == counted["dsp"]
    assert found.bram36 == pytest.approx(counted["bram36"], rel=0.05)
    assert found.lut == pytest.approx(counted["lut"], rel=LUT_ERROR)
    assert found.ff == pytest.approx(counted["ff"], rel=LUT_ERROR)


@pytest.mark.parametrize(
    ("width", "depth", "blocks"),
    [(64, 64, 0), (32, 128, 0.5), (64, 128, 1), (64, 1024, 2), (128, 2048, 7.5), (32, 4096, 4), (129, 512, 2)],
)
def test_a_memory_takes_the_aspect_ratio_with_the_fewest_blocks(width, depth, blocks):
    # the counts of yosys 0.23 for buffers and queues
    assert bram36(width, depth) == blocks


def test_multipliers_beyond_the_slices_are_look_up_tables():
    shipped = {name: VTAConfig.load(find("vta_configs", name, ".json")) for name in ("pynq_1x16", "pynq_2x16")}
    one, two = (estimate_core(config, XC7Z020, 100) for config in shipped.values())
    assert (one.dsp, one.lut_multipliers) == (128, 0)
    assert XC7Z020.dsp - one.dsp >= 90
    assert (two.dsp, two.lut_multipliers) == (220, 72)
    assert two.fits
    assert two.doubt is None


@pytest.mark.parametrize(
    ("sizes", "clock_mhz", "reason"),
    [
        ((0, 5, 13, 11, 10, 11), 100, "BRAM36 of 140, 256 of them for wgt"),
        ((3, 3, 10, 10, 10, 10), 100, "LUTs of 53,200"),
        ((0, 2, 10, 10, 10, 10), 250, "no source for 250 MHz on XC7Z020, the highest is 200"),
    ],
)
def test_what_does_not_fit_says_why(sizes, clock_mhz, reason):
    found = estimate_core(config_of("pynq", *sizes), XC7Z020, clock_mhz)
    assert reason in found.why_not


def test_weights_move_to_ultraram_lane_by_lane_only_when_block_ram_is_short():
    part = load_part("ZU7EV")
    small, large = (estimate_core(config_of("zcu104", 0, 4, 13, 11, log_wgt, 11), part, 333) for log_wgt in (10, 13))
    assert (small.uram, small.fits) == (0, True)
    assert large.uram > 0
    assert large.bram36 <= part.bram36


@settings(deadline=None, max_examples=100)
@given(configs())
def test_a_part_is_never_overdrawn_by_what_fits(config):
    found = estimate_core(config, XC7Z020, 100)
    assert found.dsp <= XC7Z020.dsp
    assert found.dsp + found.lut_multipliers // 2 == config.batch * config.block**2 // 2
    if found.fits:
        assert (found.bram36 <= XC7Z020.bram36, found.lut <= XC7Z020.lut, found.ff <= XC7Z020.ff) == (True,) * 3
    else:
        assert found.why_not
        assert found.doubt is None
