"""How a failure is worded, and what it ends."""

import signal
import sys
import threading
from contextlib import suppress

import pytest

from mpi_vta.command_end import error_line
from mpi_vta.errors import PlanError
from mpi_vta.runtime.faults import handler
from mpi_vta.runtime.faults.failure import ENDING_SIGNALS, abort_all_on_uncaught, exit_status
from mpi_vta.runtime.faults.handler import Ended


class Recorder:
    rank, size, host = 3, 4, "node7"

    def __init__(self):
        self.statuses = []

    def abort(self, status):
        self.statuses.append(status)


def raised(fault):
    try:
        raise fault
    except BaseException as caught:
        return caught


def test_fault_of_the_user_comes_as_it_is():
    fault = PlanError("too few", where="plan", remedy="start more")
    assert error_line(fault) == "mpi_vta: error: plan: too few; start more"
    assert exit_status(fault) == 2


def test_bug_names_its_place_in_one_line():
    line = error_line(raised(ValueError("two\nlines")), "rank 1")
    assert "\n" not in line
    assert line.startswith("mpi_vta: error: rank 1: internal error at ")
    assert "test_failure.py:" in line
    assert "ValueError: two lines" in line
    assert exit_status(ValueError()) == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_to_end_is_no_bug(number, status):
    assert error_line(Ended(number), "rank 1") == f"mpi_vta: error: rank 1: ended by {number.name}"
    assert exit_status(Ended(number)) == status


@pytest.fixture
def transport(monkeypatch):
    # the hooks are the process's own: give them back afterwards
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    # what would end the process later waits until a test asks for it
    monkeypatch.setattr(handler, "_later", lambda after_s, what: None)
    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    recorder = Recorder()
    abort_all_on_uncaught(recorder)
    yield recorder
    for number, former in handlers.items():
        signal.signal(number, former)


def test_uncaught_exception_aborts_every_rank(transport, capsys):
    fault = raised(PlanError("a fault"))
    sys.excepthook(type(fault), fault, fault.__traceback__)
    assert transport.statuses == [2]
    assert capsys.readouterr().err == "mpi_vta: error: rank 3 on node7: a fault\n"


def test_uncaught_exception_of_a_thread_aborts_every_rank(transport, capsys):
    def fail():
        raise PlanError("a fault of a thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert transport.statuses == [2]
    assert "a fault of a thread" in capsys.readouterr().err


def test_signal_that_comes_where_nothing_can_be_raised_comes_again(transport, monkeypatch):
    def at_once(after_s, what):
        if after_s < 1:
            threading.Timer(after_s, what).start()

    monkeypatch.setattr(handler, "_later", at_once)

    class Final:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def work():
        Final()
        # Python has said that it ignores the exception; the second signal interrupts this wait
        threading.Event().wait(60)

    with pytest.raises(Ended, match="ended by SIGTERM"):
        work()


def test_signal_that_native_code_swallows_ends_the_job_later(transport, monkeypatch, capsys):
    timers = []
    monkeypatch.setattr(handler, "_later", lambda after_s, what: timers.append((after_s, what)))
    with suppress(Ended):
        signal.raise_signal(signal.SIGTERM)
    assert transport.statuses == []
    ((after_s, end),) = timers
    assert after_s >= 10
    monkeypatch.setattr(handler, "GRACE_S", 0.0)
    end()
    assert transport.statuses == [143]
    assert capsys.readouterr().err == "mpi_vta: error: rank 3 on node7: ended by SIGTERM\n"
    # once it has begun, no timer ends it again
    end()
    assert transport.statuses == [143]


def test_signal_ends_the_job_once(transport):
    with pytest.raises(Ended, match="ended by SIGTERM"):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
