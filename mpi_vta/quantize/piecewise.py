"""Smooth activations as sums of straight pieces, fitted to the 256 inputs that an int8 value has.

The operator ``piecewise`` adds terms ``max(m * x, t)`` and ``min(m * x, t)`` to an offset. Each term is flat on one
side of its bend and has slope ``m`` on the other, so every continuous function of straight pieces can be written so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import ModelError
from mpi_vta.graph.verify import INT8_MAX, INT8_MIN, INT16_MAX, OFFSET_MAX

Array = NDArray[Any]

EVERY = np.arange(-128, 128, dtype=np.int64)
MOST_TERMS = 12
FINEST_SHIFT = 12  # a slope of 1 / 2**12 and a range of 256 steps change nothing by a step
ALLOWED_POWER = 0.25  # mean square error in steps; exact rounding alone costs 1/12
_ROUNDS = 8


@dataclass(frozen=True)
class PiecewiseFunction:
    """Attributes of a ``piecewise`` node."""

    multipliers: tuple[int, ...]
    sides: tuple[int, ...]
    thresholds: tuple[int, ...]
    offset: int
    shift: int
    lo: int
    hi: int

    def total(self) -> NDArray[np.int64]:
        """Return offset and terms added up, for -128..127."""
        total = np.full(256, self.offset)
        for multiplier, side, threshold in zip(self.multipliers, self.sides, self.thresholds, strict=True):
            term = EVERY * multiplier
            total = total + (term if side == 0 else (np.maximum if side > 0 else np.minimum)(term, threshold))
        return total

    def table(self) -> NDArray[np.int64]:
        """Return the results for -128..127."""
        return np.asarray(np.clip((self.total() + (1 << self.shift >> 1)) >> self.shift, self.lo, self.hi))


def fit_pieces(function: Callable[[Array], Array], in_log2: int, out_log2: int, where: str) -> PiecewiseFunction:
    """Return the fewest pieces whose result is within one step of the function, rounded, for every input.

    Parameters
    ----------
    function : callable
        Of an array of float64.
    in_log2, out_log2 : int
        Scales: real value = integer * 2**scale.
    where : str
        Name of the node, for the message.

    Raises
    ------
    ModelError
        If no fit of up to 12 terms is as near.
    """
    pieces = _fewest(function, in_log2, out_log2)
    if pieces is None:
        raise ModelError(f"an activation that {MOST_TERMS} straight pieces do not fit", where=where)
    return pieces


@cache
def _fewest(function: Callable[[Array], Array], in_log2: int, out_log2: int) -> PiecewiseFunction | None:
    """Return the fit; kept, as a network has one activation at few scales in many places."""
    exact = np.ldexp(function(np.ldexp(EVERY.astype(np.float64), in_log2)), -out_log2)
    wanted = np.clip(np.floor(exact + 0.5), INT8_MIN, INT8_MAX).astype(np.int64)
    for count in range(MOST_TERMS):
        pieces = _fit(exact, wanted, count)
        if pieces is not None and _is_near(pieces, exact, wanted):
            return pieces
    return None


def _is_near(pieces: PiecewiseFunction, exact: Array, wanted: Array) -> bool:
    table = pieces.table()
    power = float(np.square(table - np.clip(exact, INT8_MIN, INT8_MAX)).mean())
    return bool(abs(table - wanted).max() <= 1) and power <= ALLOWED_POWER


def _fit(exact: Array, wanted: Array, count: int) -> PiecewiseFunction | None:
    """Return the best pieces found with `count` bends; None if they do not fit the integers of the operator."""
    bends = _first_bends(exact, count)
    best = _error(exact, wanted, bends)
    for step in (16, 8, 4, 2, 1):
        for _ in range(_ROUNDS):
            moved = False
            for index in range(count):
                for way in (-step, step):
                    trial = bends.copy()
                    trial[index] += way
                    if trial[index] <= -128 or trial[index] >= 127 or len(set(trial)) < count:
                        continue
                    error = _error(exact, wanted, trial)
                    if error < best - 1e-12:
                        best, bends, moved = error, trial, True
            if not moved:
                break
    return _rounded(exact, wanted, np.sort(bends))


def _first_bends(exact: Array, count: int) -> Array:
    """Return bends spread by the square root of the curvature, where straight pieces are best at equal distances."""
    curvature = np.sqrt(abs(np.diff(np.clip(exact, INT8_MIN, INT8_MAX), 2))) + 1e-6
    share = np.cumsum(curvature) / curvature.sum()
    taken: list[int] = []
    for place in np.searchsorted(share, (np.arange(count) + 0.5) / max(count, 1)) - 127:
        free = [x for x in range(-127, 127) if x not in taken]  # a sharp corner is wanted by several
        taken.append(min(free, key=lambda x: abs(x - int(place))))
    return np.array(sorted(taken), np.int64)


def _terms(bends: Array) -> Array:
    """Return the columns of the linear problem (256, 2 + bends): 1, x, and a hinge per bend."""
    hinges = [np.maximum(EVERY - bend, 0) for bend in bends]
    return np.stack([np.ones(256), EVERY, *hinges], axis=1).astype(np.float64)


def _solve(exact: Array, wanted: Array, columns: Array) -> Array:
    """Return coefficients of least squares that ignore inputs whose result the bounds cut to the right value."""
    lowest, highest = wanted.min(), wanted.max()
    used = (wanted > lowest) & (wanted < highest)
    solution = np.zeros(columns.shape[1])
    for _ in range(4):
        solution = np.linalg.lstsq(columns[used], exact[used], rcond=None)[0]
        line = columns @ solution
        cut = ((wanted == lowest) & (line <= lowest + 0.25)) | ((wanted == highest) & (line >= highest - 0.25))
        if np.array_equal(used, ~cut):
            break
        used = ~cut
        if used.sum() < columns.shape[1]:
            break
    return solution


def _error(exact: Array, wanted: Array, bends: Array) -> float:
    columns = _terms(np.sort(bends))
    line = np.clip(columns @ _solve(exact, wanted, columns), wanted.min(), wanted.max())
    away = line - np.clip(exact, INT8_MIN, INT8_MAX)
    return float(np.square(away).mean() + 0.25 * abs(away).max() ** 2)


def _rounded(exact: Array, wanted: Array, bends: Array) -> PiecewiseFunction | None:
    """Return the best pieces in integers over all shifts."""
    columns = _terms(bends)
    solution = _solve(exact, wanted, columns)
    found: list[tuple[bool, float, PiecewiseFunction]] = []
    for shift in range(FINEST_SHIFT + 1):
        pieces = _at_shift(exact, wanted, bends, solution, shift)
        if pieces is not None:
            table = pieces.table()
            away = table - np.clip(exact, INT8_MIN, INT8_MAX)
            found.append((bool(abs(table - wanted).max() > 1), float(np.square(away).mean()), pieces))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def _at_shift(exact: Array, wanted: Array, bends: Array, solution: Array, shift: int) -> PiecewiseFunction | None:
    """Return the pieces whose slopes are whole multiples of 2**-shift; None if one leaves int8.

    Slopes are rounded piece by piece, then each piece is raised or lowered to lie best over its own inputs; bends are
    where neighbouring pieces cross. So no error of a slope is carried beyond its piece.
    """
    slopes = np.clip(np.rint(np.cumsum(solution[1:]) * 2.0**shift), -INT8_MAX, INT8_MAX).astype(np.int64)
    piece_of = np.searchsorted(bends, EVERY, side="left")
    cut = (wanted == wanted.min()) | (wanted == wanted.max())
    line = _terms(bends) @ solution
    aim = np.where(cut, line, exact) * 2.0**shift
    levels = [round(float((aim - slope * EVERY)[piece_of == i].mean())) for i, slope in enumerate(slopes)]
    kept = [i for i in range(len(slopes)) if i == 0 or slopes[i] != slopes[i - 1]]
    changes = np.diff(slopes[kept])
    crossings = -np.diff([levels[i] for i in kept])  # change * bend
    turned = _subset(changes, float(slopes[0]))
    linear = int(slopes[0]) + int(sum(changes[i] for i in turned))
    multipliers, sides, thresholds = [], [], []
    for index, (change, crossing) in enumerate(zip(changes.tolist(), crossings.tolist(), strict=True)):
        # flat on its left, or turned round: flat on its right with the opposite slope before
        multipliers.append(-change if index in turned else change)
        sides.append(1 if change > 0 else -1)
        thresholds.append(-crossing if index in turned else crossing)
    if linear or not multipliers:
        multipliers, sides, thresholds = [*multipliers, linear], [*sides, 0], [*thresholds, 0]
    fits = max(map(abs, multipliers)) <= INT8_MAX and max(map(abs, thresholds)) <= INT16_MAX
    bounds = int(wanted.min()), int(wanted.max())
    bare = PiecewiseFunction(tuple(multipliers), tuple(sides), tuple(thresholds), 0, shift, *bounds)
    return _best_offset(bare, exact, wanted) if fits else None


def _subset(changes: Array, first: float) -> tuple[int, ...]:
    """Return which bends, turned round, give the first piece its slope exactly, so that it takes no term; else none."""
    if first == 0:
        return ()
    for mask in range(1, 1 << min(len(changes), 8)):
        chosen = tuple(i for i in range(len(changes)) if mask >> i & 1)
        if first == -sum(changes[i] for i in chosen):
            return chosen
    return ()


def _best_offset(bare: PiecewiseFunction, exact: Array, wanted: Array) -> PiecewiseFunction:
    """Return pieces of offset 0 with the offset of least error."""
    inner = (wanted > wanted.min()) & (wanted < wanted.max())
    if not inner.any():
        inner = np.ones(256, bool)
    away = exact * 2.0**bare.shift - bare.total()
    middle = float(np.median(away[inner]))
    unit = 1 << bare.shift
    candidates = [round(middle + unit * share) for share in np.linspace(-0.75, 0.75, 25)]

    def error(offset: int) -> tuple[bool, float]:
        table = replace(bare, offset=offset).table()
        far = abs(table - wanted).max() > 1
        return bool(far), float(np.square(table - np.clip(exact, INT8_MIN, INT8_MAX)).mean())

    offset = min((c for c in candidates if abs(c) <= OFFSET_MAX), key=error)
    return replace(bare, offset=offset)
