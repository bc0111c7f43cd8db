"""The doctor under mpirun, alone, and started by a launcher of another MPI."""

import json

import pytest

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
