"""Standard output and error, whose readers may leave before everything is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """End what prints, quietly, when the reader of standard output, ``head`` for one, has seen enough."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # what is still buffered must not be tried again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_error(line: str) -> None:
    """Print a line on standard error; with nobody to read it, what the line is about goes on all the same."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
