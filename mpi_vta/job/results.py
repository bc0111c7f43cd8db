"""From what a run left at rank 0 to files and answers: trace, summary, pictures, classes, accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.disk import write_atomically
from mpi_vta.frontend.detection import best_classes, decode_yolo, draw_boxes
from mpi_vta.frontend.host_kernels import host_engine
from mpi_vta.frontend.images import Placement
from mpi_vta.frontend.mean_precision import OVERLAP, mean_average_precision
from mpi_vta.frontend.models import CLASSIFY, DETECT
from mpi_vta.job.prepare import Prepared
from mpi_vta.job.provenance import versions_and_argv
from mpi_vta.job.resumption import clear, forget_ranks, keep_earlier_trace, keep_last_trace, resumed_line
from mpi_vta.runtime.assignment import WALL
from mpi_vta.runtime.output_set import OutputSet
from mpi_vta.runtime.report import output_sha256, summarize
from mpi_vta.runtime.session import RunResult
from mpi_vta.schedule.network import NetworkModel
from mpi_vta.trace.merge import RunRecord, merge
from mpi_vta.trace.reader import Trace, read
from mpi_vta.trace.repair import Opening
from mpi_vta.trace.schema import MEASURED, MODELLED

MOST_SHOWN = 16
LEAST_COUNTED_SCORE = 0.02  # weaker boxes change the area under precision and recall by next to nothing


def open_run(prepared: Prepared) -> None:
    """Leave beside the ranks' files what ``trace merge`` needs if the job ends early."""
    job, remainder, folder = prepared.job, prepared.remainder, prepared.request.folder
    if remainder.part is None:
        clear(folder, [remainder.outputs] if remainder.outputs is not None else [])
    else:
        keep_earlier_trace(folder, remainder.part)
    opening = Opening(job.plan.to_json(), len(job.cluster.boards), job.images, provenance_of(prepared))
    opening.save(folder)


def conclude(prepared: Prepared, result: RunResult) -> dict[str, Any]:
    """Write ``run.h5``, ``summary.json`` and the pictures, and return the summary.

    The trace is read back from the file for the figures, so what is printed is what is on disk.
    """
    folder, model, job = prepared.request.folder, prepared.model, prepared.job
    hashed = "" if result.outputs is None else output_sha256(result.outputs, model.graph.outputs)
    provenance = {**provenance_of(prepared), "output_sha256": hashed}
    record = RunRecord(job.plan.to_json(), result.times, provenance)
    merge(folder / "run.h5", result.rank_files, record)
    forget_ranks(folder)
    summary = summary_of(prepared, result, read(folder / "run.h5"), folder)
    _save(summary, folder)
    return summary


def conclude_without_run(prepared: Prepared) -> dict[str, Any]:
    """Write what is missing of a job whose images all have their outputs, and return a summary without times."""
    folder, model, outputs = prepared.request.folder, prepared.model, prepared.remainder.outputs
    assert outputs is not None, "only a job with data is gone on with"
    keep_last_trace(folder)
    with OutputSet(outputs) as whole:
        arrays = whole.arrays()
        summary = {
            "model": model.name,
            "images": 0,
            "resumed": prepared.remainder.summary(),
            "weights": model.weights_note,
            "output_sha256": output_sha256(arrays, model.graph.outputs),
            **_answers(prepared, arrays, folder),
        }
    if not (folder / "summary.json").exists():
        _save(summary, folder)
    return summary


def _save(summary: Mapping[str, Any], folder: Path) -> None:
    write_atomically(folder / "summary.json", (json.dumps(summary, indent=2) + "\n").encode(), "the summary")


def summary_of(prepared: Prepared, result: RunResult, trace: Trace, folder: Path) -> dict[str, Any]:
    """Return the summary of one model's run, after writing its pictures.

    Parameters
    ----------
    prepared : Prepared
        The model.
    result : RunResult
        What its run left.
    trace : Trace
        Of this model alone.
    folder : Path
        For pictures.
    """
    model, job = prepared.model, prepared.job
    summary = summarize(
        job.plan,
        trace,
        layers=prepared.layers,
        host_ops=[asdict(work) for work in prepared.host_work],
        outputs=result.outputs,
        output_order=model.graph.outputs,
    )
    summary |= {
        "device": prepared.request.device,
        "weights": model.weights_note,
        "wall_s": max(report["wall_s"] for report in result.rank_reports),
        "planner_alternative": prepared.planner_alternative,
        "resumed": prepared.remainder.summary(),
    }
    if result.outputs is not None:
        summary |= _answers(prepared, result.outputs, folder)
    return summary


def write_page(folder: Path) -> Path:
    """Write ``report.html`` beside the trace of an output folder, and return its path."""
    from mpi_vta.trace.report import write_report
    from mpi_vta.trace.run import Run

    path = folder / "report.html"
    write_report(Run(read(folder / "run.h5")), path)
    return path


def provenance_of(prepared: Prepared) -> dict[str, Any]:
    """Return where a model's results come from, as attributes of the trace, JSON-able."""
    request, job, model = prepared.request, prepared.job, prepared.model
    programs = {stage: program.sha256 for (stage, _), program in sorted(job.programs.items(), reverse=True)}
    return {
        **versions_and_argv(("mpi_vta.pipeline", *request.argv)),
        "time": MEASURED if request.clock == WALL else MODELLED,
        "model": model.name,
        "strategy": job.plan.strategy,
        "device": request.device,
        "cluster": job.cluster.name,
        "seed": request.seed,
        "graph_sha256": model.graph.sha256,
        "program_sha256": [programs[stage] for stage in sorted(programs)],
        "network": json.dumps(asdict(NetworkModel.of(job.cluster))),
        "network_power": json.dumps(asdict(job.cluster.power)),
        **prepared.remainder.provenance(),
    }


def _answers(prepared: Prepared, outputs: Mapping[str, NDArray[np.int8]], folder: Path) -> dict[str, Any]:
    """Return what the model says about the images, by its task; write pictures for detections."""
    model, inputs = prepared.model, prepared.inputs
    engine = host_engine()
    finished = model.quantized.finish(outputs, engine.run)
    heads = [finished[output.name] for output in model.quantized.outputs]
    answers: dict[str, Any] = {}
    if model.quantized.host_graph is not None:
        answers["host_engine"] = engine.name
    if model.task == DETECT and inputs.batch is not None:
        answers["pictures"] = _draw(prepared, heads, folder)
    if model.task == CLASSIFY and inputs.truth is None:
        answers["classes"] = [
            [{"class": kind, "probability": share} for kind, share in best_classes(scores)]
            for scores in heads[0][:MOST_SHOWN]
        ]
    if inputs.truth is not None:
        in_float = model.float_outputs(inputs.truth.images)
        measure, key = (
            (_accuracy, "accuracy") if inputs.truth.boxes is None else (_mean_precision, "mean_average_precision")
        )
        answers[key] = {
            "images": len(inputs.truth.images),
            "float": measure(prepared, in_float),
            "vta": measure(prepared, heads),
        }
    return answers


def _accuracy(prepared: Prepared, outputs: list[NDArray[np.float32]]) -> float:
    truth = prepared.inputs.truth
    assert truth is not None
    scores = outputs[0].reshape(len(truth.labels), -1)
    return float((scores.argmax(axis=1) == truth.labels).mean())


def _mean_precision(prepared: Prepared, heads: list[NDArray[np.float32]]) -> float:
    model, truth = prepared.model, prepared.inputs.truth
    assert truth is not None
    assert model.detector is not None
    found = [
        decode_yolo(
            [head[index] for head in heads],
            model.detector.input_hw,
            Placement(1.0, 0, 0),
            model.detector,
            score_threshold=LEAST_COUNTED_SCORE,
        )
        for index in range(len(truth.images))
    ]
    return mean_average_precision(found, *truth.objects(), model.detector.class_names)


def _draw(prepared: Prepared, heads: list[NDArray[np.float32]], folder: Path) -> list[dict[str, Any]]:
    batch, model = prepared.inputs.batch, prepared.model
    assert batch is not None
    assert model.detector is not None
    caption = "" if model.has_meaning else model.weights_note
    drawn = []
    for index, picture in enumerate(batch.pictures[:MOST_SHOWN]):
        own = [head[index] for head in heads]
        found = decode_yolo(own, picture.shape[:2], batch.placements[index], model.detector)
        path = folder / f"boxes-{Path(batch.names[index]).stem}.png"
        write_atomically(path, draw_boxes(picture, found, caption, model.detector))
        drawn.append({"picture": str(path), "boxes": len(found)})
    return drawn


def answer_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return what the model said, as lines of text."""
    lines = [*resumed_line(summary), f"weights     {summary['weights']}"]
    if "host_engine" in summary:
        lines.append(f"host        operators behind the last layer ran in {summary['host_engine']}")
    for index, classes in enumerate(summary.get("classes", [])):
        best = ", ".join(f"{entry['class']} ({entry['probability']:.3f})" for entry in classes)
        lines.append(f"image {index:4}  classes {best}")
    for entry in summary.get("pictures", []):
        lines.append(f"picture     {entry['picture']}: {entry['boxes']} box{'' if entry['boxes'] == 1 else 'es'}")
    if "accuracy" in summary:
        accuracy = summary["accuracy"]
        lines.append(
            f"accuracy    float {100 * accuracy['float']:.2f} %, VTA int8 {100 * accuracy['vta']:.2f} % "
            f"on {accuracy['images']} held-out images"
        )
    if "mean_average_precision" in summary:
        precision = summary["mean_average_precision"]
        lines.append(
            f"mAP({OVERLAP})    float {100 * precision['float']:.2f} %, VTA int8 {100 * precision['vta']:.2f} % "
            f"on {precision['images']} held-out images"
        )
    return lines
