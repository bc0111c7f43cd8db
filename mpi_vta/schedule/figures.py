"""Throughput and latency from the times at which image groups start and finish; for prediction and run alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from mpi_vta.plans.steady import steady_images_per_s


@dataclass(frozen=True)
class Figures:
    """What a job of some images achieved.

    Attributes
    ----------
    images : int
        Images done.
    makespan_ns : int
        From the first start to the last finish.
    throughput_images_per_s : float
        `images` over `makespan_ns`: filling and draining the pipeline counts.
    steady_images_per_s : float or None
        Rate at which images finish in the middle half of the job, see `mpi_vta.plans.steady`; None where too few
        rounds lie in it.
    latency_p50_ms, latency_p99_ms : float
        Percentiles over images of finish minus start.
    """

    images: int
    makespan_ns: int
    throughput_images_per_s: float
    steady_images_per_s: float | None
    latency_p50_ms: float
    latency_p99_ms: float


def measure(
    start_ns: Sequence[int],
    finish_ns: Sequence[int],
    images: int,
    group_images: int,
    groups_per_round: int = 1,
    bound_images_per_s: float = inf,
) -> Figures:
    """Return the figures of a job.

    Parameters
    ----------
    start_ns, finish_ns : sequences of int
        Per image group, in group order; finish later than start.
    images : int
        Images in all; the last group may be partly filled.
    group_images : int
        Images per group.
    groups_per_round, bound_images_per_s
        Of the steady rate, see `mpi_vta.plans.steady`.

    Raises
    ------
    ValueError
        If the number of groups does not fit the number of images.
    """
    groups = len(finish_ns)
    if groups != len(start_ns) or groups != group_count(images, group_images):
        raise ValueError(
            f"{len(start_ns)} starts and {groups} finishes for {images} images in groups of {group_images}"
        )
    per_group = np.full(groups, group_images)
    per_group[-1] = images - (groups - 1) * group_images
    starts, finishes = np.asarray(start_ns, dtype=np.int64), np.asarray(finish_ns, dtype=np.int64)
    makespan_ns = int(finishes.max() - starts.min())
    throughput = images * 1e9 / makespan_ns
    steady = steady_images_per_s(finishes, group_images, groups_per_round, bound_images_per_s)
    latency_ms = np.repeat((finishes - starts) / 1e6, per_group)
    p50, p99 = np.percentile(latency_ms, [50, 99])
    return Figures(images, makespan_ns, throughput, steady, float(p50), float(p99))


def group_count(images: int, group_images: int) -> int:
    """Return the number of image groups, the last perhaps partly filled."""
    return -(-images // group_images)
