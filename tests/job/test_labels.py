import json

import numpy as np
import pytest
from PIL import Image

from mpi_vta.errors import InputError
from mpi_vta.frontend.detection import COCO_NAMES
from mpi_vta.frontend.images import Preprocess, load_pictures
from mpi_vta.job.answers import category_numbers
from mpi_vta.job.labels import read_labels

NAMES = ("cat", "dog")


@pytest.fixture
def pictures(tmp_path):
    for name in ("dog/b.png", "cat/a.png", "dog/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 20)).save(tmp_path / name)
    return tmp_path


def coco(folder, **changes):
    data = {
        "images": [{"id": 7, "file_name": "cat/a.png"}, {"id": 9, "file_name": "dog/b.png"}],
        "annotations": [
            {"image_id": 9, "category_id": 18, "bbox": [10, 5, 20, 10]},
            {"image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1]},
            {"image_id": 7, "category_id": 17, "bbox": [0, 0, 8, 8], "iscrowd": 1},
        ],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    } | changes
    (folder / "coco.json").write_text(json.dumps(data))
    return folder / "coco.json"


@pytest.mark.parametrize("names", [(), NAMES])
def test_folder_per_class(pictures, names):
    found = read_labels(pictures, None, "classify", names)
    assert [file.name for file in found.files] == ["a.png", "b.png", "c.png"]
    assert (found.classes, found.image_ids) == ((0, 1, 1), (0, 1, 2))


def test_folders_with_numbers_are_classes_by_number(pictures):
    (pictures / "cat").rename(pictures / "12")
    (pictures / "dog").rename(pictures / "3")
    assert read_labels(pictures, None, "classify", ()).classes == (12, 3, 3)


@pytest.mark.parametrize(("head", "labels"), [("", ("cat", "dog")), ("file,class\n", ("0", "1"))])
def test_rows_of_file_and_class(pictures, head, labels):
    (pictures / "l.csv").write_text(f"{head}cat/a.png,{labels[0]}\ndog/b.png, {labels[1]}\n")
    found = read_labels(pictures / "l.csv", None, "classify", NAMES)
    assert (found.classes, found.files) == ((0, 1), (pictures / "cat/a.png", pictures / "dog/b.png"))


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_boxes_of_coco_lie_in_the_input(pictures, fit):
    found = read_labels(coco(pictures), str(pictures), "detect", NAMES)
    assert found.image_ids == (7, 9)
    batch = load_pictures(found.files, Preprocess(3, 80, 80, fit, (0.0,) * 3, (1.0,) * 3))
    truth = found.truth(batch)
    boxes, kinds = truth.objects()
    assert [list(own) for own in kinds] == [[], [1]]
    # twice as large; 20 rows of grey above, or twice as high once more
    wanted = [20, 30, 60, 50] if fit == "letterbox" else [20, 20, 60, 60]
    np.testing.assert_allclose(boxes[1], [wanted])


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (lambda folder: folder / "none", {}, r"none: no such file or folder; allowed: a folder with a folder"),
        (lambda folder: folder, {"task": "detect"}, r"labels for a classifier, and the model is none"),
        (coco, {}, r"coco.json: labels for a detector, and the model is none"),
        (lambda folder: folder, {"images": "8"}, r"--images: 8 is no folder; allowed: the folder of"),
        (lambda folder: folder / "cat", {}, r"cat: no folder with pictures in it"),
        (lambda folder: row(folder, "cat/a.png,cow"), {}, r"row 1: class 'cow'; allowed: cat, dog; name the"),
        (lambda folder: row(folder, "cat/a.png"), {}, r"not rows of a file and a class; allowed: picture.jpg,class"),
        (lambda folder: row(folder, "x.png,cat"), {}, r"x.png: no such picture; name its folder with --images"),
        (lambda folder: row(folder, b"\xff"), {}, r"cannot read the labels \(not UTF-8\)"),
        (
            lambda folder: coco(folder, images=3),
            {"task": "detect"},
            r"not COCO's format \(TypeError: .*; allowed: images",
        ),
        (lambda folder: coco(folder, annotations=[]), {"task": "detect"}, r"no object of a class that the model knows"),
    ],
)
def test_labels_that_cannot_be_used_are_one_line(pictures, write, options, message):
    arguments = {"images": None, "task": "classify", "class_names": NAMES} | options
    with pytest.raises(InputError, match=message):
        read_labels(write(pictures), **arguments)


def row(folder, text):
    (folder / "l.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / "l.csv"


def test_classes_have_coco_s_numbers_in_the_answers():
    numbers = category_numbers(COCO_NAMES)
    assert (numbers["person"], numbers["stop sign"], numbers["cup"], numbers["toothbrush"]) == (1, 13, 47, 90)
    assert category_numbers(NAMES) == {"cat": 0, "dog": 1}
