from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mpi_vta.errors import InputError
from mpi_vta.frontend.images import (
    Preprocess,
    load_images,
    prepare,
    read_picture,
    synthetic_images,
    synthetic_picture,
)

LETTERBOX = Preprocess(3, 32, 32, "letterbox", (0.0,) * 3, (1.0,) * 3)
CROP = Preprocess(3, 28, 28, "crop", (0.5, 0.25, 0.0), (0.5, 1.0, 2.0))


def save(path, picture):
    Image.fromarray(picture).save(path)
    return path


def test_a_wide_picture_is_letterboxed_with_grey_above_and_below():
    picture = np.full((10, 20, 3), 255, np.uint8)
    pixels, placement = prepare(picture, LETTERBOX)
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == np.float32
    assert (pixels[:, 8:24] == 1).all()
    np.testing.assert_allclose(pixels[:, :8], 128 / 255)
    np.testing.assert_allclose(pixels[:, 24:], 128 / 255)
    assert (placement.scale, placement.offset_x, placement.offset_y) == (1.6, 0, 8)


def test_a_crop_keeps_the_centre_and_normalises_each_channel():
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:, 48:80] = 255  # the middle half of what is kept
    pixels, _ = prepare(picture, CROP)
    assert pixels.shape == (3, 28, 28)
    np.testing.assert_allclose(pixels[:, 14, 14], [(1 - 0.5) / 0.5, 1 - 0.25, 0.5], rtol=1e-6)
    np.testing.assert_allclose(pixels[:, 14, 0], [-1, -0.25, 0], rtol=1e-6)


def test_a_picture_of_the_right_size_is_not_resampled():
    picture = synthetic_picture(28, 28, seed=0)
    grey = Preprocess(3, 28, 28, "crop", (0.0,) * 3, (1.0,) * 3)
    pixels, _ = prepare(picture, grey)
    np.testing.assert_array_equal(np.rint(pixels * 255).astype(np.uint8).transpose(1, 2, 0), picture)


def test_one_channel_is_the_mean_of_the_colours():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[..., 0] = 255
    pixels, _ = prepare(picture, Preprocess(1, 8, 8, "crop", (0.0,), (1.0,)))
    np.testing.assert_allclose(pixels, np.full((1, 8, 8), 1 / 3), rtol=1e-6)


def test_synthetic_pictures_depend_on_seed_and_index_alone():
    many, few = synthetic_images(4, LETTERBOX, seed=7), synthetic_images(2, LETTERBOX, seed=7)
    np.testing.assert_array_equal(many.inputs[:2], few.inputs)
    assert many.names == ("synthetic-0000", "synthetic-0001", "synthetic-0002", "synthetic-0003")
    assert np.abs(many.inputs[0] - many.inputs[1]).mean() > 0.02
    assert np.abs(synthetic_images(1, LETTERBOX, seed=8).inputs - few.inputs[:1]).mean() > 0.02


def test_synthetic_pictures_are_smooth_and_use_their_range():
    pixels = synthetic_picture(64, 64, seed=1).astype(float)
    assert pixels.std() > 20
    assert np.abs(np.diff(pixels, axis=0)).mean() < pixels.std() / 3


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    for name in ("b.png", "a.png", "c.jpg"):
        save(tmp_path / name, synthetic_picture(20, 30, seed=ord(name[0])))
    (tmp_path / "notes.txt").write_text("not a picture")
    batch = load_images(tmp_path, LETTERBOX)
    assert batch.names == ("a.png", "b.png", "c.jpg")
    assert batch.inputs.shape == (3, 3, 32, 32)
    assert batch.pictures[0].shape == (20, 30, 3)
    assert load_images(tmp_path, LETTERBOX, limit=2).names == ("a.png", "b.png")
    np.testing.assert_array_equal(load_images(tmp_path / "b.png", LETTERBOX).inputs[0], batch.inputs[1])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.fromarray(synthetic_picture(6, 5, seed=0)).convert(mode).save(tmp_path / f"x.{suffix}")
    assert read_picture(tmp_path / f"x.{suffix}").shape == (6, 5, 3)


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.png: no such picture or folder"):
        load_images(tmp_path / "absent.png", LETTERBOX)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"the folder holds no picture; allowed: \.png"):
        load_images(tmp_path, LETTERBOX)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text\.png: not a picture"):
        load_images(tmp_path, LETTERBOX)


def test_a_truncated_picture_is_named(tmp_path):
    path = save(tmp_path / "cut.png", synthetic_picture(40, 40, seed=0))
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(InputError, match=r"cut\.png: cannot read the picture"):
        read_picture(path)


def test_no_pictures_is_refused():
    with pytest.raises(InputError, match="0 pictures; allowed: at least 1"):
        synthetic_images(0, LETTERBOX)


def test_four_channels_are_colours_and_opacity(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    four = Preprocess(4, 9, 9, "crop", (0.0,) * 4, (1.0,) * 4)
    batch = load_images(tmp_path / "x.png", four)
    np.testing.assert_allclose(batch.inputs[0], pixels.transpose(2, 0, 1) / 255, rtol=1e-6)
    np.testing.assert_array_equal(batch.pictures[0], pixels[..., :3])


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_synthetic_inputs_have_any_number_of_channels(channels):
    plain = Preprocess(channels, 8, 8, "crop", (0.0,) * channels, (1.0,) * channels)
    batch = synthetic_images(2, plain)
    assert (batch.inputs.shape, batch.pictures[0].shape) == ((2, channels, 8, 8), (8, 8, 3))
    assert len({row.tobytes() for row in batch.inputs[0]}) == channels


def test_an_array_is_the_input_as_it_is(tmp_path):
    six = Preprocess(6, 4, 5, "crop", (0.0,) * 6, (1.0,) * 6)
    array = np.random.default_rng(0).normal(size=(3, 6, 4, 5))
    np.save(tmp_path / "x.npy", array)
    batch = load_images(tmp_path / "x.npy", six, limit=2)
    np.testing.assert_array_equal(batch.inputs, array[:2].astype(np.float32))
    assert batch.names == ("x-0000", "x-0001")
    np.save(tmp_path / "one.npy", array[0])
    assert load_images(tmp_path / "one.npy", six).inputs.shape == (1, 6, 4, 5)
    np.save(tmp_path / "odd.npy", array[:, :5])
    with pytest.raises(InputError, match=r"float64 of shape \(3, 5, 4, 5\); allowed: numbers of \(n, 6, 4, 5\)"):
        load_images(tmp_path / "odd.npy", six)
    np.save(tmp_path / "nan.npy", array * np.nan)
    with pytest.raises(InputError, match="an input is not finite"):
        load_images(tmp_path / "nan.npy", six)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(InputError, match=r"a model of 6 channels; allowed: an \.npy file of inputs"):
        load_images(tmp_path / "x.png", six)
