"""Held-out examples with known answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Truth:
    """Inputs and what a model should say of them.

    Attributes
    ----------
    images : ndarray of float32, shape (n, C, H, W)
        Preprocessed inputs, never seen in training or calibration.
    labels : ndarray of int64, shape (m,)
        Class of each image, or of each object where there are boxes.
    boxes : ndarray of float64, shape (m, 4), or None
        For detectors: left, top, right, bottom of each object in input pixels.
    owners : ndarray of int64, shape (m,), or None
        For detectors: the image that each object is in.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64] | None = None
    owners: NDArray[np.int64] | None = None

    def rows(self, rows: NDArray[np.int64]) -> Truth:
        """Return some of the images, in the order given and as often as they are named, with their answers."""
        if self.boxes is None or self.owners is None:
            return Truth(self.images[rows], self.labels[rows])
        objects = [np.flatnonzero(self.owners == row) for row in rows]
        chosen = np.concatenate(objects)
        owners = np.repeat(np.arange(len(rows)), [len(own) for own in objects])
        return Truth(self.images[rows], self.labels[chosen], self.boxes[chosen], owners)

    def objects(self) -> tuple[list[NDArray[np.float64]], list[NDArray[np.int64]]]:
        """Return boxes and labels per image; only for detectors."""
        assert self.boxes is not None, "a classifier's truth has no boxes"
        own = [np.flatnonzero(self.owners == row) for row in range(len(self.images))]
        return [self.boxes[rows] for rows in own], [self.labels[rows] for rows in own]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything by name, to store; `Truth(**arrays)` is the same again."""
        named: dict[str, NDArray[Any] | None] = {
            "images": self.images,
            "labels": self.labels,
            "boxes": self.boxes,
            "owners": self.owners,
        }
        return {name: array for name, array in named.items() if array is not None}
