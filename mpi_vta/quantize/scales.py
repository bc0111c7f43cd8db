"""One power-of-two scale per value: values that an operator does not rescale share theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mpi_vta.errors import ModelError
from mpi_vta.graph.ops import INT8_OPS
from mpi_vta.graph.verify import LEAKY_EXPONENT_MAX, MULTIPLIER_MAX
from mpi_vta.quantize.calibration import ValueRange, choose_scale_log2
from mpi_vta.quantize.fusion import FusedLayer

LEAKY_TOLERANCE = 0.07
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


def leaky_ratio(alpha: float) -> tuple[int, int] | None:
    """Return (m, k) with m / 2**k near `alpha`: the smallest m, then the smallest k, that is near enough.

    Near enough is within 7 % of alpha, or within 2**-9: at most a quarter of a step where an int8
    value is largest. None stands for 0, for slopes below 2**-9. A slope of 0.1 becomes (3, 5).
    """
    allowed = max(LEAKY_TOLERANCE * alpha, LEAKY_ABSOLUTE)
    if alpha <= LEAKY_ABSOLUTE:
        return None
    fitting = (
        (m, k)
        for m in range(1, 1 << LEAKY_EXPONENT_MAX)
        for k in range(1, LEAKY_EXPONENT_MAX + 1)
        if m < 1 << k and abs(m / (1 << k) - alpha) <= allowed
    )
    return next(fitting, ((1 << LEAKY_EXPONENT_MAX) - 1, LEAKY_EXPONENT_MAX))


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
