"""Cluster files: boards in rank order, the default, and every fault at once."""

import json

import pytest

from mpi_vta.errors import ConfigError
from mpi_vta.hw.board import Board
from mpi_vta.hw.cluster import GIGABIT, GIGABIT_POWER, Cluster, select_cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import HW_ROOT, find
from mpi_vta.json_fields import from_json, to_json

LINK = """
[link]
bandwidth_mb_s = 50.0
latency_ns = 1000
per_message_ns = 200
per_byte_ns = 0.5
[switch]
latency_ns = 30
"""
GOOD = 'name = "two kinds"\n' + LINK + '[[boards]]\nboard = "pynq_z1"\ncount = 2\n[[boards]]\nboard = "zcu104"\n'


def config_named(name):
    return VTAConfig.load(find("vta_configs", name, ".json"))


def write(tmp_path, text):
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("name", "boards"),
    [
        ("pynq1", {"pynq_z1": 1}),
        ("pynq4", {"pynq_z1": 4}),
        ("pynq12", {"pynq_z1": 12}),
        ("zynq12", {"pynq_z1": 12}),
        ("ultrascale5", {"zcu104": 1, "ultra96": 4}),
        ("mixed4", {"pynq_z1": 2, "ultra96": 2}),
        ("mixed17", {"pynq_z1": 12, "ultra96": 5}),
        ("zynq12_100mbit", {"pynq_z1": 12}),
        ("zynq12_256mib", {"pynq_z1_256mib": 12}),
    ],
)
def test_shipped_cluster_has_its_boards(name, boards):
    names = [board.name for board in Cluster.load(name).boards]
    assert {kind: names.count(kind) for kind in names} == boards


def test_every_shipped_cluster_is_named_like_its_file():
    files = list((HW_ROOT / "clusters").glob("*.toml"))
    assert len(files) >= 6
    assert all(Cluster.load(str(path)).name == path.stem for path in files)


def test_file_gives_boards_in_rank_order_and_the_link(tmp_path):
    cluster = Cluster.load(write(tmp_path, GOOD))
    assert [board.name for board in cluster.boards] == ["pynq_z1", "pynq_z1", "zcu104"]
    assert (cluster.link.bandwidth_mb_s, cluster.link.latency_ns) == (50.0, 1000)
    assert (cluster.link.per_message_ns, cluster.link.per_byte_ns, cluster.switch_latency_ns) == (200, 0.5, 30)


def test_board_entry_may_replace_the_configuration(tmp_path):
    text = GOOD.replace("count = 2", 'count = 2\nconfig = "pynq_1x32"')
    blocks = [board.config.block for board in Cluster.load(write(tmp_path, text)).boards]
    assert blocks == [32, 32, 16]


def test_board_file_may_lie_beside_the_cluster_file(tmp_path):
    text = find("boards", "pynq_z1", ".toml").read_text().replace("clock_mhz = 100.0", "clock_mhz = 140.0")
    (tmp_path / "fast.toml").write_text(text)
    cluster = Cluster.load(write(tmp_path, GOOD.replace('"zcu104"', '"fast.toml"')))
    assert cluster.boards[2].clock_mhz == 140.0


def test_all_faults_are_listed_at_once(tmp_path):
    text = GOOD.replace("50.0", "0").replace("count = 2", "count = 0").replace('"zcu104"', '"nosuch"')
    with pytest.raises(ConfigError) as caught:
        Cluster.load(write(tmp_path, text.replace("[switch]", "[swich]")))
    message = str(caught.value)
    for part in (
        "link.bandwidth_mb_s is 0 (allowed: a number 0.001..1e+06)",
        "switch is missing",
        "boards[0].count is 0 (allowed: an integer 1..4096)",
        "boards[1].board cannot be used (nosuch",
        "swich is unknown",
    ):
        assert part in message


def test_cluster_without_boards_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"boards is missing \(allowed: one or more tables \[\[boards\]\]\)"):
        Cluster.load(write(tmp_path, 'name = "none"\n' + LINK))


def test_unknown_cluster_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match=r"nosuch: .*mixed17, mixed4, pynq1, pynq12"):
        Cluster.load("nosuch")


def test_default_is_as_many_pynq_boards_as_ranks_on_gigabit():
    cluster = Cluster.default(3)
    assert cluster.boards == (Board.load("pynq_z1"),) * 3
    assert cluster.link == GIGABIT
    assert (cluster.boards[0].clock_mhz, cluster.boards[0].config.name[:9]) == (100.0, "pynq_1x16")


def test_shipped_clusters_have_the_default_link():
    assert Cluster.load("pynq12").link == GIGABIT


@pytest.mark.parametrize(
    ("config", "board"), [("pynq_4x8", "pynq_z1"), ("ultra96_1x16", "ultra96"), ("zcu104_1x16", "zcu104")]
)
def test_default_follows_the_target_of_a_configuration(config, board):
    cluster = Cluster.default(2, config_named(config))
    assert [entry.name for entry in cluster.boards] == [board] * 2
    assert cluster.configs == (config_named(config),)


def test_fewer_boards_than_ranks_says_what_to_do():
    with pytest.raises(ConfigError, match=r"5 ranks but only 4 boards; start at most 4 ranks \(mpirun -n 4\)"):
        Cluster.load("pynq4").first(5)


def test_more_boards_than_ranks_uses_the_first(tmp_path):
    assert [board.name for board in Cluster.load("mixed17").first(13).boards] == ["pynq_z1"] * 12 + ["ultra96"]


def test_select_without_a_name_takes_the_default():
    assert select_cluster(None, 2, None) == Cluster.default(2)


def test_select_replaces_the_configuration_of_all_boards():
    cluster = select_cluster("pynq4", 3, config_named("pynq_2x16"))
    assert [board.config.batch for board in cluster.boards] == [2, 2, 2]


def test_select_refuses_a_configuration_for_other_boards():
    with pytest.raises(ConfigError, match="memory bus"):
        select_cluster("mixed17", 17, config_named("pynq_2x16"))


def test_select_refuses_no_ranks():
    with pytest.raises(ConfigError, match=r"--ranks: 0 ranks; allowed: 1 or more"):
        select_cluster(None, 0, None)


POWER = "[power]\nport_w = 0.25\nswitch_w = 4\nswitch_port_w = 1.5\nsource = 'measured at the plug'\n"


def test_power_of_the_network_is_read(tmp_path):
    text = GOOD.replace("[[boards]]", POWER + "[[boards]]", 1)
    power = Cluster.load(write(tmp_path, text)).power
    assert (power.port_w, power.switch_w, power.switch_port_w) == (0.25, 4.0, 1.5)
    assert power.source == "measured at the plug"


def test_power_that_is_left_out_is_the_stated_estimate(tmp_path):
    assert Cluster.load(write(tmp_path, GOOD)).power == GIGABIT_POWER
    assert GIGABIT_POWER.source.startswith("Estimate")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("port_w = 0.25", "port_w = -1", "power.port_w is -1"),
        ("source =", "sources =", "power.source is missing"),
        ("source =", "sources =", "power.sources is unknown"),
    ],
)
def test_faults_of_the_power_table(tmp_path, old, new, words):
    text = GOOD.replace("[[boards]]", POWER.replace(old, new, 1) + "[[boards]]", 1)
    with pytest.raises(ConfigError) as fault:
        Cluster.load(write(tmp_path, text))
    assert words in str(fault.value)


@pytest.mark.parametrize("name", sorted(path.stem for path in (HW_ROOT / "clusters").glob("*.toml")))
def test_shipped_clusters_state_the_same_network_power_as_the_default(name):
    assert Cluster.load(name).power == GIGABIT_POWER


def test_cluster_survives_as_json():
    cluster = Cluster.load("mixed17")
    assert from_json(Cluster, json.loads(json.dumps(to_json(cluster)))) == cluster


@pytest.mark.parametrize("name", sorted(path.stem for path in (HW_ROOT / "boards").glob("*.toml")))
def test_shipped_boards_say_where_their_power_comes_from(name):
    power = Board.load(name).power
    assert 0 < power.idle_w < power.active_w
    assert len(power.source) > 20
