"""One power-of-two scale per value: values that an operator does not rescale share theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mpi_vta.errors import ModelError
from mpi_vta.graph.ops import INT8_OPS
from mpi_vta.graph.verify import LEAKY_EXPONENT_MAX, MULTIPLIER_MAX
from mpi_vta.quantize.calibration import ValueRange, choose_scale_log2
from mpi_vta.quantize.fusion import FusedLayer

MEAN_TOLERANCE = 0.001  # of the mean magnitude of an activation's result
LEAKY_TOLERANCE = 0.07
FAST_EXPONENT_MAX = 8
LEAKY_ABSOLUTE = 2.0**-9  # a quarter of a step at the far end of the int8 range


class ScaleGroups:
    """Values that must have the same scale, and the exponent of each group."""

    def __init__(self, layers: Iterable[FusedLayer], names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}
        self._scale: dict[str, int] = {}
        for layer in layers:
            if INT8_OPS[layer.op].same_scale:
                for name in layer.inputs:
                    self._parent[self._root(name)] = self._root(layer.output)

    def _root(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def choose(self, ranges: Mapping[str, ValueRange], method: str) -> None:
        """Set every group to the exponent that a method of calibration takes for its values."""
        members: dict[str, list[ValueRange]] = {}
        for name, seen in ranges.items():
            members.setdefault(self._root(name), []).append(seen)
        self._scale = {root: choose_scale_log2(seen, method) for root, seen in members.items()}

    def raise_to(self, name: str, scale_log2: int) -> bool:
        """Make a value's scale at least `scale_log2`; tell whether that changed it."""
        root = self._root(name)
        changed = self._scale[root] < scale_log2
        self._scale[root] = max(self._scale[root], scale_log2)
        return changed

    def __getitem__(self, name: str) -> int:
        return self._scale[self._root(name)]


def leaky_ratio(alpha: float, *, fast: bool = False) -> tuple[int, int] | None:
    """Return (m, k) with m / 2**k near `alpha`, of the fewest ALU cycles that are near enough.

    Each bit of m costs a shift and an addition. What is put in for x of either sign alike has a mean magnitude of
    (1 + alpha) / 2 times that of x, and the ratio changes its mean by half of what it is off: near enough is 0.1 % of
    the one in the other. A slope of 0.1 becomes (51, 9), 0.01 becomes (5, 9). None stands for 0.

    With `fast`, near enough is within 7 % of alpha, or within 2**-9: at most a quarter of a step where an int8 value
    is largest. It is the smallest m, then the smallest k; 0.1 becomes (3, 5), and None stands for slopes below 2**-9.
    """
    if fast:
        return _fast_ratio(alpha)
    allowed = MEAN_TOLERANCE * (1 + alpha)
    if alpha <= allowed:
        return None
    every = [(m, k) for k in range(1, LEAKY_EXPONENT_MAX + 1) for m in range(1, 1 << k)]
    near = [ratio for ratio in every if abs(ratio[0] / (1 << ratio[1]) - alpha) <= allowed]
    return min(
        near or [every[-1]],
        key=lambda ratio: (ratio[0].bit_count(), abs(ratio[0] / (1 << ratio[1]) - alpha), ratio[1]),
    )


def _fast_ratio(alpha: float) -> tuple[int, int] | None:
    allowed = max(LEAKY_TOLERANCE * alpha, LEAKY_ABSOLUTE)
    if alpha <= LEAKY_ABSOLUTE:
        return None
    fitting = (
        (m, k)
        for m in range(1, 1 << FAST_EXPONENT_MAX)
        for k in range(1, FAST_EXPONENT_MAX + 1)
        if m < 1 << k and abs(m / (1 << k) - alpha) <= allowed
    )
    return next(fitting, ((1 << FAST_EXPONENT_MAX) - 1, FAST_EXPONENT_MAX))


def mean_multiplier(count: int) -> tuple[int, int]:
    """Return (m, j) with m / 2**j nearest to 1 / count and m in 64..127."""
    exponent = (MULTIPLIER_MAX * count).bit_length() - 1
    multiplier = round((1 << exponent) / count)
    if multiplier > MULTIPLIER_MAX:
        exponent -= 1
        multiplier = round((1 << exponent) / count)
    return multiplier, exponent


def within(wanted: int, low: int, high: int, where: str) -> int:
    """Return `wanted` moved into low..high; raise `ModelError` when that is empty."""
    if low > high:
        raise ModelError(
            "the scales of its inputs and output are too far apart for the shifts that VTA has",
            where=where,
            remedy="check the weights and the calibration images",
        )
    return min(max(wanted, low), high)
