"""The MPI transport and how a job ends when a rank fails."""

import re

import pytest

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("ranks", [0, 1, 2, 5])
def test_every_operation_works(start_program, ranks):
    ended = start_program(ranks, "collectives.py")
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.strip() == f"{max(ranks, 1)} ranks agree"


@pytest.mark.parametrize(
    ("way", "status", "line"),
    [
        ("fault", 2, r"mpi_vta: error: rank 1 on \S+: insn 3: a rule is broken"),
        (
            "bug",
            1,
            r"mpi_vta: error: rank 1 on \S+: internal error at .*failing.py:\d+: ValueError: a bug of two lines;.*",
        ),
        ("thread", 1, r"mpi_vta: error: rank 1 on \S+: internal error at .*: ValueError: a bug of two lines;.*"),
    ],
)
def test_rank_that_fails_ends_the_job_with_one_line(start_program, way, status, line):
    ended = start_program(3, "failing.py", way)
    assert ended.status == status
    (found,) = ended.error_lines
    assert re.fullmatch(line, found)


def test_traceback_is_there_for_who_asks(start_program):
    ended = start_program(2, "failing.py", "bug", MPI_VTA_TRACEBACK="1")
    assert "Traceback (most recent call last)" in ended.stderr
