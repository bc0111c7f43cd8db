"""Boxes from YOLO's heads."""

import numpy as np
import pytest

from mpi_vta.runtime.detections import COARSE_ANCHORS, COCO_NAMES, decode_head, detect, suppress

QUIET = -12.0


def heads():
    return [np.full((255, cells, cells), QUIET, np.float32) for cells in (13, 26)]


def light(head, anchor, row, column, label, strength=8.0):
    cell = head.reshape(3, 85, *head.shape[1:])[anchor, :, row, column]
    cell[0:4] = 0.0
    cell[4] = strength
    cell[5 + label] = strength


def test_names_are_coco_s_80():
    assert len(COCO_NAMES) == len(set(COCO_NAMES)) == 80
    assert COCO_NAMES[0] == "person"
    assert COCO_NAMES[16] == "dog"


def test_one_lit_cell_gives_one_box_at_its_place():
    coarse, fine = heads()
    light(coarse, 1, 6, 3, 16)
    (box,) = detect([coarse, fine], 416)
    assert box.label == "dog"
    assert box.score > 0.99
    assert (box.left + box.right) / 2 == pytest.approx(3.5 / 13, abs=1e-6)
    assert (box.top + box.bottom) / 2 == pytest.approx(6.5 / 13, abs=1e-6)
    assert box.right - box.left == pytest.approx(COARSE_ANCHORS[1][0] / 416, abs=1e-6)
    assert box.bottom - box.top == pytest.approx(COARSE_ANCHORS[1][1] / 416, abs=1e-6)


def test_boxes_of_both_heads_come_best_first():
    coarse, fine = heads()
    light(coarse, 0, 2, 2, 0, strength=4.0)
    light(fine, 2, 20, 20, 2, strength=9.0)
    assert [box.label for box in detect([coarse, fine], 416)] == ["car", "person"]


def test_overlapping_boxes_of_a_class_leave_the_best():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 0.9], [0, 0, 1, 0.95], [0.5, 0.5, 2, 2]], np.float32)
    score = np.array([0.5, 0.9, 0.6, 0.7], np.float32)
    label = np.array([1, 1, 2, 1])
    assert suppress(boxes, score, label) == [1, 3, 2]


def test_scores_and_boxes_cover_every_cell_and_anchor():
    boxes, scores = decode_head(heads()[0], COARSE_ANCHORS, 416)
    assert boxes.shape == (3 * 13 * 13, 4)
    assert scores.shape == (3 * 13 * 13, 80)
