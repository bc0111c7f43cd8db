"""How good detections are: average precision per class at one overlap, and its mean over the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mpi_vta.frontend.detection import Detection

OVERLAP = 0.5


def mean_average_precision(
    found: Sequence[Sequence[Detection]],
    boxes: Sequence[NDArray[np.float64]],
    labels: Sequence[NDArray[np.int64]],
    class_names: Sequence[str],
    overlap: float = OVERLAP,
) -> float:
    """Return the mean over classes of the area under precision against recall.

    A detection is right if its intersection over union with an object of its class, in its picture, reaches
    `overlap` and no better detection has taken that object. Precision is made monotone before it is summed, as
    PASCAL VOC does from 2010 on. A class without objects does not count.

    Parameters
    ----------
    found : sequence of sequence of Detection
        Per picture.
    boxes : sequence of ndarray of float64, shape (n, 4)
        Per picture: left, top, right, bottom of every object.
    labels : sequence of ndarray of int64, shape (n,)
        Per picture: class of every object.
    class_names : sequence of str
        In the order of the labels.
    overlap : float
        Least intersection over union of a right detection.
    """
    precisions = []
    for kind, name in enumerate(class_names):
        wanted = [own[classes == kind] for own, classes in zip(boxes, labels, strict=True)]
        count = sum(len(own) for own in wanted)
        if count:
            claims = [
                (entry, picture) for picture, own in enumerate(found) for entry in own if entry.class_name == name
            ]
            precisions.append(_area(_hits(claims, wanted, overlap), count))
    return float(np.mean(precisions))


def _hits(claims: list[tuple[Detection, int]], wanted: list[NDArray[np.float64]], overlap: float) -> NDArray[np.bool_]:
    """Return whether each claim is right, best score first."""
    claims = sorted(claims, key=lambda claim: -claim[0].score)
    free = [np.ones(len(own), bool) for own in wanted]
    hits = np.zeros(len(claims), bool)
    for number, (entry, picture) in enumerate(claims):
        shared = np.where(free[picture], _overlaps(entry, wanted[picture]), 0.0)
        if shared.size and shared.max() >= overlap:
            free[picture][shared.argmax()] = False
            hits[number] = True
    return hits


def _overlaps(entry: Detection, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    box = np.array([entry.left, entry.top, entry.right, entry.bottom])
    extent = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None)
    shared = extent.prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    result: NDArray[np.float64] = shared / (areas - shared)
    return result


def _area(hits: NDArray[np.bool_], count: int) -> float:
    """Return the sum of the best precision at each further recall over the steps of recall."""
    right = hits.cumsum()
    precision = right / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[hits].sum() / count)
