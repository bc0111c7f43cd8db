"""The resource estimate against what was published, and against the geometry of block RAMs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import configs

from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.enumeration import config_of
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import find
from mpi_vta.hw.resources import estimate

PARTS = {name: load_part(name) for name in ("XC7Z020", "ZU3EG", "ZU7EV")}


def shipped(name):
    return VTAConfig.load(find("vta_configs", name, ".json"))


def memories(config, part="XC7Z020"):
    return {memory.name: memory.bram36 for memory in estimate(config, PARTS[part], 100).memories}


def test_the_published_build_comes_out():
    # VTA's authors give 131.5 BRAM36, 220 DSPs, 23.3 k LUTs, 25 k flip-flops; the last two are what the fit is tied to
    found = estimate(shipped("pynq_1x16"), PARTS["XC7Z020"], 100)
    assert (found.bram36, found.dsp, found.uram) == (131.5, 220, 0)
    assert (found.lut, found.lut_error, found.ff) == (23_300, 0, 25_000)
    assert found.lut_multipliers == 36
    assert found.fits
    assert found.doubt is None


def test_the_published_build_without_the_fitted_dma_ports_is_short_by_three_and_a_half():
    parts = memories(shipped("pynq_1x16"))
    assert parts.pop("DMA ports") == 3.5
    assert sum(parts.values()) == 128
    assert (parts["wgt"], parts["acc"], parts["inp"], parts["out"], parts["uop"]) == (64, 32, 8, 8, 8)


@pytest.mark.parametrize(
    ("name", "part", "clock_mhz"),
    [("pynq_1x16", "XC7Z020", 200), ("pynq_4x8", "XC7Z020", 100), ("ultra96_1x16", "ZU3EG", 333),
     ("zcu104_1x16", "ZU7EV", 333)],
)  # fmt: skip
def test_published_builds_fit_their_parts(name, part, clock_mhz):
    found = estimate(shipped(name), PARTS[part], clock_mhz)
    assert found.fits
    assert found.doubt is None


def test_a_core_of_1x32_does_not_fit_a_zynq_7020_and_says_why():
    found = estimate(shipped("pynq_1x32"), PARTS["XC7Z020"], 100)
    assert not found.fits
    assert found.why_not == (
        "323.5 BRAM36 of 140, 256 of them for wgt; 95,684 LUTs of 53,200: 1,024 multipliers, 220 DSPs"
    )


def test_a_core_of_2x16_fits_a_zynq_7020_only_within_the_error():
    found = estimate(shipped("pynq_2x16"), PARTS["XC7Z020"], 100)
    assert found.fits
    assert found.doubt == "50,628 LUTs, give or take 13,664, of 53,200"


def test_a_clock_without_a_source_does_not_fit():
    found = estimate(shipped("pynq_1x16"), PARTS["XC7Z020"], 250)
    assert found.why_not == "no source for 250 MHz on XC7Z020, the highest is 200"


def test_a_build_for_another_bus_does_not_fit():
    found = estimate(shipped("pynq_1x16"), PARTS["ZU3EG"], 250)
    assert found.why_not == "a memory bus of 64 bits, ZU3EG has 128"


def test_an_element_below_a_bus_word_has_no_hls_build():
    found = estimate(config_of("pynq", 0, 2, 10, 10, 10, 10), PARTS["XC7Z020"], 100)
    assert found.why_not == "an inp element of 32 bits, VTA's HLS source moves bus words of 64"


@pytest.mark.parametrize(("log_depth", "blocks"), [(7, 8), (10, 8), (11, 16), (12, 32), (13, 64)])
def test_a_memory_below_1024_elements_takes_as_much_as_one_of_1024(log_depth, blocks):
    # 128 bits are 16 bytes: eight 18 Kb blocks of 1K x 2 bytes; one byte each from 2K on
    config = config_of("pynq", 0, 4, 10, log_depth, 7, 7)
    assert memories(config)["inp"] == blocks / 2


def test_weights_move_to_ultraram_bank_by_bank_only_when_block_ram_is_short():
    small = estimate(config_of("zcu104", 0, 4, 13, 11, 10, 11), PARTS["ZU7EV"], 333)
    assert (small.uram, small.fits) == (0, True)
    # 2 Mi bytes of weights: two banks of 1024 bits x 8192, 256 BRAM36 each or 32 UltraRAMs each
    large = estimate(config_of("zcu104", 0, 4, 13, 10, 13, 9), PARTS["ZU7EV"], 333)
    assert {m.name: (m.bram36, m.uram) for m in large.memories}["wgt"] == (256, 32)
    assert large.fits


@settings(deadline=None, max_examples=100)
@given(configs(), st.sampled_from(sorted(PARTS)))
def test_a_part_is_never_overdrawn_by_what_fits(config, part):
    found = estimate(config, PARTS[part], 100)
    room = PARTS[part]
    assert found.dsp <= room.dsp
    assert found.uram <= room.uram
    assert found.dsp + found.lut_multipliers == config.batch * config.block**2
    if found.fits:
        assert found.bram36 <= room.bram36
        assert found.lut <= room.lut
        assert found.ff <= room.ff
    else:
        assert found.why_not
        assert found.doubt is None


@settings(deadline=None, max_examples=50)
@given(configs())
def test_block_rams_hold_the_buffers(config):
    held = {memory.name: memory.bram36 * 4096 for memory in estimate(config, PARTS["XC7Z020"], 100).memories}
    assert held["uop"] >= 1 << config.log_uop_buff_size
    assert held["inp"] >= 1 << config.log_inp_buff_size
    assert held["wgt"] >= 1 << config.log_wgt_buff_size
    assert held["acc"] >= 1 << config.log_acc_buff_size
    assert held["out"] >= config.acc_depth * config.out_bytes
