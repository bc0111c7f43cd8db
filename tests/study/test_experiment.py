"""Experiment files: what they may say, and every fault at once."""

import pytest

from mpi_vta.errors import ConfigError
from mpi_vta.hw.paths import HW_ROOT
from mpi_vta.study.experiment import Experiment, IllegalConfig, Search

GOOD = {
    "name": '"e"',
    "models": '["resnet18", ["yolo", "resnet18"]]',
    "clusters": '["pynq4", "mixed4"]',
    "boards": '"2..4"',
    "strategies": '["fused", "auto"]',
    "objectives": '["latency"]',
    "images": "8",
}


def load(tmp_path, extra="", **changed):
    lines = {**GOOD, **changed}
    path = tmp_path / "e.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in lines.items() if value) + "\n" + extra)
    return Experiment.load(path)


def test_everything_is_read(tmp_path):
    found = load(tmp_path, seed="3")
    assert found.models == (("resnet18",), ("yolo", "resnet18"))
    assert [len(cluster.boards) for cluster in found.clusters] == [4, 4]
    assert (found.name, found.boards, found.images, found.seed) == ("e", (2, 3, 4), 8, 3)
    assert (found.strategies, found.objectives) == (("fused", "auto"), ("latency",))
    assert (found.configs, found.search) == ((), None)


@pytest.mark.parametrize(
    ("text", "boards"), [('"all"', ()), ("[3, 1]", (3, 1)), ("5", (5,)), ('"3..3"', (3,)), ('"1..3"', (1, 2, 3))]
)
def test_boards_are_a_range_a_list_or_all(tmp_path, text, boards):
    assert load(tmp_path, boards=text).boards == boards


def test_builds_by_name_and_by_search(tmp_path):
    found = load(tmp_path, '[configurations]\nnames = ["pynq_1x16", "pynq_4x8"]\npart = "XC7Z020"\nclock_mhz = 100\n')
    assert [config.block for config in found.configs] == [16, 8]
    assert found.search == Search("XC7Z020", 100.0, 200)


def test_illegal_build_is_kept_with_its_reason(tmp_path):
    text = (HW_ROOT / "vta_configs" / "pynq_1x16.json").read_text()
    (tmp_path / "odd.json").write_text(text.replace('"LOG_ACC_BUFF_SIZE": 17', '"LOG_ACC_BUFF_SIZE": 19'))
    assert (tmp_path / "odd.json").read_text() != text
    (config,) = load(tmp_path, '[configurations]\nnames = ["odd.json"]\n').configs
    assert isinstance(config, IllegalConfig)
    assert config.name == "odd"
    assert "illegal VTA configuration" in config.reason


def test_files_beside_the_experiment(tmp_path):
    (tmp_path / "own.toml").write_text((HW_ROOT / "clusters" / "pynq4.toml").read_text())
    (tmp_path / "own.json").write_text((HW_ROOT / "vta_configs" / "pynq_4x8.json").read_text())
    (tmp_path / "net.onnx").touch()
    found = load(
        tmp_path, '[configurations]\nnames = ["own.json"]\n', clusters='["own.toml"]', models='["net.onnx", "yolo"]'
    )
    assert len(found.clusters[0].boards) == 4
    assert found.configs[0].block == 8
    assert found.models == ((str(tmp_path / "net.onnx"),), ("yolo",))
    (tmp_path / "own_part.toml").write_text((HW_ROOT / "parts" / "XC7Z020.toml").read_text())
    search = load(tmp_path, '[configurations]\npart = "own_part.toml"\nclock_mhz = 100\n').search
    assert search.part == str(tmp_path / "own_part.toml")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": ""}, "name is missing"),
        ({"models": "[]"}, "models is [] (allowed: a list of different models, or of mixes)"),
        ({"models": '["nosuch"]'}, "models holds 'nosuch' (allowed: "),
        ({"models": '["none.onnx"]'}, "or a file in "),
        ({"models": '["no/net.onnx"]'}, "models holds one that cannot be used (no/net.onnx: no such file"),
        ({"models": '["yolo", "yolo"]'}, "models is"),
        ({"models": "[[]]"}, "models is"),
        ({"models": "[1]"}, "models is"),
        ({"models": '"yolo"'}, "models is"),
        ({"clusters": "[1]"}, "clusters is [1] (allowed: a list of different clusters)"),
        ({"strategies": '["fused", "fused"]'}, "(allowed: a list of different ones of pipeline, "),
        ({"clusters": '["nowhere"]'}, "clusters holds one that cannot be used (nowhere: no such file"),
        ({"boards": '"4..2"'}, 'boards is \'4..2\' (allowed: "1..12", a list of 1..4096, or "all")'),
        ({"boards": "0"}, "boards is 0"),
        ({"boards": "true"}, "boards is True"),
        ({"boards": "[2, 2]"}, "boards is [2, 2]"),
        ({"boards": '"1...3"'}, "boards is"),
        ({"strategies": '["fast"]'}, "strategies holds 'fast' (allowed: pipeline, scatter-gather, fused"),
        ({"objectives": '["speed"]'}, "objectives holds 'speed' (allowed: throughput, latency, energy)"),
        ({"images": "0"}, "images is 0 (allowed: an integer 1..1000000)"),
        ({"seed": "-1"}, "seed is -1"),
        ({"image": "8"}, "image is unknown"),
        ({"extra": "[configurations]\n"}, "configurations.part is missing"),
        (
            {"extra": '[configurations]\npart = "XC7Z010"\nclock_mhz = 90\n'},
            "configurations.part cannot be used (XC7Z010: no such file and no shipped parts entry; allowed: a .toml "
            "file, or one of: XC7Z020, XCK26",
        ),
        (
            {"extra": '[configurations]\npart = "XC7Z020"\nclock_mhz = 250\n'},
            "configurations.clock_mhz is 250 (allowed: a number 1..200, the highest with a source)",
        ),
        ({"extra": '[configurations]\nnames = ["x"]\n'}, "configurations.names holds one that cannot be used (x:"),
        ({"extra": '[configurations]\nnames = ["pynq_1x16"]\nclock = 1\n'}, "configurations.clock is unknown"),
        ({"extra": '[configurations]\npart = "P"\nclock_mhz = 0\n'}, "configurations.clock_mhz is 0"),
        ({"extra": '[configurations]\npart = "P"\nclock_mhz = 90\nlimit = 0\n'}, "configurations.limit is 0"),
    ],
)
def test_fault_names_key_and_what_is_allowed(tmp_path, changed, words):
    with pytest.raises(ConfigError) as fault:
        load(tmp_path, **changed)
    assert words in str(fault.value)
    assert "see docs/experiments.md" in str(fault.value)


def test_all_faults_at_once(tmp_path):
    with pytest.raises(ConfigError) as fault:
        load(
            tmp_path,
            '[configurations]\npart = "P"\nclock_mhz = 90\n',
            models='["yolo", "nosuch", ["nosuch", "no/net.onnx"]]',
            images="0",
            strategies='["fast", "auto"]',
            boards='"x"',
        )
    assert str(fault.value).count(" | ") == 5


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the file"):
        Experiment.load(tmp_path / "none.toml")
