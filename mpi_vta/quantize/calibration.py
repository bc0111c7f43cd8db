"""Ranges of a float graph's values on calibration images, and the power-of-two scales that suit them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import InputError
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.reference import execute

SAMPLES_PER_IMAGE = 1 << 14
CLIPPED_POWERS = 6  # how many powers of two below the min-max scale are tried
SCALE_OF_ZERO = -7  # for a value that is always 0: as if it lay in [-1, 1)
PERCENTILE = 99.99  # of magnitudes


def _nothing() -> NDArray[np.float64]:
    return np.zeros(0)


@dataclass(frozen=True)
class ValueRange:
    """What was seen of one value.

    Attributes
    ----------
    peak : float
        Largest magnitude over all images.
    samples : ndarray of float32
        Elements drawn evenly at random, the same positions in every run.
    means, powers, peaks : ndarray of float64, shape (C,)
        Mean, mean square and largest magnitude of each channel over all images; empty for what is no value.
    negatives : ndarray of float64, shape (C,)
        Mean of each channel with what is above 0 taken as 0.
    stated : bool
        The peak comes with the model, which was quantised before; it is not to be clipped.
    """

    peak: float
    samples: NDArray[np.float32]
    means: NDArray[np.float64] = field(default_factory=_nothing)
    powers: NDArray[np.float64] = field(default_factory=_nothing)
    peaks: NDArray[np.float64] = field(default_factory=_nothing)
    negatives: NDArray[np.float64] = field(default_factory=_nothing)
    stated: bool = False


def collect_ranges(graph: Graph, images: NDArray[np.float32], names: Iterable[str]) -> dict[str, ValueRange]:
    """Run the float graph image by image and return the range of each named value.

    Parameters
    ----------
    graph : Graph
        Float graph with one input.
    images : ndarray of float32, shape (n, C, H, W), n >= 1
    names : iterable of str
        Values to watch; the graph's input may be among them.

    Raises
    ------
    InputError
        If there is no image, or a value is not finite.
    """
    if len(images) == 0:
        raise InputError("no calibration images", where=graph.name, allowed="at least 1")
    watched = replace(graph, outputs=tuple(names))
    rng = np.random.default_rng(0)
    positions = {name: _positions(graph.values[name].shape, rng) for name in watched.outputs}
    peaks: dict[str, list[Any]] = {name: [] for name in watched.outputs}
    samples: dict[str, list[Any]] = {name: [] for name in watched.outputs}
    sums: dict[str, list[Any]] = {name: [] for name in watched.outputs}
    for image in images:
        for name, array in execute(watched, {graph.inputs[0]: image[None]}).items():
            channels = array.reshape(array.shape[1], -1)
            peaks[name].append(np.abs(channels).max(axis=1))
            samples[name].append(array.reshape(-1)[positions[name]])
            square = np.einsum("ij,ij->i", channels, channels, dtype=np.float64) / channels.shape[1]
            negative = np.minimum(channels, 0).mean(axis=1, dtype=np.float64)
            sums[name].append((channels.mean(axis=1, dtype=np.float64), square, negative))
    for name, entries in peaks.items():
        if not np.isfinite(entries).all():
            raise InputError(
                f"value {name} is not finite on the calibration images", where=graph.name, remedy="check the weights"
            )
    result = {}
    for name in watched.outputs:
        means, powers, negatives = np.mean(sums[name], axis=0)
        highest = np.max(peaks[name], axis=0).astype(np.float64)
        result[name] = ValueRange(
            float(highest.max()), np.concatenate(samples[name]), means, powers, highest, negatives
        )
    return result


def with_stated(ranges: Mapping[str, ValueRange], stated: Mapping[str, tuple[float, float]]) -> dict[str, ValueRange]:
    """Return ranges with the peaks that a model brings with it, as (lowest, highest), in place of those seen.

    An int8 value reaches one step further down than up, so -128 steps count as 127.
    """
    return {
        name: replace(seen, peak=max(stated[name][1], stated[name][0] * -127 / 128), stated=True)
        if name in stated
        else seen
        for name, seen in ranges.items()
    }


def _positions(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which elements of one image to sample: all of a small tensor, else a random draw."""
    size = int(np.prod(shape))
    return np.arange(size) if size <= SAMPLES_PER_IMAGE else rng.integers(0, size, SAMPLES_PER_IMAGE)


def choose_scale_log2(ranges: list[ValueRange], method: str) -> int:
    """Return the scale exponent for values that share one.

    Parameters
    ----------
    ranges : list of ValueRange
        A peak that the model states decides alone: nothing up to it is clipped.
    method : str
        One of `mpi_vta.quantize.options.CALIBRATIONS`.
    """
    stated = [entry.peak for entry in ranges if entry.stated and entry.peak > 0]
    if stated:
        return minmax_scale_log2(max(stated))
    if method == "mse":
        return best_scale_log2(ranges)
    peaks = [entry.peak if method == "minmax" else _percentile(entry) for entry in ranges]
    return minmax_scale_log2(max(peaks)) if max(peaks) > 0 else SCALE_OF_ZERO


def _percentile(entry: ValueRange) -> float:
    """Return the magnitude that few samples exceed; the peak where most samples are 0."""
    level = float(np.percentile(np.abs(entry.samples), PERCENTILE))
    return level or entry.peak


def best_scale_log2(ranges: list[ValueRange]) -> int:
    """Return the scale exponent with the least mean squared error, summed relative to each range's power.

    Candidates are the min-max scale, which clips nothing, and the powers of two below it.
    """
    seen = [entry for entry in ranges if entry.peak > 0]
    if not seen:
        return SCALE_OF_ZERO
    top = minmax_scale_log2(max(entry.peak for entry in seen))

    def error(scale_log2: int) -> float:
        return sum(
            squared_error(entry.samples, scale_log2) / max(float(np.square(entry.samples).mean()), 1e-30)
            for entry in seen
        )

    return min(range(top, top - CLIPPED_POWERS, -1), key=error)


def minmax_scale_log2(peak: float) -> int:
    """Return the smallest exponent at which `peak` > 0 does not exceed 127.5 steps."""
    return int(np.ceil(np.log2(peak / 127.5)))


def squared_error(values: NDArray[np.float32], scale_log2: int) -> float:
    """Return the mean squared error of int8 at a scale of 2**scale_log2."""
    scaled = np.ldexp(values, -scale_log2)
    rounded = np.clip(np.rint(scaled), -128, 127)
    return float(np.square(rounded - scaled).mean(dtype=np.float64)) * 4.0**scale_log2
