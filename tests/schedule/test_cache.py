"""The program cache: found by content, never trusted when damaged."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from schedule_cases import chain

from mpi_vta import artifact
from mpi_vta.codegen.program import Binding, Layer, Program, Segment
from mpi_vta.disk import cache_directory, sources_hash
from mpi_vta.errors import ArtifactError, InputError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.schedule.cache import TIMING_VERSION, ProgramCache, ProgramTiming, keep

CONFIG = Cluster.default(1).boards[0].config
GRAPH = chain(2)


def tiny_program(graph, config):
    return Program(
        graph.name,
        config,
        np.zeros((3, 2), dtype=np.uint64),
        np.full(3, -1, dtype=np.int16),
        np.array([0, 1, -1], dtype=np.int16),
        (Segment("x", "input", 64), Segment("y", "output", 64)),
        (Binding("x", "x", (1, 3, 8, 8), 0, 64),),
        (Binding("v1", "y", (1, 16, 8, 8), 0, 64),),
        (Layer("n0", "sum", "", 1, 1, 1, 1), Layer("n1", "sum", "", 1, 1, 1, 1)),
        {},
    )


@pytest.fixture
def cache(tmp_path):
    calls = []

    def compile_graph(graph, config):
        calls.append("compile")
        return tiny_program(graph, config)

    def time_program(program):
        calls.append("time")
        return ProgramTiming(30, np.array([10, 20], dtype=np.int64))

    made = ProgramCache(compile_graph, time_program, tmp_path / "cache")
    made.calls = calls
    return made


def entries(cache, kind):
    return sorted(cache.directory.rglob(f"*.{kind}"))


def test_second_lookup_compiles_and_times_nothing(cache):
    first = cache.program(GRAPH, CONFIG)
    timing = cache.timing(first)
    second = cache.program(GRAPH, CONFIG)
    again = cache.timing(second)
    assert cache.calls == ["compile", "time"]
    assert second.sha256 == first.sha256
    assert (
        (again.cycles, again.layer_cycles.tolist()) == (timing.cycles, timing.layer_cycles.tolist()) == (30, [10, 20])
    )
    assert (cache.hits, cache.misses) == (2, 2)


def test_other_graph_or_configuration_is_another_entry(cache):
    cache.program(GRAPH, CONFIG)
    cache.program(chain(3), CONFIG)
    cache.program(GRAPH, Cluster.load("mixed17").boards[16].config)
    assert cache.calls == ["compile"] * 3
    assert len(entries(cache, "program")) == 3


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[:-90] + bytes(90)]
)
def test_damaged_entries_are_made_again(cache, damage):
    cache.timing(cache.program(GRAPH, CONFIG))
    for path in entries(cache, "program") + entries(cache, "timing"):
        path.write_bytes(damage(path.read_bytes()))
    assert cache.timing(cache.program(GRAPH, CONFIG)).cycles == 30
    assert cache.calls == ["compile", "time"] * 2
    cache.timing(cache.program(GRAPH, CONFIG))
    assert cache.calls == ["compile", "time"] * 2


def test_entry_of_another_program_under_the_name_is_not_trusted(cache):
    cache.program(GRAPH, CONFIG)
    path = entries(cache, "program")[0]
    data = bytearray(path.read_bytes())
    data[data.index(b"n0")] ^= 1
    path.write_bytes(bytes(data))
    assert cache.program(GRAPH, CONFIG).layers[0].name == "n0"
    assert cache.calls == ["compile"] * 2


def test_entry_made_from_something_else_is_made_again(cache):
    cache.program(GRAPH, CONFIG)
    (first,) = entries(cache, "program")
    cache.program(chain(3), CONFIG)
    (other,) = set(entries(cache, "program")) - {first}
    # whole and sealed, but of another graph
    other.write_bytes(first.read_bytes())
    assert cache.program(chain(3), CONFIG).name == chain(3).name
    assert cache.calls == ["compile"] * 3


def listening(path):
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as bound:
        # the path of a socket has to be short
        bound.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


@pytest.mark.parametrize("kind", ["program", "timing", "lock"])
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (os.mkfifo, "a pipe or device, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "a pipe or device, not a file"),
        (listening, "a pipe or device, not a file"),
        (os.mkdir, "Is a directory"),
    ],
    ids=["pipe", "device", "socket", "folder"],
)
def test_entry_that_is_no_file_is_refused_and_not_waited_for(cache, kind, place, reason):
    program = cache.program(GRAPH, CONFIG)
    cache.timing(program)
    (path,) = entries(cache, "program" if kind == "lock" else kind)
    path.unlink()
    path = path.with_suffix(f".{kind}")
    place(path)
    if kind == "lock":
        reason = {"Is a directory": reason}.get(reason, r".*")
    with pytest.raises(InputError, match=rf"\.{kind}: the program cache cannot be used \({reason}\); "):
        cache.timing(program) if kind == "timing" else cache.program(GRAPH, CONFIG)
    assert cache.calls == ["compile", "time"]


def test_altered_program_is_not_handed_out_and_removed(cache):
    program = cache.program(GRAPH, CONFIG)
    cache.find_change = lambda graph, config, program, *, every_instruction: f"{graph.name} {every_instruction}"
    # what this process compiled is not looked at
    cache.check(GRAPH, CONFIG, program, every_instruction=True)
    read = cache.program(GRAPH, CONFIG)
    with pytest.raises(ArtifactError, match=r"\.program: the program in the cache is not what .*: chain True; it was"):
        cache.check(GRAPH, CONFIG, read, every_instruction=True)
    assert entries(cache, "program") == []


def test_altered_timing_is_found_and_removed(cache):
    program = cache.program(GRAPH, CONFIG)
    cache.timing(program)
    (path,) = entries(cache, "timing")
    altered = {"layer_cycles": np.array([10, 10], dtype=np.int64)}
    keep(path, artifact.pack("timing", TIMING_VERSION, {"cycles": 20}, altered), "program")
    program = cache.program(GRAPH, CONFIG)
    assert cache.timing(program).cycles == 20
    with pytest.raises(ArtifactError, match=r"\.timing: the timing in the cache is not what .*: 20 cycles for 30; it"):
        cache.check(GRAPH, CONFIG, program, every_instruction=True)
    assert cache.timing(program).cycles == 30


def test_changed_sources_are_another_version(cache, monkeypatch):
    cache.program(GRAPH, CONFIG)
    monkeypatch.setattr("mpi_vta.schedule.cache.sources_hash", lambda rooms: "changed")
    cache.program(GRAPH, CONFIG)
    assert cache.calls == ["compile"] * 2


def test_version_covers_the_rooms_that_decide_the_result():
    assert sources_hash(("codegen",)) != sources_hash(("codegen", "isa"))
    assert len(sources_hash(("codegen", "isa", "graph", "hw"))) == 64


def test_no_part_of_a_write_is_left_behind(cache):
    cache.timing(cache.program(GRAPH, CONFIG))
    assert {path.suffix for path in cache.directory.rglob("*") if path.is_file()} == {".program", ".timing"}


def test_directory_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MPI_VTA_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("MPI_VTA_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "mpi_vta"


def test_directory_that_cannot_be_used_is_named(cache, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"the program cache cannot be used .*; set MPI_VTA_CACHE"):
        replace(cache, directory=tmp_path / "file" / "below").program(GRAPH, CONFIG)


def test_a_change_of_boards_is_no_other_compiler(tmp_path, monkeypatch):
    package = tmp_path / "mpi_vta"
    (package / "hw").mkdir(parents=True)
    (package / "hw" / "config.py").write_text("a = 1\n")
    (package / "hw" / "board.py").write_text("b = 1\n")
    monkeypatch.setattr("mpi_vta.disk._PACKAGE", package)
    version = sources_hash.__wrapped__
    before = version(("hw/config.py",)), version(("hw",))
    (package / "hw" / "board.py").write_text("b = 2\n")
    assert version(("hw/config.py",)) == before[0]
    assert version(("hw",)) != before[1]
    (package / "hw" / "config.py").write_text("a = 2\n")
    assert version(("hw/config.py",)) != before[0]


WAITING = """
import sys, time
from pathlib import Path
from test_cache import CONFIG, GRAPH, tiny_program
from mpi_vta.schedule.cache import ProgramCache

def compile_graph(graph, config):
    Path(sys.argv[2], f"{sys.argv[3]}.compiled").touch()
    time.sleep(float(sys.argv[4]))
    return tiny_program(graph, config)

cache = ProgramCache(compile_graph, None, Path(sys.argv[1]))
print(cache.program(GRAPH, CONFIG).sha256, cache.hits, cache.misses)
"""


def started(tmp_path, name, seconds):
    command = [sys.executable, "-c", WAITING, tmp_path / "cache", tmp_path, name, str(seconds)]
    folders = f"{Path(__file__).parent}:{Path(__file__).parent.parent}:{':'.join(sys.path)}"
    return subprocess.Popen(command, env={"PYTHONPATH": folders}, stdout=subprocess.PIPE, text=True)


def wait_for(path):
    while not path.exists():
        time.sleep(0.005)


def test_of_two_processes_one_compiles(tmp_path):
    first = started(tmp_path, "first", 1.5)
    wait_for(tmp_path / "first.compiled")
    second = started(tmp_path, "second", 0)
    outputs = [process.communicate()[0].split() for process in (first, second)]
    assert outputs[0][0] == outputs[1][0]
    assert [output[1:] for output in outputs] == [["0", "1"], ["1", "0"]]
    assert not (tmp_path / "second.compiled").exists()
    assert list((tmp_path / "cache").rglob("*.lock")) == []


def test_killed_compiler_holds_nobody_up(tmp_path):
    first = started(tmp_path, "first", 600)
    wait_for(tmp_path / "first.compiled")
    second = started(tmp_path, "second", 0)
    first.kill()
    first.communicate()
    assert second.communicate()[0].split()[1:] == ["0", "1"]
