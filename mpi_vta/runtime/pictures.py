"""The picture that a detection run leaves: the photograph with its boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mpi_vta.runtime.detections import Detection

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

_COLOURS = ("#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6")
MEANINGLESS = "synthetic weights: these boxes mean nothing"


def draw_detections(
    image: NDArray[np.uint8], detections: Sequence[Detection], path: Path, *, has_meaning: bool
) -> None:
    """Write a PNG of an image with boxes.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
        The network's input as a picture.
    detections : sequence of Detection
        What to draw; corners beyond the picture are cut to it.
    path : Path
        File to write.
    has_meaning : bool
        False for synthetic weights: the picture then says so.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for index, box in enumerate(detections):
        _draw_box(pen, box, picture.size, _COLOURS[index % len(_COLOURS)])
    if not has_meaning:
        _draw_label(pen, (2, picture.height - 14), MEANINGLESS, "#000000")
    picture.save(path)


def _draw_box(pen: ImageDraw, box: Detection, size: tuple[int, int], colour: str) -> None:
    width, height = size
    left, right = (min(max(edge, 0.0), 1.0) * (width - 1) for edge in (box.left, box.right))
    top, bottom = (min(max(edge, 0.0), 1.0) * (height - 1) for edge in (box.top, box.bottom))
    pen.rectangle((left, top, right, bottom), outline=colour, width=2)
    _draw_label(pen, (left + 2, max(top - 12, 0)), f"{box.label} {box.score:.2f}", colour)


def _draw_label(pen: ImageDraw, at: tuple[float, float], text: str, colour: str) -> None:
    pen.rectangle(pen.textbbox(at, text), fill="#ffffff")
    pen.text(at, text, fill=colour)
