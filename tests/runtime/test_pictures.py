"""The picture with boxes."""

import numpy as np
from PIL import Image

from mpi_vta.runtime.detections import Detection
from mpi_vta.runtime.pictures import draw_detections


def drawn(tmp_path, detections, **options):
    draw_detections(np.zeros((100, 200, 3), np.uint8), detections, tmp_path / "boxes.png", **options)
    with Image.open(tmp_path / "boxes.png") as picture:
        return np.asarray(picture.convert("RGB"))


def test_box_is_drawn_where_it_is(tmp_path):
    pixels = drawn(tmp_path, [Detection(0.5, 0.5, 0.9, 0.9, "dog", 0.8)], has_meaning=True)
    assert pixels.shape == (100, 200, 3)
    assert pixels[70, 99:102].any()
    assert not pixels[70, 120:150].any()


def test_box_beyond_the_picture_is_cut_to_it(tmp_path):
    pixels = drawn(tmp_path, [Detection(-1.0, -1.0, 2.0, 2.0, "dog", 0.8)], has_meaning=True)
    assert pixels[50, 0].any()
    assert pixels[50, 199].any()


def test_synthetic_weights_are_said_so(tmp_path):
    assert drawn(tmp_path, [], has_meaning=False)[86:].any()
    assert not drawn(tmp_path, [], has_meaning=True).any()
