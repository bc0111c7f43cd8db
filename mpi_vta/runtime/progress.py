"""What is going on, for whoever watches: a live line on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from mpi_vta.printable import printable
from mpi_vta.standard_output import reader_may_leave

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

LINE_INTERVAL_S = 2.0


class Progress(Protocol):
    """Takes notice of phases and of steps within them."""

    def phase(self, text: str) -> None:
        """Begin something that takes a while."""
        ...

    def step(self, done: int, total: int) -> None:
        """Say how far the phase has come."""
        ...


class Silent:
    """For scripts."""

    def phase(self, text: str) -> None:
        """Say nothing."""

    def step(self, done: int, total: int) -> None:
        """Say nothing."""


class Lines:
    """One line per phase, and one from time to time within it: for logs, and under mpirun's pipes."""

    def __init__(self, stream: TextIO, interval_s: float = LINE_INTERVAL_S) -> None:
        self._stream, self._interval_s = stream, interval_s
        self._text = ""
        self._said_at = 0.0

    def phase(self, text: str) -> None:
        """Print the phase."""
        self._text = text
        self._say(text)

    def step(self, done: int, total: int) -> None:
        """Print how far it has come, unless something was printed just now."""
        if time.monotonic() - self._said_at > self._interval_s:
            self._say(f"{self._text}: {done} of {total}")

    def _say(self, text: str) -> None:
        # what is under way is worth its end, whether somebody reads of it or not
        with reader_may_leave():
            print(f"mpi_vta: {printable(text)}", file=self._stream, flush=True)
        self._said_at = time.monotonic()


class Live:
    """A spinner, a bar and the time, on a terminal."""

    def __init__(self, bar: Bar, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def phase(self, text: str) -> None:
        """Show the phase."""
        from rich.markup import escape

        self._bar.reset(self._task, total=None, description=escape(printable(text)))

    def step(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total)


@contextmanager
def shown_progress(*, quiet: bool, interval_s: float = LINE_INTERVAL_S) -> Iterator[Progress]:
    """Give the progress that suits where the output goes.

    Parameters
    ----------
    quiet : bool
        Whether stdout belongs to a script: then nothing but a terminal's stderr is written to.
    interval_s : float
        Time between two lines about the same phase, in a log.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as LiveBar

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with LiveBar(*columns, console=Console(stderr=True), transient=True) as bar:
            yield Live(bar, bar.add_task("starting", total=None))
    else:
        yield Silent() if quiet else Lines(sys.stdout, interval_s)
