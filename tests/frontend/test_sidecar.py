import pytest

from mpi_vta.errors import ConfigError, InputError
from mpi_vta.frontend.images import Preprocess
from mpi_vta.frontend.sidecar import save_beside, with_sidecar
from mpi_vta.picture_options import PictureOptions

PLAIN = Preprocess(3, 8, 8, "crop", (0.0,) * 3, (1.0,) * 3)


def test_what_is_saved_is_found_again_and_options_come_first(tmp_path):
    model = str(tmp_path / "net.onnx")
    stated = PictureOptions((1, 2, 3), (4,), "bgr", 255.0, "letterbox")
    made = PLAIN.stated(stated)
    assert made == Preprocess(3, 8, 8, "letterbox", (1 / 255, 2 / 255, 3 / 255), (4 / 255,) * 3, True)
    assert save_beside(model, made, ("cat", 'a "dog"')) == tmp_path / "net.toml"
    found = with_sidecar(model, PictureOptions(resize="stretch"))
    assert found.class_names == ("cat", 'a "dog"')
    assert PLAIN.stated(found) == Preprocess(3, 8, 8, "stretch", made.mean, made.std, True)


def test_model_without_one_is_as_the_options_say(tmp_path):
    options = PictureOptions(mean=(0.5,))
    assert with_sidecar(str(tmp_path / "net.onnx"), options) is options
    assert with_sidecar("yolo", options) is options


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mean = 'x'", r"net.toml: not a usable description .*mean is 'x' \(allowed: numbers\)"),
        ("resize = 'fit'", r"resize is 'fit' \(allowed: letterbox, crop, stretch\)"),
        ("range = 2", r"range is 2 \(allowed: 1 or 255\)"),
        ("labels = 3", r"labels is 3 \(allowed: a list of names\)"),
        ("means = 1", r"means is unknown \(allowed: mean, .*labels\)"),
        ("mean = ", r"net.toml: not TOML"),
    ],
)
def test_wrong_one_is_one_line(tmp_path, line, message):
    (tmp_path / "net.toml").write_text(line + "\n")
    with pytest.raises(ConfigError, match=message):
        with_sidecar(str(tmp_path / "net.onnx"), PictureOptions())


def test_deviation_of_nothing_in_one_is_named(tmp_path):
    (tmp_path / "net.toml").write_text("std = 0\n")
    with pytest.raises(InputError, match=r"net.toml: --std: \(0.0,\); allowed: numbers above 0"):
        with_sidecar(str(tmp_path / "net.onnx"), PictureOptions())


def test_zoo_s_models_have_none():
    with pytest.raises(InputError, match=r"--save-preprocess: yolo comes with its own; allowed: a model's file"):
        save_beside("yolo", PLAIN, ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": "grb"}, r"--channels: 'grb'; allowed: rgb, bgr"),
        ({"resize": "fit"}, r"--resize: 'fit'; allowed: letterbox, crop, stretch"),
        ({"levels": 2.0}, r"--range: 2.0; allowed: 1, 255"),
        ({"mean": (float("nan"),)}, r"--mean: \(nan,\); allowed: finite numbers"),
        ({"std": (0.0,)}, r"--std: \(0.0,\); allowed: numbers above 0"),
    ],
)
def test_option_that_cannot_be_is_named(options, message):
    with pytest.raises(InputError, match=message):
        PictureOptions(**options)


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        (3, {"mean": (1.0, 2.0)}, r"--mean: 2 numbers; allowed: 1 or 3, one per channel"),
        (1, {"channels": "bgr"}, r"--channels: 1 channels; allowed: a model of three"),
    ],
)
def test_option_that_does_not_fit_the_model_is_named(channels, options, message):
    preprocess = Preprocess(channels, 8, 8, "crop", (0.0,) * channels, (1.0,) * channels)
    with pytest.raises(InputError, match=message):
        preprocess.stated(PictureOptions(**options))
