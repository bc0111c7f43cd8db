"""Where the windows of a convolution or pooling lie: padding by mode, and how many windows there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def automatic_pads(
    attrs: Mapping[str, Any], extents: Sequence[int], kernel: Sequence[int]
) -> tuple[int, int, int, int]:
    """Return the padding (top, left, bottom, right) of a convolution over (H, W)."""
    mode = attrs.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        top, left, bottom, right = (int(pad) for pad in attrs.get("pads", [0] * 4))
        return top, left, bottom, right
    sides = []
    for axis in range(2):
        stride, dilation = attrs.get("strides", [1, 1])[axis], attrs.get("dilations", [1, 1])[axis]
        sides.append(_sides(mode, extents[axis], (kernel[axis] - 1) * dilation + 1, stride))
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


def window_span(
    attrs: Mapping[str, Any], extent: int, kernel: int, stride: int, pads: Sequence[int]
) -> tuple[int, int, int]:
    """Return the padding before and behind, and the number of windows of a pooling along one axis."""
    mode = attrs.get("auto_pad", "NOTSET")
    begin, end = pads if mode == "NOTSET" else _sides(mode, extent, kernel, stride)
    room = extent + begin + end - kernel
    count = room // stride + 1
    # a window more that begins within the picture or the padding before it
    if attrs.get("ceil_mode", 0) and room % stride and count * stride < extent + begin:
        count += 1
    return begin, end, count


def _sides(mode: str, extent: int, span: int, stride: int) -> tuple[int, int]:
    """Return the padding before and behind for SAME_UPPER, SAME_LOWER or VALID."""
    total = 0 if mode == "VALID" else max((-(-extent // stride) - 1) * stride + span - extent, 0)
    small, large = total // 2, total - total // 2
    return (large, small) if mode == "SAME_LOWER" else (small, large)
