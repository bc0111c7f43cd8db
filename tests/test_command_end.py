import pytest

from mpi_vta.command_end import INTERNAL_STATUS, TRACEBACK_VARIABLE, status_of
from mpi_vta.errors import InputError


def failing(fault):
    def command():
        raise fault

    return command


def test_status_of_a_command_that_works(capsys):
    assert status_of(lambda: 3) == 3
    assert capsys.readouterr().err == ""


def test_fault_of_the_user_is_one_line(capsys):
    assert status_of(failing(InputError("empty", where="x")), "mpi_vta.trace") == 2
    assert capsys.readouterr().err == "mpi_vta.trace: error: x: empty\n"


@pytest.mark.parametrize("fault", [KeyError("a\nb"), RuntimeError("\x1b[2J"), MemoryError(), RecursionError()])
def test_bug_is_one_line_with_its_place(capsys, monkeypatch, fault):
    monkeypatch.delenv(TRACEBACK_VARIABLE, raising=False)
    assert status_of(failing(fault)) == INTERNAL_STATUS
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mpi_vta: error: internal error at ")
    assert "test_command_end.py:" in line
    assert "\x1b" not in line


def test_traceback_comes_when_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    assert status_of(failing(KeyError(1))) == INTERNAL_STATUS
    assert "Traceback" in capsys.readouterr().err
