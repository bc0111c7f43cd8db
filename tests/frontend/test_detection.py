from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mpi_vta.errors import GraphError
from mpi_vta.frontend.detection import (
    COCO_NAMES,
    YOLOV3_TINY,
    Detection,
    Detector,
    best_classes,
    decode_yolo,
    draw_boxes,
    suppress_overlaps,
)
from mpi_vta.frontend.images import PicturePlacement

SILENT = -20.0


def heads():
    return [np.full((255, 13, 13), SILENT, np.float32), np.full((255, 26, 26), SILENT, np.float32)]


def put(head, anchor, row, column, kind, *, x=0.0, y=0.0, w=0.0, h=0.0, strength=8.0):
    """Place one confident box; sigmoid(0) = 1/2 puts its centre in the middle of the cell."""
    head.reshape(3, 85, *head.shape[1:])[anchor, :5, row, column] = x, y, w, h, strength
    head.reshape(3, 85, *head.shape[1:])[anchor, 5 + kind, row, column] = strength


def test_there_are_eighty_names():
    assert len(COCO_NAMES) == len(set(COCO_NAMES)) == 80
    assert (COCO_NAMES[0], COCO_NAMES[16], COCO_NAMES[79]) == ("person", "dog", "toothbrush")


def test_a_box_lies_where_its_cell_and_anchor_say():
    coarse, fine = heads()
    put(coarse, 0, 6, 3, COCO_NAMES.index("dog"), w=np.log(0.5))
    (found,) = decode_yolo([coarse, fine], (416, 416), PicturePlacement(1.0, 0, 0))
    width, height = YOLOV3_TINY.anchors[0][0]
    assert found.class_name == "dog"
    assert found.score == pytest.approx((1 / (1 + np.exp(-8))) ** 2)
    centre = ((found.left + found.right) / 2, (found.top + found.bottom) / 2)
    assert centre == pytest.approx((3.5 * 32, 6.5 * 32))
    assert (found.right - found.left, found.bottom - found.top) == pytest.approx((width / 2, height))


def test_boxes_are_mapped_back_onto_the_picture_and_cut_to_it():
    coarse, fine = heads()
    put(fine, 2, 13, 10, 2)
    put(fine, 2, 0, 25, 2)  # over the letterbox' border at the top
    # a picture of 200 x 100 pixels, doubled and centred in 416 x 416
    found = decode_yolo([coarse, fine], (100, 200), PicturePlacement(2.0, 8.0, 108.0))
    assert len(found) == 1
    assert (found[0].left + found[0].right) / 2 == pytest.approx((10.5 * 16 - 8) / 2)
    assert (found[0].top + found[0].bottom) / 2 == pytest.approx((13.5 * 16 - 108) / 2)
    coarse, fine = heads()
    put(coarse, 2, 6, 6, 2, w=3.0, h=3.0)
    (whole,) = decode_yolo([coarse, fine], (100, 200), PicturePlacement(2.0, 8.0, 108.0))
    assert (whole.left, whole.top, whole.right, whole.bottom) == (0, 0, 200, 100)


def test_weak_boxes_are_dropped_and_the_rest_sorted():
    coarse, fine = heads()
    put(coarse, 0, 1, 1, 5, strength=2.0)
    put(coarse, 0, 10, 10, 6, strength=4.0)
    put(coarse, 0, 5, 10, 7, strength=0.0)
    found = decode_yolo([coarse, fine], (416, 416), PicturePlacement(1.0, 0, 0))
    assert [entry.class_name for entry in found] == [COCO_NAMES[6], COCO_NAMES[5]]
    assert decode_yolo([coarse, fine], (416, 416), PicturePlacement(1.0, 0, 0), score_threshold=0.999) == []


def test_overlapping_boxes_of_one_class_leave_the_best():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [20, 0, 30, 10]], float)
    scores, classes = np.array([0.6, 0.9, 0.8, 0.7]), np.array([1, 1, 2, 1])
    assert suppress_overlaps(boxes, scores, classes) == [1, 2, 3]
    assert suppress_overlaps(boxes, scores, classes, threshold=0.9) == [1, 2, 3, 0]
    assert suppress_overlaps(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)) == []


def test_a_head_of_another_width_is_refused():
    with pytest.raises(GraphError, match="a YOLO head of 30 channels; allowed: 255"):
        decode_yolo([np.zeros((30, 13, 13), np.float32)] * 2, (416, 416), PicturePlacement(1.0, 0, 0))


def test_a_detector_of_its_own_brings_size_anchors_and_names():
    detector = Detector((64, 96), (((10.0, 20.0),),), ("left", "right"))
    head = np.full((7, 2, 3), SILENT, np.float32)
    head[:5, 1, 2] = 0, 0, 0, np.log(0.5), 8
    head[6, 1, 2] = 8
    (found,) = decode_yolo([head], (64, 96), PicturePlacement(1.0, 0, 0), detector)
    assert found.class_name == "right"
    assert (found.left, found.right) == pytest.approx((2.5 * 32 - 5, 2.5 * 32 + 5))
    assert (found.top, found.bottom) == pytest.approx((1.5 * 32 - 5, 1.5 * 32 + 5))


def test_drawing_changes_the_picture_at_the_box_and_the_caption_only():
    picture = np.zeros((400, 384, 3), np.uint8)
    box = Detection("dog", 0.75, 40, 30, 120, 90)
    with Image.open(io.BytesIO(draw_boxes(picture, [box], "synthetic weights"))) as image:
        assert image.format == "PNG"
        drawn = np.asarray(image)
    assert drawn.shape == picture.shape
    assert drawn[30:91, 120].any(axis=1).all()
    assert not drawn[95:380].any()
    assert drawn[388:].any()
    with Image.open(io.BytesIO(draw_boxes(picture, []))) as image:
        np.testing.assert_array_equal(np.asarray(image), picture)


def test_small_pictures_are_drawn_large():
    picture = np.random.default_rng(0).integers(0, 256, (96, 80, 3), np.uint8)
    with Image.open(io.BytesIO(draw_boxes(picture, []))) as image:
        np.testing.assert_array_equal(np.asarray(image)[::4, ::4], picture)
    box = Detection("dog", 0.75, 40, 30, 60, 90)
    with Image.open(io.BytesIO(draw_boxes(picture, [box]))) as image:
        changed = (np.asarray(image)[::4, ::4] != picture).any(axis=2)
    assert changed[30:90, 40].all()
    assert not changed[:28].any()


def test_best_classes_are_sorted_probabilities():
    scores = np.zeros((1000, 1, 1), np.float32)
    scores[[7, 3]] = [[[2.0]], [[3.0]]]
    found = best_classes(scores, 3)
    assert [index for index, _ in found] == [3, 7, 0]
    total = np.exp(3) + np.exp(2) + 998
    assert [p for _, p in found] == pytest.approx([np.exp(3) / total, np.exp(2) / total, 1 / total])
