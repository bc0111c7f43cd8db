"""Points: every combination, in order, with a key that says what decides its figures."""

import json
from dataclasses import replace

import pytest

from mpi_vta.errors import ConfigError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.json_fields import from_json, to_json
from mpi_vta.study.experiment import Experiment, IllegalConfig
from mpi_vta.study.points import PointTable, StudyBuild, points_of

HASHES = {"a": "1", "b": "2"}


def config(name):
    return VTAConfig.load(find("vta_configs", name, ".json"))


def experiment(**changed):
    parts = {
        "name": "e",
        "models": (("a",), ("a", "b")),
        "clusters": (Cluster.load("pynq4"), Cluster.load("mixed4")),
        "boards": (1, 3),
        "strategies": ("pipeline", "auto"),
        "objectives": ("throughput", "latency"),
        "images": 8,
    }
    return Experiment(**{**parts, **changed})


def test_every_combination_once_in_order():
    points = points_of(experiment(), (None, StudyBuild(config("pynq_4x8"))))
    assert len(points) == 2 * 2 * 2 * 2 * 2 * 2
    assert [point.index for point in points] == list(range(len(points)))
    assert len({point.key(HASHES) for point in points}) == len(points)
    assert [point.objective for point in points[:3]] == ["throughput", "latency", "throughput"]
    assert [point.strategy for point in points[:5]] == ["pipeline", "pipeline", "auto", "auto", "pipeline"]
    assert {point.models for point in points[:32]} == {("a",)}


def test_all_boards_are_those_of_each_cluster():
    clusters = (Cluster.load("pynq4"), Cluster.load("zynq12"))
    points = points_of(experiment(boards=(), clusters=clusters), (None,))
    assert {(point.cluster.name, point.boards) for point in points} == {("pynq4", 4), ("zynq12", 12)}


def test_points_survive_the_way_to_another_rank():
    points = points_of(
        experiment(), (None, StudyBuild(config("pynq_4x8"), 80.0), StudyBuild(IllegalConfig("odd", "too odd")))
    )
    data = json.loads(json.dumps(to_json(PointTable.of(points))))
    assert from_json(PointTable, data).points == points
    data["rows"][0]["build"] = 2
    with pytest.raises(ValueError, match="point 0 is of a cluster or build that is not there"):
        from_json(PointTable, data)


def test_key_changes_with_all_that_decides():
    (point, *_) = points_of(experiment(), (None,))
    cluster = point.cluster
    others = [
        replace(point, boards=2),
        replace(point, images=9),
        replace(point, strategy="fused"),
        replace(point, objective="energy"),
        replace(point, build=StudyBuild(config("pynq_4x8"))),
        replace(point, cluster=replace(cluster, switch_latency_ns=1)),
        replace(point, cluster=replace(cluster, boards=(replace(cluster.boards[0], clock_mhz=99.0),) * 4)),
    ]
    keys = {point.key(HASHES), point.key({"a": "3"}), *(other.key(HASHES) for other in others)}
    assert len(keys) == 2 + len(others)
    assert replace(point, index=7).key(HASHES) == point.key(HASHES)


def test_key_changes_with_the_sources(monkeypatch):
    (point, *_) = points_of(experiment(), (None,))
    before = point.key(HASHES)
    monkeypatch.setattr("mpi_vta.study.points.sources_hash", lambda rooms: "other")
    assert point.key(HASHES) != before


def test_build_replaces_configuration_and_clock():
    (point, *_) = points_of(experiment(), (StudyBuild(config("pynq_4x8"), 80.0),))
    (board,) = point.built_cluster().boards
    assert (board.config.block, board.clock_mhz) == (8, 80.0)
    assert point.title == f"a on 1 board of {point.cluster.name} with {config('pynq_4x8').name}: pipeline, throughput"


def test_build_on_a_board_whose_part_nobody_described_is_not_judged():
    (point, *_) = points_of(experiment(), (StudyBuild(config("pynq_1x32")),))
    boards = tuple(replace(board, part="XC7Z999") for board in point.cluster.boards)
    cluster = replace(point, cluster=replace(point.cluster, boards=boards)).built_cluster()
    assert cluster.boards[0].config.block == 32


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"boards": 5}, "cluster pynq4: 5 boards, it has 4"),
        ({"models": ("a", "b")}, "boards = 1: 2 models at once need as many boards"),
        ({"build": StudyBuild(config("ultra96_1x16"))}, "a build for 128-bit memory buses, pynq_z1 has 64"),
        ({"build": StudyBuild(config("pynq_1x32"))}, "does not fit XC7Z020: 323.5 BRAM36 of 140"),
        ({"build": StudyBuild(config("pynq_1x16"), 900.0)}, "does not fit XC7Z020: "),
        ({"build": StudyBuild(IllegalConfig("odd", "A is larger than I"))}, "odd: A is larger than I"),
    ],
)
def test_what_cannot_be_built_says_why(changed, words):
    (point, *_) = points_of(experiment(), (None,))
    with pytest.raises(ConfigError, match=words):
        replace(point, **changed).built_cluster()
