"""What the user's pictures show: a folder per class, a CSV file, or COCO's JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import read_text
from mpi_vta.errors import InputError
from mpi_vta.frontend.images import SUFFIXES, ImageBatch
from mpi_vta.frontend.models import CLASSIFY, DETECT
from mpi_vta.frontend.truth import Truth

ALLOWED = "a folder with a folder of pictures per class, a .csv of file and class, or COCO's .json"


@dataclass(frozen=True)
class Labels:
    """Pictures and what they show.

    Attributes
    ----------
    files : tuple of Path
        The pictures.
    image_ids : tuple of int
        Of each: COCO's, or its number.
    classes : tuple of int
        Of each picture, for a classifier; else empty.
    boxes : tuple of ndarray of float64, shape (n, 4)
        Of each picture, for a detector: left, top, right, bottom of every object, in pixels; else empty.
    kinds : tuple of ndarray of int64, shape (n,)
        Class of each of these objects.
    """

    files: tuple[Path, ...]
    image_ids: tuple[int, ...]
    classes: tuple[int, ...] = ()
    boxes: tuple[NDArray[np.float64], ...] = ()
    kinds: tuple[NDArray[np.int64], ...] = ()

    def truth(self, batch: ImageBatch) -> Truth:
        """Return the right answers about the inputs that the pictures became, boxes in pixels of the input."""
        if self.classes:
            return Truth(batch.inputs, np.array(self.classes, np.int64))
        placed = [
            own * np.array([*placement.scales] * 2) + np.array([placement.offset_x, placement.offset_y] * 2)
            for own, placement in zip(self.boxes, batch.placements, strict=True)
        ]
        owners = np.repeat(np.arange(len(placed)), [len(own) for own in placed])
        return Truth(batch.inputs, np.concatenate(self.kinds), np.concatenate(placed), owners)


def read_labels(path: Path, images: str | None, task: str, class_names: Sequence[str]) -> Labels:
    """Return the pictures that ``--labels`` names, and what they show.

    Parameters
    ----------
    path : Path
        A folder with one folder of pictures per class, a CSV file or COCO's JSON.
    images : str or None
        What ``--images`` says: the folder that files are named in; the file's own without it.
    task : str
        ``classify`` or ``detect``: COCO's JSON is for the second, the others for the first.
    class_names : sequence of str
        Of the model; empty if it has numbers only.

    Raises
    ------
    InputError
        If there is nothing there, a label has no class, a picture is missing, or the model is no model for such labels.
    """
    is_json = path.suffix == ".json"
    if not path.exists():
        raise InputError("no such file or folder", where=str(path), allowed=ALLOWED)
    if task != (DETECT if is_json else CLASSIFY):
        wanted = "a detector" if is_json else "a classifier"
        raise InputError(f"labels for {wanted}, and the model is none", where=str(path), allowed=ALLOWED)
    if images is not None and not Path(images).is_dir():
        raise InputError(f"{images} is no folder", where="--images", allowed="the folder of the labelled pictures")
    folder = path if path.is_dir() else path.parent if images is None else Path(images)
    if is_json:
        found = _coco(path, folder, class_names)
    else:
        found = _by_folder(path, class_names) if path.is_dir() else _by_row(path, folder, class_names)
    missing = next((file for file in found.files if not file.is_file()), None)
    if missing is not None:
        raise InputError("no such picture", where=f"{path}: {missing}", remedy="name its folder with --images")
    return found


def _by_folder(path: Path, class_names: Sequence[str]) -> Labels:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
    names = [folder.name for folder in folders]
    # as torchvision's ImageFolder counts them, where the model has no names
    known = class_names or ([] if all(name.isdecimal() for name in names) else names)
    pairs = [
        (file, _class_of(folder.name, known, str(folder)))
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES
    ]
    if not pairs:
        raise InputError("no folder with pictures in it", where=str(path), allowed=ALLOWED)
    return Labels(tuple(file for file, _ in pairs), tuple(range(len(pairs))), tuple(kind for _, kind in pairs))


def _by_row(path: Path, folder: Path, class_names: Sequence[str]) -> Labels:
    rows = [row for row in csv.reader(_text(path).splitlines()) if row]
    if rows and len(rows[0]) > 1 and Path(rows[0][0]).suffix.lower() not in SUFFIXES:
        rows = rows[1:]  # a head
    if not rows or any(len(row) < 2 for row in rows):
        raise InputError("not rows of a file and a class", where=str(path), allowed="picture.jpg,class")
    classes = tuple(
        _class_of(row[1].strip(), class_names, f"{path}: row {number}") for number, row in enumerate(rows, 1)
    )
    return Labels(tuple(folder / row[0].strip() for row in rows), tuple(range(len(rows))), classes)


def _class_of(label: str, class_names: Sequence[str], where: str) -> int:
    if label in class_names:
        return class_names.index(label)
    if label.isdecimal() and (not class_names or int(label) < len(class_names)):
        return int(label)
    raise InputError(
        f"class {label!r}",
        where=where,
        allowed=", ".join(class_names) or "a number",
        remedy="name the classes in the file beside the model: labels = [...]",
    )


def _coco(path: Path, folder: Path, class_names: Sequence[str]) -> Labels:
    try:
        data = json.loads(_text(path))
        names = {int(entry["id"]): str(entry["name"]) for entry in data["categories"]}
        files = {int(entry["id"]): folder / str(entry["file_name"]) for entry in data["images"]}
        marks: dict[int, list[tuple[int, list[float]]]] = {number: [] for number in files}
        for entry in data["annotations"]:
            left, top, width, height = map(float, entry["bbox"])
            name = names[int(entry["category_id"])]
            if name in class_names and not entry.get("iscrowd", 0):
                box = [left, top, left + width, top + height]
                marks[int(entry["image_id"])].append((class_names.index(name), box))
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        reason = f"{type(fault).__name__}: {fault}"
        raise InputError(
            f"not COCO's format ({reason})", where=str(path), allowed="images, annotations, categories"
        ) from fault
    if not any(marks.values()):
        raise InputError("no object of a class that the model knows", where=str(path), allowed=", ".join(class_names))
    return Labels(
        tuple(files.values()),
        tuple(files),
        boxes=tuple(np.array([box for _, box in own], np.float64).reshape(-1, 4) for own in marks.values()),
        kinds=tuple(np.array([kind for kind, _ in own], np.int64) for own in marks.values()),
    )


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "not UTF-8"
        raise InputError(f"cannot read the labels ({reason})", where=str(path), allowed=ALLOWED) from fault
