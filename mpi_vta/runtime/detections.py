"""From YOLOv3-tiny's two heads to boxes: decoding and non-maximum suppression, on the host in float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# width and height of the prior boxes in pixels of the network's input, per head: yolov3-tiny.cfg
COARSE_ANCHORS = ((81, 82), (135, 169), (344, 319))
FINE_ANCHORS = ((10, 14), (23, 27), (37, 58))
SCORE_THRESHOLD = 0.25
OVERLAP_THRESHOLD = 0.45
MOST_DETECTIONS = 50

_COCO_TEXT = """
person bicycle car motorbike aeroplane bus train truck boat traffic_light fire_hydrant stop_sign parking_meter bench
bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee skis snowboard
sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle wine_glass cup fork knife spoon
bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair sofa pottedplant bed diningtable
toilet tvmonitor laptop mouse remote keyboard cell_phone microwave oven toaster sink refrigerator book clock vase
scissors teddy_bear hair_drier toothbrush
"""
COCO_NAMES = tuple(_COCO_TEXT.split())


@dataclass(frozen=True)
class Detection:
    """One box, in fractions of the network's input: corners, class and score."""

    left: float
    top: float
    right: float
    bottom: float
    label: str
    score: float


def detect(heads: Sequence[NDArray[np.float32]], input_pixels: int) -> list[Detection]:
    """Return the boxes of one image, best first.

    Parameters
    ----------
    heads : sequence of ndarray of float32
        The coarse head (255, h, w) and the fine one.
    input_pixels : int
        Height and width of the network's input.
    """
    decoded = [
        decode_head(head, anchors, input_pixels)
        for head, anchors in zip(heads, (COARSE_ANCHORS, FINE_ANCHORS), strict=True)
    ]
    boxes, scores = (np.concatenate(parts) for parts in zip(*decoded, strict=True))
    best = scores.argmax(axis=1)
    score = scores[np.arange(len(scores)), best]
    kept = suppress(boxes, score, best)
    return [Detection(*(float(edge) for edge in boxes[i]), COCO_NAMES[int(best[i])], float(score[i])) for i in kept]


def decode_head(
    head: NDArray[np.float32], anchors: Sequence[tuple[int, int]], input_pixels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return boxes (n, 4) as left, top, right, bottom fractions, and class scores (n, 80)."""
    _, height, width = head.shape
    cells = head.reshape(len(anchors), -1, height, width).astype(np.float32)
    rows, columns = np.mgrid[0:height, 0:width]
    centre_x = (_sigmoid(cells[:, 0]) + columns) / width
    centre_y = (_sigmoid(cells[:, 1]) + rows) / height
    sizes = np.asarray(anchors, dtype=np.float32) / input_pixels
    # exp of an untrained network's output may be huge; a box beyond the picture is cut to it when drawn
    half_w = np.exp(np.minimum(cells[:, 2], 8)) * sizes[:, 0, None, None] / 2
    half_h = np.exp(np.minimum(cells[:, 3], 8)) * sizes[:, 1, None, None] / 2
    boxes = np.stack([centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h], axis=-1)
    scores = _sigmoid(cells[:, 4:5]) * _sigmoid(cells[:, 5:])
    classes = scores.shape[1]
    return boxes.reshape(-1, 4).astype(np.float32), np.moveaxis(scores, 1, -1).reshape(-1, classes)


def suppress(boxes: NDArray[np.float32], score: NDArray[np.float32], label: NDArray[np.intp]) -> list[int]:
    """Return the boxes that stay: above the threshold, and not overlapping a better one of the same class."""
    kept: list[int] = []
    for index in np.argsort(-score, kind="stable"):
        if score[index] < SCORE_THRESHOLD or len(kept) == MOST_DETECTIONS:
            break
        rivals = [k for k in kept if label[k] == label[index]]
        if all(_overlap(boxes[k], boxes[index]) <= OVERLAP_THRESHOLD for k in rivals):
            kept.append(int(index))
    return kept


def _overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = float(width * height)
    return shared / (float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - shared)


def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)), dtype=np.float32)
