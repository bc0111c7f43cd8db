"""What a model says about the images of a run: boxes, classes, how right they are; as data, pictures and lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import replacing, write_atomically, write_json
from mpi_vta.frontend.detection import COCO_NAMES, Detection, best_classes, decode_yolo, draw_boxes
from mpi_vta.frontend.host_kernels import host_engine
from mpi_vta.frontend.images import PicturePlacement
from mpi_vta.frontend.mean_precision import OVERLAP, mean_average_precision
from mpi_vta.frontend.models import CLASSIFY, DETECT
from mpi_vta.job.model_list import ANSWERS_FILE, outputs_folder
from mpi_vta.job.prepare import Opened

MOST_SHOWN = 16
MOST_NAMED = 6  # boxes of one picture on a line
MOST_TOP = 5
LEAST_COUNTED_SCORE = 0.02  # weaker boxes change the area under precision and recall by next to nothing
# numbers that COCO's 80 classes do not have
_COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)

Heads = list[NDArray[np.float32]]


def answers(opened: Opened, outputs: Mapping[str, NDArray[np.int8]]) -> dict[str, Any]:
    """Return the part of the summary that says what the model found; write pictures and ``answers.json``."""
    model, inputs = opened.model, opened.inputs
    engine = host_engine()
    finished = model.quantized.finish(outputs, engine.run)
    heads = [finished[output.name] for output in model.quantized.outputs]
    found: dict[str, Any] = {}
    if model.warning:
        found["warning"] = model.warning
    if model.quantized.host_graph is not None:
        found["host_engine"] = engine.name
    if model.task == DETECT and inputs.batch is not None:
        found |= _boxes(opened, heads)
    if model.task == CLASSIFY:
        found |= _classes(opened, heads)
    found["real_outputs"] = _keep_real(opened, heads)
    if inputs.truth is not None:
        in_float = model.float_outputs(inputs.truth.images)
        found |= _scores(opened, in_float, heads)
    return found


def _keep_real(opened: Opened, heads: Heads) -> dict[str, str]:
    """Write the model's outputs in floats beside the integers; return the files by name."""
    files = {}
    for number, (output, array) in enumerate(zip(opened.model.quantized.outputs, heads, strict=True)):
        path = outputs_folder(opened.folder) / f"real-{number:03d}.npy"
        with replacing(path, "the outputs") as partial, partial.open("xb") as stream:
            np.save(stream, array)
        files[output.name] = str(path)
    return files


def _boxes(opened: Opened, heads: Heads) -> dict[str, Any]:
    """Write every box to ``answers.json`` and draw those of the first pictures."""
    batch, detector = opened.inputs.batch, opened.model.detector
    assert batch is not None
    assert detector is not None
    numbers = category_numbers(detector.class_names)
    caption = "" if opened.model.has_meaning else opened.model.weights_note
    rows, shown = [], []
    for index, picture in enumerate(batch.pictures):
        own = [head[index] for head in heads]
        found = decode_yolo(own, picture.shape[:2], batch.placements[index], detector)
        rows += [_coco_row(opened, index, numbers, box) for box in found]
        if index < MOST_SHOWN:
            path = opened.folder / f"boxes-{Path(batch.names[index]).stem}.png"
            write_atomically(path, draw_boxes(picture, found, caption, detector))
            listed = [{"class": box.class_name, "score": round(box.score, 4)} for box in found[:MOST_NAMED]]
            shown.append({"picture": str(path), "boxes": len(found), "best": listed})
    return {"pictures": shown, "answers": _write(opened, rows)}


def _coco_row(opened: Opened, index: int, numbers: Mapping[str, int], box: Detection) -> dict[str, Any]:
    """Return one box as COCO's results have it, with the names beside the numbers."""
    batch = opened.inputs.batch
    assert batch is not None
    edges = (box.left, box.top, box.right - box.left, box.bottom - box.top)
    return {
        "image_id": opened.inputs.image_id(index),
        "category_id": numbers[box.class_name],
        "bbox": [round(edge, 2) for edge in edges],
        "score": round(box.score, 5),
        "file_name": batch.names[index],
        "category": box.class_name,
    }


def _classes(opened: Opened, heads: Heads) -> dict[str, Any]:
    """Write the best classes of every image to ``answers.json``."""
    batch, names = opened.inputs.batch, opened.model.class_names
    rows = []
    for index, scores in enumerate(heads[0]):
        shares = best_classes(scores)
        best = [{"class": kind, **_named(names, kind), "probability": share} for kind, share in shares]
        file = {} if batch is None else {"file_name": batch.names[index]}
        rows.append(
            {
                "image_id": opened.inputs.image_id(index),
                **file,
                "class": shares[0][0],
                **_named(names, shares[0][0]),
                "score": shares[0][1],
                "best": best,
            }
        )
    found: dict[str, Any] = {"answers": _write(opened, rows)}
    if opened.inputs.truth is None:
        found["classes"] = [row["best"] for row in rows[:MOST_SHOWN]]
        if batch is not None:
            found["files"] = list(batch.names[:MOST_SHOWN])
    return found


def _named(names: tuple[str, ...], kind: int) -> dict[str, str]:
    return {"name": names[kind]} if kind < len(names) else {}


def _write(opened: Opened, rows: list[dict[str, Any]]) -> str:
    path = opened.folder / ANSWERS_FILE
    write_json(path, rows, "the answers")
    return str(path)


def category_numbers(names: tuple[str, ...]) -> dict[str, int]:
    """Return the number of each class in ``answers.json``: COCO's own for its 80 classes, else its place."""
    if names != COCO_NAMES:
        return {name: place for place, name in enumerate(names)}
    numbers = (number for number in range(1, len(names) + len(_COCO_GAPS) + 1) if number not in _COCO_GAPS)
    return dict(zip(names, numbers, strict=True))


def _scores(opened: Opened, in_float: Heads, heads: Heads) -> dict[str, Any]:
    truth = opened.inputs.truth
    assert truth is not None
    whose = "held-out" if opened.inputs.image_ids is None else "labelled"
    about = {"images": len(truth.images), "whose": whose}
    if truth.boxes is not None:
        pair = {"float": _mean_precision(opened, in_float), "vta": _mean_precision(opened, heads)}
        return {"mean_average_precision": about | pair}
    found = {"accuracy": about | {"float": _top(opened, in_float, 1), "vta": _top(opened, heads, 1)}}
    if heads[0][0].size > 2 * MOST_TOP:
        top = {"float": _top(opened, in_float, MOST_TOP), "vta": _top(opened, heads, MOST_TOP)}
        found["top5"] = about | top
    return found


def _top(opened: Opened, outputs: Heads, count: int) -> float:
    """Return the share of the images whose class is among the `count` best."""
    truth = opened.inputs.truth
    assert truth is not None
    scores = outputs[0].reshape(len(truth.labels), -1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return float((best == truth.labels[:, None]).any(axis=1).mean())


def _mean_precision(opened: Opened, heads: Heads) -> float:
    truth, detector = opened.inputs.truth, opened.model.detector
    assert truth is not None
    assert detector is not None
    found = [
        decode_yolo(
            [head[index] for head in heads],
            detector.input_hw,
            PicturePlacement(1.0, 0, 0),
            detector,
            score_threshold=LEAST_COUNTED_SCORE,
        )
        for index in range(len(truth.images))
    ]
    return mean_average_precision(found, *truth.objects(), detector.class_names)


def lines_of_answers(summary: Mapping[str, Any]) -> list[str]:
    """Return what the model said, as lines of text."""
    lines = [f"warning     {summary['warning']}"] if summary.get("warning") else []
    if "host_engine" in summary:
        lines.append(f"host        operators behind the last layer ran in {summary['host_engine']}")
    files = summary.get("files") or []
    for index, classes in enumerate(summary.get("classes", [])):
        best = ", ".join(
            f"{entry['class']}{' ' + entry['name'] if 'name' in entry else ''} ({entry['probability']:.3f})"
            for entry in classes
        )
        lines.append(f"image {index:4}  {files[index] + ': ' if files else ''}classes {best}")
    for entry in summary.get("pictures", []):
        lines.append(f"picture     {entry['picture']}: {_boxes_in_words(entry)}")
    for key, name in (
        ("accuracy", "accuracy  "),
        ("top5", "top 5     "),
        ("mean_average_precision", f"mAP({OVERLAP})  "),
    ):
        if key in summary:
            share = summary[key]
            lines.append(
                f"{name}  float {100 * share['float']:.2f} %, VTA int8 {100 * share['vta']:.2f} % "
                f"on {share['images']} {share['whose']} images"
            )
    if "answers" in summary:
        lines.append(f"answers     {summary['answers']}")
    return lines


def _boxes_in_words(entry: Mapping[str, Any]) -> str:
    if not entry["boxes"]:
        return "nothing found"
    words = [f"{box['class']} {box['score']:.2f}" for box in entry["best"]]
    more = entry["boxes"] - len(words)
    return ", ".join(words + [f"{more} more"] * (more > 0))
