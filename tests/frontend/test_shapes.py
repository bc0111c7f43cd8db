from __future__ import annotations

import numpy as np
import pytest

from mpi_vta.frontend.shapes import (
    CLASSIFIED,
    DETECTED,
    MOST_OBJECTS,
    PATCH_SIZE,
    SCENE_SIZE,
    _coverage,
    _inside,
    draw_patch,
    draw_scene,
)

AREAS = {  # of a shape of radius 1
    "circle": np.pi,
    "square": 2.0,
    "triangle": 3 * 3**0.5 / 4,
    "pentagon": 2.5 * np.sin(2 * np.pi / 5),
    "star": 5 * 0.42 * np.sin(np.pi / 5),
    "ring": np.pi * (1 - 0.55**2),
    "cross": 4 * 0.64 - 0.64**2,
}


@pytest.mark.parametrize("kind", AREAS)
def test_a_shape_has_its_area_at_any_angle(kind):
    y, x = np.mgrid[0:200, 0:200] + 0.5
    for angle in (0.0, 0.7, 2.0):
        cover = _coverage(kind, x, y, np.array([100.0, 98.5]), 80.0, angle)
        assert cover.sum() == pytest.approx(AREAS[kind] * 80**2, rel=0.01)


@pytest.mark.parametrize("kind", [*CLASSIFIED, "bar", "arc", "wedge"])
def test_the_distance_to_an_edge_changes_as_the_point_does(kind):
    """Where a distance grew faster than the way walked, edges would be jagged."""
    v, u = np.mgrid[-1.3:1.3:200j, -1.3:1.3:200j]
    inside = _inside(kind, u, v)
    step = 2.6 / 199
    assert abs(np.diff(inside, axis=0)).max() <= step * 1.01
    assert abs(np.diff(inside, axis=1)).max() <= step * 1.01


def test_a_scene_depends_on_seed_and_index_alone():
    one, again, other, next_one = (draw_scene(*key) for key in ((3, 5), (3, 5), (4, 5), (3, 6)))
    np.testing.assert_array_equal(one.picture, again.picture)
    np.testing.assert_array_equal(one.boxes, again.boxes)
    assert (one.picture != other.picture).any()
    assert (one.picture != next_one.picture).any()


def test_scenes_hold_one_to_four_objects_of_every_class_inside_the_picture():
    scenes = [draw_scene(9, index) for index in range(40)]
    counts = [len(scene.labels) for scene in scenes]
    assert (min(counts), max(counts)) == (1, MOST_OBJECTS)
    assert {int(label) for scene in scenes for label in scene.labels} == set(range(len(DETECTED)))
    boxes = np.concatenate([scene.boxes for scene in scenes])
    assert boxes.min() >= 0
    assert boxes.max() <= SCENE_SIZE
    extent = boxes[:, 2:] - boxes[:, :2]
    assert extent.min() >= 6
    assert extent.max() > 40


def test_patches_hold_every_class_equally_often():
    drawn = [draw_patch(9, index) for index in range(400)]
    assert {picture.shape for picture, _ in drawn} == {(PATCH_SIZE, PATCH_SIZE, 3)}
    counts = np.bincount([label for _, label in drawn], minlength=len(CLASSIFIED))
    assert counts.min() > 25


def test_pictures_are_the_ones_that_the_weights_were_trained_and_held_out_on():
    """Another NumPy must draw the same pictures, or the printed accuracy would be of others."""
    scene, (patch, label) = draw_scene(2, 0), draw_patch(2, 0)
    assert scene.boxes.tolist() == [
        [46.0, 9.0, 66.0, 29.0],
        [38.0, 29.0, 83.0, 75.0],
        [24.0, 75.0, 39.0, 90.0],
        [8.0, 0.0, 32.0, 24.0],
    ]
    assert (scene.labels.tolist(), label) == ([0, 0, 1, 0], 7)
    # a last bit of a cosine may turn a level here and there
    assert scene.picture.mean(axis=(0, 1)) == pytest.approx([173.507, 191.128, 163.74], abs=0.02)
    assert patch.mean(axis=(0, 1)) == pytest.approx([209.542, 163.243, 183.051], abs=0.02)
