"""A rank's clock against rank 0's: offset and drift from the fastest of many ping-pongs, with a bound on the error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ArtifactError
from mpi_vta.trace.schema import CLOCK_SAMPLE_DTYPE


@dataclass(frozen=True)
class ClockLine:
    """Rank 0's clock as a line over a rank's own: ``local + offset_ns + drift_ppb * 1e-9 * local``.

    Attributes
    ----------
    offset_ns : float
        Difference when the rank's own clock shows 0.
    drift_ppb : float
        Nanoseconds that the rank's clock loses per second.
    error_ns : float
        Bound on the error between the first and the last comparison, if the drift is constant.
    """

    offset_ns: float
    drift_ppb: float
    error_ns: float

    def to_reference(self, local_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return rank 0's times of some of this rank's, int64."""
        shift = self.offset_ns + self.drift_ppb * 1e-9 * local_ns.astype(np.float64)
        return local_ns + np.rint(shift).astype(np.int64)


SAME_CLOCK = ClockLine(0.0, 0.0, 0.0)


def best_of_round(sent_ns: NDArray[np.int64], reference_ns: NDArray[np.int64], back_ns: NDArray[np.int64]) -> Any:
    """Return the comparison of one round of ping-pongs that took the least time.

    The reference was read somewhere between sending and return, so half the round trip bounds the error
    whatever the two ways took.

    Parameters
    ----------
    sent_ns, back_ns : ndarray of int64, shape (n,)
        When each question left and when its answer was back, on the rank's own clock.
    reference_ns : ndarray of int64, shape (n,)
        What rank 0's clock showed.

    Returns
    -------
    scalar of CLOCK_SAMPLE_DTYPE
    """
    rtt_ns = back_ns - sent_ns
    best = int(np.argmin(rtt_ns))
    sample = np.zeros((), CLOCK_SAMPLE_DTYPE)
    sample["local_ns"] = sent_ns[best] + rtt_ns[best] // 2
    sample["offset_ns"] = reference_ns[best] - (sent_ns[best] + rtt_ns[best] / 2)
    sample["rtt_ns"] = rtt_ns[best]
    return sample


def fit_clock(samples: NDArray[Any], where: str) -> ClockLine:
    """Fit the line through comparisons, the faster ones counting more.

    Parameters
    ----------
    samples : ndarray of CLOCK_SAMPLE_DTYPE, shape (n,)
        One comparison per round, rounds spread over the run.
    where : str
        Whose, for the error message.

    Raises
    ------
    ArtifactError
        If there are fewer than two comparisons at different times.
    """
    local = samples["local_ns"].astype(np.float64)
    if np.unique(local).size < 2:
        raise ArtifactError(
            f"{np.unique(local).size} comparisons with rank 0's clock",
            where=where,
            allowed="at least 2, so that offset and drift are known",
            remedy="run the job again",
        )
    offset, rtt = samples["offset_ns"], np.maximum(samples["rtt_ns"], 1).astype(np.float64)
    weight = 1 / rtt**2
    middle = np.average(local, weights=weight)
    spread = local - middle
    mean = np.average(offset, weights=weight)
    drift = float((weight * spread * (offset - mean)).sum() / (weight * spread**2).sum())
    residual = np.abs(mean + drift * spread - offset)
    return ClockLine(float(mean - drift * middle), drift * 1e9, _error_bound(local, rtt / 2 + residual))


def _error_bound(local: NDArray[np.float64], bound: NDArray[np.float64]) -> float:
    """Bound a linear error that is within `bound` at the times `local`, over the whole of those times.

    Any two comparisons bound it at the ends of the run, so a slow one in between does no harm.
    """
    first, second = np.triu_indices(len(local), 1)
    apart = np.abs(local[second] - local[first])
    usable = apart > 0
    first, second, apart = first[usable], second[usable], apart[usable]
    worst = 0.0
    for end in (local.min(), local.max()):
        at_end = (np.abs(local[second] - end) * bound[first] + np.abs(local[first] - end) * bound[second]) / apart
        worst = max(worst, float(at_end.min()))
    return worst
