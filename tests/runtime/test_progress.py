"""Progress off a terminal: a line per phase, or nothing."""

import io
import sys

from rich.console import Console
from rich.progress import Progress as Bar

from mpi_vta.runtime.progress import Lines, Live, shown_progress


def test_log_gets_a_line_per_phase(capsys):
    with shown_progress(quiet=False) as shown:
        shown.phase("compiling")
        shown.step(1, 9)
        shown.phase("running")
    assert capsys.readouterr() == ("mpi_vta: compiling\nmpi_vta: running\n", "")


def test_long_phase_says_how_far_it_is():
    stream = io.StringIO()
    lines = Lines(stream, interval_s=0.0)
    lines.phase("running")
    lines.step(3, 9)
    assert stream.getvalue().splitlines()[-1] == "mpi_vta: running: 3 of 9"


def test_script_gets_nothing(capsys):
    with shown_progress(quiet=True) as shown:
        shown.phase("compiling")
        shown.step(1, 2)
    assert capsys.readouterr() == ("", "")


def test_terminal_gets_a_live_line(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with shown_progress(quiet=True) as shown:
        assert isinstance(shown, Live)
        shown.phase("compiling")
        shown.step(1, 2)


def test_live_line_shows_phase_and_share():
    bar = Bar(console=Console(file=io.StringIO()))
    live = Live(bar, bar.add_task("starting", total=None))
    live.phase("running")
    live.step(2, 4)
    (task,) = bar.tasks
    assert (task.description, task.completed, task.total) == ("running", 2, 4)
