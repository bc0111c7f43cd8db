"""Board files: the shipped ones, and every fault at once."""

import pytest

from mpi_vta.errors import ConfigError
from mpi_vta.hw.board import MEBIBYTE, Board
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import HW_ROOT, find

GOOD = """
name = "mine"
part = "XC7Z020"
config = "pynq_1x16"
clock_mhz = 142.5
memory_mib = 128
cpu_ns_per_packed_byte = 2.5
launch_overhead_ns = 1000
[power]
idle_w = 1.5
active_w = 2.0
source = "a wattmeter"
"""


def write(tmp_path, text):
    path = tmp_path / "board.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("name", "part", "clock_mhz"), [("pynq_z1", "XC7Z020", 100), ("ultra96", "ZU3EG", 333), ("zcu104", "ZU7EV", 333)]
)
def test_shipped_board_has_its_part_and_clock(name, part, clock_mhz):
    board = Board.load(name)
    assert (board.name, board.part, board.clock_mhz) == (name, part, clock_mhz)


@pytest.mark.parametrize(
    ("name", "port", "memory_mib", "window_mib"),
    [
        ("pynq_z1", "acp", 128, 1024),
        ("pynq_z2", "acp", 128, 1024),
        ("zedboard", "acp", 128, 1024),
        ("arty_z7_20", "acp", 128, 1024),
        ("ultra96", "hpc", 128, 2048),
        ("ultra96_v2", "hpc", 128, 2048),
        ("zcu104", "hpc", 512, 2048),
        ("zcu102", "hpc", 128, 2048),
        ("kv260", "hpc", 128, 2048),
        ("pynq_zu", "hpc", 128, 2048),
    ],
)
def test_shipped_board_has_the_memory_and_port_of_its_image(name, port, memory_mib, window_mib):
    board = Board.load(name)
    assert (board.port, board.memory_bytes, board.address_window_bytes) == (
        port,
        memory_mib * MEBIBYTE,
        window_mib * MEBIBYTE,
    )
    assert (board.input_clock_mhz, board.image_name != "") == (100.0, True)


def test_every_shipped_board_loads_and_says_where_its_power_comes_from():
    files = list((HW_ROOT / "boards").glob("*.toml"))
    assert len(files) >= 3
    assert all(len(Board.load(str(path)).power.source) > 10 for path in files)


def test_file_gives_every_field(tmp_path):
    board = Board.load(write(tmp_path, GOOD))
    assert board.memory_bytes == 128 * MEBIBYTE
    assert (board.clock_mhz, board.cpu_ns_per_packed_byte, board.launch_overhead_ns) == (142.5, 2.5, 1000)
    assert (board.power.idle_w, board.power.active_w, board.power.source) == (1.5, 2.0, "a wattmeter")
    assert board.config == VTAConfig.load(find("vta_configs", "pynq_1x16", ".json"))
    assert (board.bitstream, board.port, board.image_name) == ("", "", "")
    assert (board.input_clock_mhz, board.address_window_bytes) == (100.0, 1024 * MEBIBYTE)
    named = Board.load(write(tmp_path, 'bitstream = "/home/xilinx/vta.bit"\n' + GOOD))
    assert named.bitstream == "/home/xilinx/vta.bit"


def test_configuration_may_lie_beside_the_board_file(tmp_path):
    (tmp_path / "own.json").write_text(find("vta_configs", "pynq_4x8", ".json").read_text())
    board = Board.load(write(tmp_path, GOOD.replace("pynq_1x16", "own.json")))
    assert (board.config.batch, board.config.block) == (4, 8)


def test_all_faults_are_listed_at_once_with_what_is_allowed(tmp_path):
    text = GOOD.replace("142.5", '"fast"').replace("128", "1").replace("2.5", "-1").replace("2.0", "1.0")
    head = 'input_clock_mhz = 0\nport = "usb"\naddress_window_mib = 8192\n'
    with pytest.raises(ConfigError) as caught:
        Board.load(write(tmp_path, head + text + 'colour = "red"\n'))
    message = str(caught.value)
    for part in (
        "clock_mhz is 'fast' (allowed: a number 1..2000)",
        "memory_mib is 1 (allowed: an integer 16..65536)",
        "cpu_ns_per_packed_byte is -1 (allowed: a number 0..10000)",
        "power.active_w is 1, less than idle_w (allowed: at least 1.5)",
        "input_clock_mhz is 0 (allowed: a number 1..2000)",
        "port is 'usb' (allowed: acp, hp, hpc, or none)",
        "address_window_mib is 8192 (allowed: an integer 64..4096)",
        "power.colour is unknown (allowed: idle_w, active_w, source)",
    ):
        assert part in message


def test_missing_key_is_named(tmp_path):
    with pytest.raises(ConfigError, match="part is missing"):
        Board.load(write(tmp_path, GOOD.replace('part = "XC7Z020"', "")))


def test_missing_power_table_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"power is missing \(allowed: a table \[power\]\)"):
        Board.load(write(tmp_path, GOOD[: GOOD.index("[power]")]))


def test_unknown_configuration_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"config cannot be used .*nosuch"):
        Board.load(write(tmp_path, GOOD.replace("pynq_1x16", "nosuch")))


def test_unknown_board_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match=r"nosuch: .*arty_z7_20, kv260, .*pynq_z1, .*, ultra96, .*zedboard"):
        Board.load("nosuch")


def test_file_that_is_not_toml_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not TOML"):
        Board.load(write(tmp_path, "name = = 3"))


def test_configuration_of_another_bus_width_is_refused():
    other = VTAConfig.load(find("vta_configs", "ultra96_1x16", ".json"))
    with pytest.raises(ConfigError, match="128-bit memory bus, board pynq_z1 has 64 bits"):
        Board.load("pynq_z1").with_config(other)


def test_launch_time_is_cycles_at_the_clock_rounded_up_plus_overhead(tmp_path):
    board = Board.load(write(tmp_path, GOOD))
    assert board.compute_ns(142_500) == 1_000_000 + 1000
    assert board.compute_ns(1) == 8 + 1000


def test_packing_time_is_per_byte_rounded_up(tmp_path):
    board = Board.load(write(tmp_path, GOOD))
    assert [board.pack_ns(size) for size in (0, 1, 2, 1000)] == [0, 3, 5, 2500]
