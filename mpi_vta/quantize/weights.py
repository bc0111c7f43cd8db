"""Weights as integers: one power-of-two scale per layer, or one per output channel by register shifts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.graph.ops import CHANNEL_SHIFT_MAX, SHIFTED_RESIDUAL_SHIFT_MAX
from mpi_vta.graph.verify import OPERAND_SHIFT_MAX, SHIFT_MAX
from mpi_vta.quantize.calibration import ValueRange, best_scale_log2
from mpi_vta.quantize.scales import within

Array = NDArray[Any]

INT32_MAX = 2**31 - 1
WORTH_DB = 2.0  # what a scale per channel must gain in a layer's own error to be worth its ALU cycles


@dataclass(frozen=True)
class FloatLayer:
    """A convolution to be, in floats.

    Attributes
    ----------
    weight : ndarray of float32, shape (O, I/groups, kh, kw)
    bias : ndarray of float32, shape (O,)
    groups : int
    source, out : int
        Scale exponents of input and output.
    residual : int or None
        Scale exponent of the residual.
    leaky : (int, int) or None
        Slope as m / 2**k.
    means, powers : ndarray of float64, shape (I,)
        Mean and mean square of each channel of the input.
    tilts : ndarray of float64, shape (I,)
        What the ratios of slopes before it add to the mean of each channel of the input.
    coverage : ndarray of float64, shape (kh, kw)
        Share of the outputs for which a tap reads the input and not its padding.
    correct_bias : bool
        Whether the bias takes back what rounding does to a channel's mean.
    where : str
        Named in messages.
    """

    weight: Array
    bias: Array
    groups: int
    source: int
    out: int
    residual: int | None
    leaky: tuple[int, int] | None
    means: NDArray[np.float64]
    powers: NDArray[np.float64]
    tilts: NDArray[np.float64]
    coverage: NDArray[np.float64]
    correct_bias: bool
    where: str


@dataclass(frozen=True)
class IntegerLayer:
    """Its integers.

    Attributes
    ----------
    weight : ndarray of int8, bias : ndarray of int32
    channel_shift : ndarray of int8, shape (O,), or None
    scale : int
        Scale exponent of the weights after the channel shifts: the accumulator's is that plus the input's.
    error : float
        Mean square error expected of the output before saturation, in real units: rounding of weights and output.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    channel_shift: NDArray[np.int8] | None
    scale: int
    error: float

    def real_weight(self) -> NDArray[np.float64]:
        """Return what the integers stand for."""
        shifts = np.zeros(len(self.weight), np.int64) if self.channel_shift is None else self.channel_shift
        exponents = self.scale - shifts.astype(np.int64)
        return np.ldexp(self.weight.astype(np.float64), exponents[:, None, None, None].astype(np.int32))


def choose_weights(layer: FloatLayer, per_channel: str) -> tuple[IntegerLayer, float | None]:
    """Return the integers of a layer, and what a scale per channel gains in dB of its own error.

    Parameters
    ----------
    layer : FloatLayer
    per_channel : str
        ``auto``, ``always`` or ``never``; the gain is None for ``never``, or where there is nothing to gain as every
        channel wants the same scale.
    """
    whole = _per_tensor(layer)
    if per_channel == "never":
        return whole, None
    split = _per_channel(layer)
    if split is None:
        return whole, None
    gain_db = 10 * float(np.log10(whole.error / split.error))
    return (split if per_channel == "always" or gain_db >= WORTH_DB else whole), gain_db


def _bounds(layer: FloatLayer, most_residual_shift: int) -> tuple[int, int]:
    """Return the least and largest weight scale for which every shift is legal."""
    low, high = layer.out - layer.source - SHIFT_MAX, layer.out - layer.source
    if layer.residual is not None:
        apart = layer.residual - layer.source
        low, high = max(low, apart - most_residual_shift), min(high, apart)
    return low, high


def _per_tensor(layer: FloatLayer) -> IntegerLayer:
    low, high = _bounds(layer, OPERAND_SHIFT_MAX)
    wanted = best_scale_log2([ValueRange(float(np.abs(layer.weight).max()), layer.weight.reshape(-1))])
    scale = within(wanted, low, high, layer.where)
    none = np.zeros(len(layer.weight), np.int64)
    while True:
        result, peak = _integers(layer, scale, none)
        if peak <= INT32_MAX:
            return result
        scale = within(scale + 1, scale + 1, high, layer.where)


def _per_channel(layer: FloatLayer) -> IntegerLayer | None:
    """Return the integers with a scale per output channel; None where all are the same or no shifts allow it."""
    low, high = _bounds(layer, SHIFTED_RESIDUAL_SHIFT_MAX)
    if low > high:
        return None
    peaks = np.abs(layer.weight).reshape(len(layer.weight), -1).max(axis=1)
    wanted = np.array(
        [
            best_scale_log2([ValueRange(float(peak), row.reshape(-1))])
            for peak, row in zip(peaks, layer.weight, strict=True)
        ]
    )
    alive = peaks > 0
    if not alive.any():
        return None
    scale = min(max(int(wanted[alive].max()), low), high)
    shifts = np.where(alive, np.clip(scale - wanted, 0, CHANNEL_SHIFT_MAX), 0)
    while shifts.any():
        result, peak = _integers(layer, scale, shifts)
        if peak <= INT32_MAX:
            return result
        if scale < high:
            scale += 1
        else:
            shifts = np.maximum(shifts - 1, 0)
    return None


def _integers(layer: FloatLayer, scale: int, shifts: NDArray[np.int64]) -> tuple[IntegerLayer, int]:
    """Return the integers at a weight scale of 2**(scale - shifts[c]), and the accumulator's largest magnitude."""
    exponents = (scale - shifts).astype(np.int32)
    weight = np.clip(np.rint(np.ldexp(layer.weight.astype(np.float64), -exponents[:, None, None, None])), -128, 127)
    wrong = np.ldexp(weight, exponents[:, None, None, None]) - layer.weight
    bias = layer.bias.astype(np.float64)
    if layer.correct_bias:
        bias = bias - _response(layer, wrong, layer.means)
        bias = bias - _response(layer, wrong + layer.weight, layer.tilts)
    exact = np.ldexp(bias, -layer.source - exponents) + np.where(shifts > 0, 2.0 ** (shifts - 1), 0.0)
    bias64 = np.clip(np.rint(exact), -(2.0**62), 2.0**62).astype(np.int64)
    reach = np.abs(weight).reshape(len(weight), -1).sum(axis=1).astype(np.int64) * 128 + np.abs(bias64)
    residual_shift = 0 if layer.residual is None else layer.residual - layer.source - scale
    behind = int((reach >> shifts).max()) + (128 << max(residual_shift, 0))
    peak = max(int(reach.max()), behind * (layer.leaky[0] if layer.leaky else 1))
    variance = np.maximum(layer.powers - layer.means**2 * layer.correct_bias, 0)
    # rounding to steps of q costs q * q / 12; a channel that is shifted first is rounded twice
    twice = (shifts > 0).mean() * 4.0 ** (layer.source + scale) / 12
    error = float(_response(layer, wrong**2, variance).mean()) + 4.0**layer.out / 12 + twice
    stored = shifts.astype(np.int8) if shifts.any() else None
    limits = np.iinfo(np.int32)
    bias32 = np.clip(bias64, limits.min, limits.max).astype(np.int32)
    return IntegerLayer(weight.astype(np.int8), bias32, stored, scale, error), peak


def _response(layer: FloatLayer, weight: Array, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a weight makes of inputs that have one level per channel, averaged over the outputs."""
    taps = (weight * layer.coverage).sum(axis=(2, 3)).reshape(layer.groups, -1, weight.shape[1])
    levels = inputs.reshape(layer.groups, -1, 1)
    return np.asarray((taps @ levels).reshape(-1))


def tap_coverage(
    kernel: tuple[int, int],
    size: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
) -> NDArray[np.float64]:
    """Return, for each tap of a kernel, the share of the outputs for which it reads the input and not its padding.

    Returns
    -------
    ndarray of float64, shape (kh, kw)
    """
    shares = []
    for axis in range(2):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        outputs = (size[axis] + pads[axis] + pads[axis + 2] - span) // strides[axis] + 1
        starts = np.arange(outputs) * strides[axis] - pads[axis]
        read = starts[:, None] + np.arange(kernel[axis]) * dilations[axis]
        shares.append(((read >= 0) & (read < size[axis])).mean(axis=0))
    return np.asarray(np.outer(shares[0], shares[1]))
