"""What the outputs say: YOLO's boxes, decoded, thinned and drawn, and the best classes of a classifier."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.errors import GraphError
from mpi_vta.frontend.images import Picture, PicturePlacement

SCORE_THRESHOLD = 0.5
OVERLAP_THRESHOLD = 0.45
MOST_BOXES = 100
SHARES_WITHIN = 1e-3
LEAST_DRAWN = 384  # smaller pictures are enlarged before boxes and names are drawn on them

COCO_NAMES = tuple((Path(__file__).parent / "data" / "coco_names.txt").read_text(encoding="utf-8").splitlines())


@dataclass(frozen=True)
class Detector:
    """What the heads of a YOLO mean.

    Attributes
    ----------
    input_hw : (int, int)
        Height and width of the model's input, in pixels.
    anchors : tuple of tuple of (float, float)
        Per head, in the model's order: width and height of each anchor in input pixels.
    class_names : tuple of str
        In the order of the heads' channels.
    score_threshold : float
        Least score of a box that is shown.
    stretches : tuple of float
        Per head: by how much the place of a centre in its cell is stretched about the middle, 1 where none is stated
        (darknet's ``scale_x_y``).
    direct : tuple of bool
        Per head: whether its numbers have been through a sigmoid, and sizes are squares (darknet's ``new_coords``).
    """

    input_hw: tuple[int, int]
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    class_names: tuple[str, ...]
    score_threshold: float = SCORE_THRESHOLD
    stretches: tuple[float, ...] = ()
    direct: tuple[bool, ...] = ()

    def stretch(self, head: int) -> float:
        """Return the stretch of a head's centres."""
        return self.stretches[head] if self.stretches else 1.0

    def is_direct(self, head: int) -> bool:
        """Return whether a head gives shares and squares."""
        return bool(self.direct) and self.direct[head]


# anchors as in darknet's yolov3-tiny.cfg: the coarse head, then the fine one
YOLOV3_TINY = Detector((416, 416), (((81, 82), (135, 169), (344, 319)), ((10, 14), (23, 27), (37, 58))), COCO_NAMES)


@dataclass(frozen=True)
class Detection:
    """One box, in pixels of the original picture, left < right and top < bottom."""

    class_name: str
    score: float
    left: float
    top: float
    right: float
    bottom: float


def decode_yolo(
    heads: Sequence[NDArray[np.float32]],
    picture_hw: tuple[int, int],
    placement: PicturePlacement,
    detector: Detector = YOLOV3_TINY,
    *,
    score_threshold: float | None = None,
) -> list[Detection]:
    """Return the boxes of one picture, best first.

    Parameters
    ----------
    heads : sequence of ndarray of float32, shape (anchors * (5 + classes), rows, columns)
        Raw outputs for one picture, in the order of the detector's anchors.
    picture_hw : (int, int)
        Height and width of the original picture, to which boxes are cut.
    placement : PicturePlacement
        Where the picture lies in the input.
    detector : Detector
        What the heads mean.
    score_threshold : float or None
        Least objectness * class probability; None for the detector's own.

    Returns
    -------
    list of Detection
        After non-maximum suppression per class, at most 100.

    Raises
    ------
    GraphError
        If a head has another number of channels.
    """
    least = detector.score_threshold if score_threshold is None else score_threshold
    found = [
        _decode_head(head, index, detector, least)
        for index, (head, _) in enumerate(zip(heads, detector.anchors, strict=True))
    ]
    boxes, scores, classes = (np.concatenate(parts) for parts in zip(*found, strict=True))
    height, width = picture_hw
    offset = np.array([placement.offset_x, placement.offset_y] * 2)
    boxes = np.clip((boxes - offset) / np.array([*placement.scales] * 2), 0, [width, height, width, height])
    visible = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes, scores, classes = boxes[visible], scores[visible], classes[visible]
    return [
        Detection(detector.class_names[classes[i]], float(scores[i]), *(float(edge) for edge in boxes[i]))
        for i in suppress_overlaps(boxes, scores, classes)[:MOST_BOXES]
    ]


def _decode_head(
    head: NDArray[np.float32], index: int, detector: Detector, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return boxes (n, 4) as left, top, right, bottom in input pixels, scores (n,) and classes (n,)."""
    channels, rows, columns = head.shape
    anchors, stretch, is_direct = detector.anchors[index], detector.stretch(index), detector.is_direct(index)
    fields_per_anchor = 5 + len(detector.class_names)
    if channels != len(anchors) * fields_per_anchor:
        raise GraphError(f"a YOLO head of {channels} channels", allowed=f"{len(anchors) * fields_per_anchor}")
    fields = head.astype(np.float64).reshape(len(anchors), fields_per_anchor, rows, columns)
    share = _unchanged if is_direct else _sigmoid
    scores = share(fields[:, 4:5]) * share(fields[:, 5:])
    anchor, kind, row, column = np.nonzero(scores > threshold)
    x, y, w, h = (fields[anchor, i, row, column] for i in range(4))
    within_x, within_y = (share(place) * stretch - (stretch - 1) / 2 for place in (x, y))
    centre_x = (within_x + column) * detector.input_hw[1] / columns
    centre_y = (within_y + row) * detector.input_hw[0] / rows
    size = np.array(anchors, np.float64)[anchor]
    # beyond e**8 a box covers any picture; the bound keeps synthetic weights from overflowing
    times_w, times_h = ((2 * n) ** 2 if is_direct else np.exp(np.minimum(n, 8)) for n in (w, h))
    half_w, half_h = size[:, 0] * times_w / 2, size[:, 1] * times_h / 2
    boxes = np.stack([centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h], axis=1)
    return boxes, scores[anchor, kind, row, column], kind


def _unchanged(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x


def suppress_overlaps(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    classes: NDArray[np.int64],
    threshold: float = OVERLAP_THRESHOLD,
) -> list[int]:
    """Return the indices kept by non-maximum suppression within each class, best score first.

    Boxes are (n, 4): left, top, right, bottom; a box goes when its intersection over union with a
    better one of its class exceeds `threshold`.
    """
    order = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        overlap = shared / np.maximum(area[best] + area[rest] - shared, 1e-12)
        order = rest[(classes[rest] != classes[best]) | (overlap <= threshold)]
    return kept


def draw_boxes(
    picture: Picture, detections: Sequence[Detection], caption: str = "", detector: Detector = YOLOV3_TINY
) -> bytes:
    """Return the picture with labelled boxes, and a caption at the bottom left, as PNG bytes.

    A picture whose longer side is below 384 pixels is enlarged by the whole number that brings it there.
    """
    from PIL import Image, ImageDraw

    scale = -(-LEAST_DRAWN // max(picture.shape[:2]))
    image = Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))
    draw = ImageDraw.Draw(image)
    thickness = max(round(max(image.size) / 300), 1)
    for found in reversed(detections):  # the best on top
        colour = _colour(detector.class_names.index(found.class_name))
        left, top, right, bottom = (scale * edge for edge in (found.left, found.top, found.right, found.bottom))
        draw.rectangle((left, top, right, bottom), outline=colour, width=thickness)
        _label(draw, (left, top), f"{found.class_name} {found.score:.2f}", colour)
    if caption:
        _label(draw, (0, image.height - 12), caption, (255, 255, 255))
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def _label(draw: object, corner: tuple[float, float], text: str, colour: tuple[int, int, int]) -> None:
    box = draw.textbbox(corner, text)  # type: ignore[attr-defined]
    draw.rectangle(box, fill=colour)  # type: ignore[attr-defined]
    draw.text(corner, text, fill=(0, 0, 0))  # type: ignore[attr-defined]


def _colour(index: int) -> tuple[int, int, int]:
    """Return a light colour, well apart for neighbouring classes."""
    hue = index * 0.61803398875 % 1 * 6
    ramp = [max(0.0, min(1.0, abs((hue + shift) % 6 - 3) - 1)) for shift in (0, 4, 2)]
    red, green, blue = (int(95 + 160 * level) for level in ramp)
    return red, green, blue


def best_classes(scores: NDArray[np.float32], count: int = 5) -> list[tuple[int, float]]:
    """Return (class index, probability) of the `count` best of one image's logits or probabilities, best first.

    Parameters
    ----------
    scores : ndarray of float32, shape (classes,) or any that flattens to it
    """
    flat = scores.reshape(-1).astype(np.float64)
    exponent = np.exp(flat - flat.max())
    # what a softmax has made already is what it is
    is_share = flat.min() >= 0 and abs(flat.sum() - 1) < SHARES_WITHIN
    probability = flat if is_share else exponent / exponent.sum()
    order = np.argsort(-flat, kind="stable")[:count]
    return [(int(i), float(probability[i])) for i in order]


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (np.tanh(0.5 * x) + 1))
