from __future__ import annotations

import numpy as np
import pytest

from mpi_vta.frontend.detection import Detection
from mpi_vta.frontend.mean_precision import mean_average_precision

NAMES = ("circle", "square")
BOXES = [np.array([[0, 0, 10, 10], [20, 0, 30, 10]], float), np.array([[5, 5, 15, 15]], float)]
LABELS = [np.array([0, 1]), np.array([0])]


def claim(name, score, box):
    return Detection(name, score, *box)


def measured(found):
    return mean_average_precision(found, BOXES, LABELS, NAMES)


def test_finding_everything_is_1_and_nothing_is_0():
    found = [
        [claim("circle", 0.9, BOXES[0][0]), claim("square", 0.8, BOXES[0][1])],
        [claim("circle", 0.7, BOXES[1][0])],
    ]
    assert measured(found) == 1
    assert measured([[], []]) == 0


def test_a_wrong_box_before_a_right_one_costs_precision():
    """Circles: wrong, right, right: precisions 1/2 and 2/3, of which the better counts for both; no square found."""
    found = [
        [claim("circle", 0.9, (40, 40, 50, 50)), claim("circle", 0.8, BOXES[0][0])],
        [claim("circle", 0.7, BOXES[1][0])],
    ]
    assert measured(found) == pytest.approx((2 / 3 + 0) / 2)


def test_a_second_box_on_the_same_object_is_wrong():
    """Circles: right, wrong (taken), right: precision 1 for the first half of recall, 2/3 for the second."""
    found = [
        [claim("circle", 0.9, BOXES[0][0]), claim("circle", 0.8, BOXES[0][0])],
        [claim("circle", 0.7, BOXES[1][0])],
    ]
    assert measured(found) == pytest.approx((1 / 2 + 2 / 3 / 2 + 0) / 2)


def test_a_box_that_overlaps_too_little_or_in_another_picture_is_wrong():
    half = [[claim("circle", 0.9, (0, 0, 10, 4))], []]
    assert measured(half) == 0
    assert measured([[claim("circle", 0.9, (0, 0, 10, 5))], []]) == pytest.approx((1 / 2) / 2)
    assert measured([[], [claim("circle", 0.9, BOXES[0][0])]]) == 0


def test_a_class_without_objects_does_not_count():
    assert mean_average_precision([[claim("circle", 0.9, BOXES[1][0])]], BOXES[1:], LABELS[1:], NAMES) == 1
