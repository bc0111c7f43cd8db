"""Target files: the shipped ones, a new one without a line of code, and every fault at once."""

import json
import shutil

import pytest

from mpi_vta.errors import ConfigError
from mpi_vta.hw.board import Board
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import HW_ROOT, find
from mpi_vta.hw.targets import load_target, named_target, target_names


@pytest.fixture
def own_hw(tmp_path, monkeypatch):
    """Give a copy of ``hw`` to add to."""
    root = tmp_path / "hw"
    shutil.copytree(HW_ROOT, root)
    monkeypatch.setattr("mpi_vta.hw.paths.HW_ROOT", root)
    monkeypatch.setattr("mpi_vta.hw.targets.HW_ROOT", root)
    named_target.cache_clear()
    yield root
    named_target.cache_clear()


def test_every_target_has_a_board_with_its_bus():
    assert set(target_names()) >= {"pynq", "ultra96", "zcu104", "zcu102", "kv260", "pynq_zu", "sim", "tsim"}
    for name in target_names():
        target = load_target(name)
        assert Board.load(target.board).config.bus_bits == target.bus_bits


def test_new_target_is_two_files_and_a_configuration(own_hw):
    (own_hw / "targets" / "mine.toml").write_text('bus_bits = 128\nclock_mhz = 250.0\nboard = "mine"\n')
    usual = json.loads(find("vta_configs", "ultra96_1x16", ".json").read_text())
    (own_hw / "vta_configs" / "mine_1x16.json").write_text(json.dumps({**usual, "TARGET": "mine"}))
    board = (own_hw / "boards" / "ultra96.toml").read_text().replace("ultra96_1x16", "mine_1x16")
    (own_hw / "boards" / "mine.toml").write_text(board.replace('name = "ultra96"', 'name = "mine"'))
    config = VTAConfig.load(find("vta_configs", "mine_1x16", ".json"))
    assert (config.name, config.bus_bits, config.clock_mhz) == ("mine_1x16_i8w8a32_15_15_18_17", 128, 250)
    assert Cluster.default(3, config).boards[2].name == "mine"


def test_all_faults_of_a_target_are_listed_at_once(own_hw):
    (own_hw / "targets" / "mine.toml").write_text('bus_bits = 96\nclock_mhz = "fast"\ncolour = "red"\n')
    with pytest.raises(ConfigError) as caught:
        load_target("mine")
    for fault in (
        "illegal target: bus_bits is 96 (allowed: 64, 128)",
        "clock_mhz is 'fast' (allowed: a number 1..2000)",
        "board is missing (allowed: a text)",
        "colour is unknown (allowed: bus_bits, clock_mhz, board)",
    ):
        assert fault in str(caught.value)


@pytest.mark.parametrize("name", ["vcu118", "", 7, None])
def test_unknown_target_lists_the_known_ones(name):
    with pytest.raises(ConfigError, match=f"hw/targets: no target .*; allowed: {', '.join(target_names())}$"):
        load_target(name)
