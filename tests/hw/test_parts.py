"""Parts: the shipped ones, and every fault of a file at once."""

import pytest

from mpi_vta.errors import ConfigError
from mpi_vta.hw.board import Board
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import HW_ROOT
from mpi_vta.hw.targets import target_names

GOOD = """
name = "mine"
target = "pynq"
dsp = 10
bram36 = 20
uram = 0
lut = 1000
ff = 2000
source = "its data sheet"
[[clocks]]
mhz = 150.0
source = "a build of ours"
[[clocks]]
mhz = 50.0
source = "another"
"""


def write(tmp_path, text):
    path = tmp_path / "part.toml"
    path.write_text(text)
    return str(path)


def test_file_gives_every_field_and_clocks_rise(tmp_path):
    part = load_part(write(tmp_path, GOOD))
    assert (part.name, part.target, part.dsp, part.bram36, part.uram) == ("mine", "pynq", 10, 20, 0)
    assert (part.lut, part.ff, part.source) == (1000, 2000, "its data sheet")
    assert [clock.mhz for clock in part.clocks] == [50, 150]
    assert (part.fastest_mhz, part.default_clock_mhz) == (150, 100)


def test_every_board_has_a_shipped_part_with_its_bus_and_a_source_for_its_clock():
    for path in (HW_ROOT / "boards").glob("*.toml"):
        board = Board.load(str(path))
        part = load_part(board.part)
        assert part.name == board.part
        assert part.target == board.config.target
        assert board.clock_mhz <= part.fastest_mhz


def test_every_shipped_part_says_where_its_numbers_come_from():
    parts = [load_part(str(path)) for path in (HW_ROOT / "parts").glob("*.toml")]
    assert {part.name for part in parts} >= {"XC7Z020", "XCK26", "ZU3EG", "ZU5EG", "ZU7EV", "ZU9EG"}
    assert all(len(text) > 20 for part in parts for text in (part.source, *(clock.source for clock in part.clocks)))


def test_all_faults_are_listed_at_once_with_what_is_allowed(tmp_path):
    text = GOOD.replace('"pynq"', '"vcu118"').replace("dsp = 10", "dsp = 0").replace("150.0", '"fast"')
    with pytest.raises(ConfigError) as caught:
        load_part(write(tmp_path, text + 'colour = "red"\n'))
    for fault in (
        f"illegal part: target is 'vcu118' (allowed: {', '.join(target_names())})",
        "dsp is 0 (allowed: an integer 1..10000000)",
        "clocks[0].mhz is 'fast' (allowed: a number 1..2000)",
        "clocks[1].colour is unknown (allowed: mhz, source)",
    ):
        assert fault in str(caught.value)


def test_a_part_without_clocks_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="clocks is missing"):
        load_part(write(tmp_path, GOOD[: GOOD.index("[[clocks]]")]))


def test_unknown_part_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match=r"XC7Z999: .*XC7Z020, .*ZU3EG, .*ZU7EV"):
        load_part("XC7Z999")
