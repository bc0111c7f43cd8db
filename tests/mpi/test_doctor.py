"""The doctor under mpirun, alone, and started by a launcher of another MPI."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from mpi.conftest import BIN, run_command

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("ranks", [0, 3])
def test_one_table_for_all_ranks(start, ranks):
    ended = start(ranks, "-m", "mpi_vta.doctor")
    lines = ended.stdout.splitlines()
    assert ended.stderr == ""
    assert lines[0].startswith("rank  host")
    assert len([line for line in lines[1:] if line[:1].isdigit() and " of " in line]) == max(ranks, 1)


def test_json_holds_facts_and_faults_and_a_fault_is_status_1(start):
    ended = start(2, "-m", "mpi_vta.doctor", "--json", "--device", "pynq", "--bitstream", "/nowhere.bit")
    answer = json.loads(ended.stdout)
    assert [entry["rank"] for entry in answer["ranks"]] == [0, 1]
    assert {fault["rank"] for fault in answer["faults"]} >= {0, 1}
    assert all(fault["remedy"] for fault in answer["faults"])
    assert ended.status == 1


def test_launcher_of_another_mpi_is_named(start):
    ended = start(0, "-m", "mpi_vta.doctor", OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_RANK="0")
    assert ended.status == 1
    assert "the launcher started 4 processes, MPI sees 1" in ended.stdout
    silent = start(0, "-m", "mpi_vta.doctor", OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_RANK="2")
    assert (silent.status, silent.stdout) == (0, "")


@pytest.fixture
def other_sources(tmp_path):
    """Give a copy of the package whose ALU takes the minimum for the maximum, and another of a later release."""

    def made(pattern, old, new):
        shutil.copytree(ROOT / "mpi_vta", tmp_path / "other/mpi_vta", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "hw", tmp_path / "other/hw")
        path = tmp_path / "other/mpi_vta" / pattern
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return tmp_path / "other"

    return made


CHANGES = {
    "another ALU": ("simulator/alu.py", "np.maximum", "np.minimum"),
    "another release": ("__init__.py", '"0.1.0"', '"0.2.0"'),
    "another header": ("runtime/messages.py", "HEADER_BYTES = 8", "HEADER_BYTES = 16"),
}


@pytest.mark.parametrize("other_first", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_hosts_with_other_sources_are_named_before_anything_else(other_sources, tmp_path, change, other_first):
    other = other_sources(*CHANGES[change])
    for command in (("mpi_vta.pipeline", "--model", "digits", "--output", "out"), ("mpi_vta.doctor",)):
        words = [sys.executable, "-m", *command]
        parts = [["-n", "1", *words], ["-n", "1", "-env", "PYTHONPATH", str(other), *words]]
        first, second = reversed(parts) if other_first else parts
        ended = run_command([str(BIN / "mpirun"), *first, ":", *second], 300, {}, tmp_path)
        (line,) = [line for line in (ended.stdout + ended.stderr).splitlines() if "differ" in line]
        place = r"mpi_vta \S+, sources [0-9a-f]{{12}} on \S+ \(rank {}\)"
        assert re.search(rf"sources differ: {place.format(0)}; {place.format(1)}", line), line
        assert ended.status == (1 if command == ("mpi_vta.doctor",) else 2)
        assert "install the same release on every host" in ended.stdout + ended.stderr
    assert not (tmp_path / "out").exists()


def test_wrong_option_is_one_line_from_rank_0(start):
    ended = start(2, "-m", "mpi_vta.doctor", "--cure")
    assert ended.error_lines == [
        "mpi_vta: error: command line: unrecognized arguments: --cure; see python -m mpi_vta.doctor --help"
    ]


def test_selftest_runs_on_every_rank_and_writes_one_report(start, tmp_path):
    report = tmp_path / "report.json"
    ended = start(2, "-m", "mpi_vta.doctor", "--selftest", "--report", str(report))
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.count(": pynq_z1, device sim: 20 of 20 right\n") == 2
    assert ended.stdout.endswith("the selftest passed\n")
    assert [entry["rank"] for entry in json.loads(report.read_text())["ranks"]] == [0, 1]


def test_selftest_of_an_unknown_board_file_is_a_fault(start):
    ended = start(0, "-m", "mpi_vta.doctor", "--selftest", "--board", "nosuch")
    assert (ended.status, ended.stderr) == (1, "")
    assert "wrong       rank 0: no such file and no shipped boards entry; a .toml file, or one of: " in ended.stdout
