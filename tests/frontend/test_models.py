from __future__ import annotations

import numpy as np
import onnx
import pytest

from mpi_vta.errors import ModelError
from mpi_vta.frontend.detection import decode_yolo
from mpi_vta.frontend.images import PicturePlacement
from mpi_vta.frontend.mean_precision import mean_average_precision
from mpi_vta.frontend.models import load_model, read_weights
from mpi_vta.frontend.truth import Truth
from mpi_vta.frontend.zoo import build_digits
from mpi_vta.graph.reference import execute


def test_the_trained_digits_are_read_correctly():
    model = load_model("digits")
    scores = execute(model.graph, {"input": model.truth.images})["fc"]
    assert model.truth.images.shape == (360, 1, 8, 8)
    assert (scores.argmax(axis=1) == model.truth.labels).mean() >= 0.97
    assert model.has_meaning
    assert "trained" in model.weights_note


def test_calibration_and_held_out_digits_are_different_ones():
    model = load_model("digits")
    held_out = {image.tobytes() for image in model.truth.images}
    assert not any(image.tobytes() in held_out for image in model.calibration)


@pytest.mark.parametrize(("name", "least"), [("residual", 0.95), ("depthwise", 0.95)])
def test_the_trained_classifiers_name_shapes(name, least):
    model = load_model(name)
    scores = execute(model.graph, {"input": model.truth.images})["fc"]
    assert model.truth.images.shape == (500, 3, 32, 32)
    assert (scores.argmax(axis=1) == model.truth.labels).mean() > least
    assert model.weights_note == "weights trained on generated pictures of coloured shapes"


def test_the_trained_detector_finds_shapes():
    model = load_model("shapes")
    truth = model.truth.rows(np.arange(60))
    outputs = execute(model.graph, {"input": truth.images})
    heads = [outputs[name] for name in model.graph.outputs]
    found = [
        decode_yolo(
            [head[i] for head in heads], (96, 96), PicturePlacement(1.0, 0, 0), model.detector, score_threshold=0.02
        )
        for i in range(60)
    ]
    assert mean_average_precision(found, *truth.objects(), model.detector.class_names) > 0.85
    assert (model.task, model.has_meaning) == ("detect", True)


def test_pictures_for_calibration_are_not_held_out_ones():
    for name in ("shapes", "residual"):
        model = load_model(name)
        held_out = {image.tobytes() for image in model.truth.images}
        assert not any(image.tobytes() in held_out for image in model.calibration)


def test_rows_of_a_truth_keep_their_objects():
    truth = Truth(
        np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1),
        np.array([5, 6, 7]),
        np.arange(12, dtype=np.float64).reshape(3, 4),
        np.array([0, 2, 2]),
    )
    some = truth.rows(np.array([2, 1, 2, 0]))
    boxes, labels = some.objects()
    assert some.images.reshape(-1).tolist() == [2, 1, 2, 0]
    assert [own.tolist() for own in labels] == [[6, 7], [], [6, 7], [5]]
    np.testing.assert_array_equal(boxes[2], truth.boxes[1:])


@pytest.mark.parametrize(("name", "task"), [("resnet18", "classify"), ("yolo", "detect")])
def test_synthetic_weights_say_that_results_mean_nothing(name, task):
    model = load_model(name, seed=5)
    assert (model.task, model.has_meaning, model.truth) == (task, False, None)
    assert model.weights_note == "synthetic weights (seed 5): results mean nothing"
    shape = model.graph.values["input"].shape[1:]
    assert model.calibration.shape == (4, *shape)
    assert (model.preprocess.channels, model.preprocess.height, model.preprocess.width) == shape


def test_weights_come_from_npz_or_onnx_by_name(tmp_path):
    model = build_digits(9, None)
    onnx.save(model, tmp_path / "w.onnx")
    arrays = read_weights(tmp_path / "w.onnx")
    np.savez(tmp_path / "w.npz", **arrays)
    one, other = (load_model("digits", weights=tmp_path / f"w.{kind}") for kind in ("onnx", "npz"))
    assert one.graph.sha256 == other.graph.sha256
    np.testing.assert_array_equal(one.graph.constants["conv1.weight"], arrays["conv1.weight"])
    assert one.weights_note == "weights of w.onnx"


def test_an_onnx_file_is_a_model_with_pixels_from_0_to_1(tmp_path):
    onnx.save(build_digits(0, None), tmp_path / "mine.onnx")
    model = load_model(str(tmp_path / "mine.onnx"))
    assert (model.name, model.task, model.truth) == ("mine", "classify", None)
    assert 0 <= model.calibration.min() <= model.calibration.max() <= 1


def test_an_unknown_model_lists_the_zoo():
    with pytest.raises(ModelError, match=r"vgg: no such model; allowed: resnet18, .*yolo, .*digits.* or the path"):
        load_model("vgg")


def test_weights_are_for_zoo_models_only(tmp_path):
    onnx.save(build_digits(0, None), tmp_path / "mine.onnx")
    with pytest.raises(ModelError, match="such a file brings its own weights"):
        load_model(str(tmp_path / "mine.onnx"), weights=tmp_path / "w.npz")


def test_weights_of_another_model_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", other=np.zeros(3, np.float32))
    with pytest.raises(ModelError, match=r"the weights do not fit yolo: layer0.conv.weight is missing"):
        load_model("yolo", weights=tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.npz", None, "no such file of weights"),
        ("absent.onnx", None, "cannot read the model"),
        ("text.npz", b"hello", "cannot read the weights"),
        ("text.pt", b"hello", r"weights in a \.pt file; allowed: \.npz, \.onnx, darknet's \.weights"),
    ],
)
def test_files_of_weights_that_cannot_be_read_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name}: {message}"):
        read_weights(tmp_path / name)


def test_an_exported_program_needs_pytorch(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "mine.pt2").write_bytes(b"")
    with pytest.raises(ModelError, match=r"mine\.pt2: needs PyTorch; pip install 'torch>=2.8'"):
        load_model(str(tmp_path / "mine.pt2"))


def test_extents_of_a_zoo_model_are_its_own():
    with pytest.raises(ModelError, match="--input-shape: digits states its extents; allowed: an ONNX file"):
        load_model("digits", input_shape=(1, 1, 8, 8))
