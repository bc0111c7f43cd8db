"""Pictures with a truth: coloured shapes over clutter, drawn from a seed in NumPy alone, so alike everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.frontend.images import Picture

Array = NDArray[Any]

DETECTED = ("circle", "square", "triangle", "star")
CLASSIFIED = ("circle", "square", "triangle", "star", "cross", "ring", "pentagon", "half moon")
SCENE_SIZE = 96
PATCH_SIZE = 32

MOST_OBJECTS = 4
LEAST_CONTRAST = 0.35  # Euclidean distance between an object's colour and the picture behind it, channels in 0..1
MOST_SHARED = 0.15  # of the smaller of two boxes
TRIES = 30
CORNERS = {"triangle": 3, "square": 4, "pentagon": 5}
STAR_WAIST = 0.42  # inner radius of a star over its outer one


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
    boxes : ndarray of float64, shape (n, 4)
        Left, top, right, bottom in pixels, of the whole shape even where something lies over it.
    labels : ndarray of int64, shape (n,)
        Index into `DETECTED`.
    """

    picture: Picture
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]


def draw_scene(seed: int, index: int, size: int = SCENE_SIZE) -> Scene:
    """Return picture `index` of a seed: one to four shapes over clutter, some partly covered, square of `size`."""
    rng = np.random.default_rng([seed, index])
    y, x = np.mgrid[0:size, 0:size] + 0.5
    canvas = _background(rng, x, y, size)
    boxes: list[Array] = []
    labels: list[int] = []
    for _ in range(int(rng.integers(1, MOST_OBJECTS + 1))):
        for _ in range(TRIES):
            radius = size * rng.uniform(0.075, 0.25)
            centre = rng.uniform(radius, size - radius, 2)
            label = int(rng.integers(len(DETECTED)))
            cover = _coverage(DETECTED[label], x, y, centre, radius, rng.uniform(0, 2 * math.pi))
            box = _box(cover)
            if all(_shared(box, other) < MOST_SHARED for other in boxes):
                canvas = _paint(rng, canvas, cover, x, y, size)
                boxes.append(box)
                labels.append(label)
                break
    for box in boxes:
        if rng.uniform() < 0.3:
            canvas = _occlude(rng, canvas, box, x, y)
    return Scene(_finish(rng, canvas), np.array(boxes).reshape(-1, 4), np.array(labels, np.int64))


def draw_patch(seed: int, index: int, size: int = PATCH_SIZE) -> tuple[Picture, int]:
    """Return picture `index` of a seed with one shape, square of `size`, and its index in `CLASSIFIED`."""
    rng = np.random.default_rng([seed, index])
    y, x = np.mgrid[0:size, 0:size] + 0.5
    canvas = _background(rng, x, y, size)
    label = int(rng.integers(len(CLASSIFIED)))
    radius = size * rng.uniform(0.26, 0.42)
    centre = size / 2 + rng.uniform(-0.1, 0.1, 2) * size
    cover = _coverage(CLASSIFIED[label], x, y, centre, radius, rng.uniform(0, 2 * math.pi))
    canvas = _paint(rng, canvas, cover, x, y, size)
    if rng.uniform() < 0.25:
        canvas = _occlude(rng, canvas, _box(cover), x, y)
    return _finish(rng, canvas), label


def _background(rng: np.random.Generator, x: Array, y: Array, size: int) -> Array:
    """Return waves of colour with bars, arcs and wedges on them."""
    canvas = np.zeros((*x.shape, 3))
    for octave in range(5):
        angle, phase = rng.uniform(0, 2 * math.pi, 2)
        wave = np.cos(2 * math.pi * 2 ** (octave / 2) / size * (x * math.cos(angle) + y * math.sin(angle)) + phase)
        canvas += wave[..., None] * rng.normal(0, 0.6**octave, 3)
    canvas = np.clip(rng.uniform(0.25, 0.75) + 0.13 * canvas, 0, 1)
    for _ in range(int(rng.integers(3, 9))):
        kind = ("bar", "arc", "wedge")[int(rng.integers(3))]
        centre, radius = rng.uniform(0, size, 2), size * rng.uniform(0.06, 0.3)
        cover = _coverage(kind, x, y, centre, radius, rng.uniform(0, 2 * math.pi)) * rng.uniform(0.3, 0.9)
        canvas += cover[..., None] * (rng.uniform(0, 1, 3) - canvas)
    return canvas


def _paint(rng: np.random.Generator, canvas: Array, cover: Array, x: Array, y: Array, size: int) -> Array:
    """Return the canvas with a shape on it, in a colour that stands out there, shaded across."""
    behind = (canvas * cover[..., None]).sum(axis=(0, 1)) / cover.sum()
    colour = rng.uniform(0, 1, 3)
    while np.linalg.norm(colour - behind) < LEAST_CONTRAST:
        colour = rng.uniform(0, 1, 3)
    angle = rng.uniform(0, 2 * math.pi)
    shade = 1 + rng.uniform(0, 0.25) * ((x - size / 2) * math.cos(angle) + (y - size / 2) * math.sin(angle)) / size
    painted: Array = canvas + cover[..., None] * (colour * shade[..., None] - canvas)
    return painted


def _occlude(rng: np.random.Generator, canvas: Array, box: Array, x: Array, y: Array) -> Array:
    """Return the canvas with a bar over part of a box."""
    centre, extent = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
    centre = centre + rng.uniform(-0.35, 0.35, 2) * extent
    cover = _coverage("bar", x, y, centre, extent * rng.uniform(0.4, 0.7), rng.uniform(0, 2 * math.pi))
    covered: Array = canvas + cover[..., None] * (rng.uniform(0, 1, 3) - canvas)
    return covered


def _finish(rng: np.random.Generator, canvas: Array) -> Picture:
    noisy = canvas * rng.uniform(0.75, 1.15) + rng.normal(0, rng.uniform(0.005, 0.04), canvas.shape)
    return (np.clip(noisy, 0, 1) * 255).astype(np.uint8)


def _coverage(kind: str, x: Array, y: Array, centre: Array, radius: float, angle: float) -> Array:
    """Return how much of each pixel a shape covers, 0..1, from the distance of the pixel's middle to its edge."""
    u = ((x - centre[0]) * math.cos(angle) + (y - centre[1]) * math.sin(angle)) / radius
    v = ((y - centre[1]) * math.cos(angle) - (x - centre[0]) * math.sin(angle)) / radius
    return np.clip(_inside(kind, u, v) * radius + 0.5, 0, 1)


def _inside(kind: str, u: Array, v: Array) -> Array:
    """Return a distance to the edge of a shape of radius 1, positive inside."""
    radius: Array = np.hypot(u, v)
    if kind in CORNERS:
        return _points(u, v, CORNERS[kind], math.cos(math.pi / CORNERS[kind]))
    if kind == "star":
        return _points(u, v, 5, STAR_WAIST)
    if kind == "cross":
        along, across = np.minimum(1 - abs(u), 0.32 - abs(v)), np.minimum(1 - abs(v), 0.32 - abs(u))
        return np.asarray(np.maximum(along, across))
    limits = {
        "circle": (1 - radius,),
        "ring": (1 - radius, radius - 0.55),
        "arc": (1 - radius, radius - 0.8, u),
        "half moon": (1 - radius, u + 0.25),
        "bar": (1 - abs(u), 0.18 - abs(v)),
        "wedge": (1 - u, u + 1, 0.15 * (u + 1) - abs(v)),
    }
    return np.asarray(np.minimum.reduce(limits[kind]))


def _points(u: Array, v: Array, count: int, waist: float) -> Array:
    """Return the distance to the edge of a star of `count` points; a waist of cos(pi / count) makes a polygon."""
    sector = 2 * math.pi / count
    angle = abs((np.arctan2(v, u) + sector / 2) % sector - sector / 2)
    radius = np.hypot(u, v)
    across_x, across_y = waist * math.cos(sector / 2) - 1, waist * math.sin(sector / 2)
    length = math.hypot(across_x, across_y)
    normal_x, normal_y = across_y / length, -across_x / length
    distance: Array = normal_x - radius * (np.cos(angle) * normal_x + np.sin(angle) * normal_y)
    return distance


def _box(cover: Array) -> Array:
    """Return left, top, right, bottom of the pixels that are covered by half or more."""
    rows, columns = (np.flatnonzero((cover >= 0.5).any(axis=axis)) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def _shared(one: Array, other: Array) -> float:
    """Return what two boxes share, over the area of the smaller."""
    extent = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    smaller = min(float(np.prod(one[2:] - one[:2])), float(np.prod(other[2:] - other[:2])))
    return float(np.prod(np.clip(extent, 0, None))) / smaller
