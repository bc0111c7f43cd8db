"""Time in which this process could look at others: where it had no processor itself, their silence means nothing."""

from __future__ import annotations

import time

# a look that comes later than this was kept from coming
LONGEST_STEP_S = 0.5


class AttendedClock:
    """A clock that stands still while its owner gets no processor, or is stopped; 0 at first."""

    def __init__(self) -> None:
        self._last_s, self._attended_s = time.monotonic(), 0.0

    def now_s(self) -> float:
        """Return the seconds attended so far; to be called at least twice in `LONGEST_STEP_S`."""
        now_s = time.monotonic()
        self._attended_s += min(now_s - self._last_s, LONGEST_STEP_S)
        self._last_s = now_s
        return self._attended_s
