"""From what a run left at rank 0 to files and answers: trace, summary, pictures, classes, accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mpi_vta.disk import write_json
from mpi_vta.job.answers import answers, lines_of_answers
from mpi_vta.job.model_list import save_labels
from mpi_vta.job.prepare import Opened, Prepared, to_run
from mpi_vta.job.provenance import versions_and_argv
from mpi_vta.job.request import JobRequest
from mpi_vta.job.resumption import clear, forget_ranks, keep_earlier_trace, keep_last_trace, resumed_line
from mpi_vta.job.summary import job_summary
from mpi_vta.plans.network import NetworkModel
from mpi_vta.runtime.assignment import WALL
from mpi_vta.runtime.output_set import OutputSet
from mpi_vta.runtime.report import output_sha256, summarize
from mpi_vta.runtime.session import RunResult
from mpi_vta.trace.merge import merge
from mpi_vta.trace.reader import read
from mpi_vta.trace.repair import ModelOpening, Opening
from mpi_vta.trace.run import Run
from mpi_vta.trace.schema import MEASURED, MODELLED


def open_run(request: JobRequest, models: Sequence[Prepared]) -> None:
    """Leave in the output folder what ``trace merge`` and ``--resume`` need if the job of these models ends early."""
    folder, part = request.folder, models[0].remainder.part
    models[0].held.check()
    places = [model.remainder.outputs for model in models if model.remainder.outputs is not None]
    if part is None:
        clear(folder)
    else:
        keep_earlier_trace(folder, part)
        for place in places:
            # one of several models that the earlier runs did not come to: its first rank only goes on with outputs
            if not place.exists():
                OutputSet.begin(place).close()
    _opening(request, models).save(folder)
    if part is None and places:
        save_labels(folder, [model.label for model in models])


def _opening(request: JobRequest, models: Sequence[Prepared]) -> Opening:
    openings = tuple(
        ModelOpening(model.job.plan.to_json(), model.job.images, model_provenance(model)) for model in models
    )
    return Opening(sum(len(model.job.ranks) for model in models), provenance_of(request, models), openings)


def conclude(request: JobRequest, models: Sequence[Opened], results: Sequence[RunResult]) -> dict[str, Any]:
    """Write ``run.h5``, ``summary.json`` and the pictures, and return the summary.

    The trace is read back from the file for the figures, so what is printed is what is on disk.

    Parameters
    ----------
    request : JobRequest
        What was asked for.
    models : sequence of Opened
        All models of the job.
    results : sequence of RunResult
        Of those that were run, in their order.

    Returns
    -------
    dict
        See `mpi_vta.job.summary`.
    """
    folder, ran = request.folder, to_run(models)
    models[0].held.check()
    runs: tuple[Run, ...] = ()
    if ran:
        runs = _conclude_run(request, ran, results)
    else:
        keep_last_trace(folder)
    found = {
        model.label: _summary_of(model, result, run) for model, result, run in zip(ran, results, runs, strict=True)
    }
    summary = job_summary(
        [found.get(model.label) or _summary_without_run(model) for model in models],
        runs,
        time=_time_word(request),
        device=request.device,
        wall_s=max((report["wall_s"] for result in results for report in result.rank_reports), default=None),
    )
    models[0].held.check()
    if ran or not (folder / "summary.json").exists():
        write_json(folder / "summary.json", summary, "the summary")
    return summary


def _conclude_run(request: JobRequest, ran: Sequence[Prepared], results: Sequence[RunResult]) -> tuple[Run, ...]:
    """Write ``run.h5``; return each model's part of it."""
    folder, pairs = request.folder, list(zip(ran, results, strict=True))
    hashes = [
        "" if result.outputs is None else output_sha256(result.outputs, model.model.graph.outputs)
        for model, result in pairs
    ]
    files = {
        rank: data for model, result in pairs for rank, data in zip(model.job.ranks, result.rank_files, strict=True)
    }
    record = _opening(request, ran).record(
        [result.times for result in results], [{"output_sha256": hashed} for hashed in hashes]
    )
    merge(folder / "run.h5", [files[rank] for rank in sorted(files)], record)
    forget_ranks(folder)
    trace = read(folder / "run.h5")
    return tuple(Run(trace, number) for number in range(len(ran)))


def _summary_without_run(opened: Opened) -> dict[str, Any]:
    """Return the summary of a model whose images all had their outputs, without times; write its pictures."""
    model, outputs = opened.model, opened.remainder.outputs
    assert outputs is not None, "only a job with data is gone on with"
    with OutputSet(outputs) as whole:
        arrays = whole.whole_arrays()
        return {
            "name": opened.label,
            "model": model.name,
            "on_ranks": [],
            "images": 0,
            "resumed": opened.remainder.summary(),
            "weights": model.weights_note,
            "output_sha256": output_sha256(arrays, model.graph.outputs),
            **answers(opened, arrays),
        }


def _summary_of(prepared: Prepared, result: RunResult, run: Run) -> dict[str, Any]:
    """Return the summary of a model's run, after writing its pictures."""
    model = prepared.model
    summary = summarize(
        run,
        host_ops=[asdict(work) for work in prepared.host_work],
        outputs=result.outputs,
        output_order=model.graph.outputs,
    )
    summary |= {
        "weights": model.weights_note,
        "planner_alternative": prepared.planner_alternative,
        "resumed": prepared.remainder.summary(),
    }
    if result.outputs is not None:
        summary |= answers(prepared, result.outputs)
    return summary


def write_pages(request: JobRequest, ran: Sequence[Prepared]) -> list[Path]:
    """Write ``report.html`` into the folder of each model that a job ran, from its trace; return the paths."""
    from mpi_vta.trace.report import write_report

    trace = read(request.folder / "run.h5")
    paths = [model.folder / "report.html" for model in ran]
    for number, path in enumerate(paths):
        write_report(Run(trace, number), path)
    return paths


def provenance_of(request: JobRequest, models: Sequence[Prepared]) -> dict[str, Any]:
    """Return where a job's results come from, as attributes of the trace, JSON-able."""
    # the models' clusters are parts of the job's, and their images the same part of it
    cluster, part = models[0].job.cluster, models[0].remainder.part
    return {
        **versions_and_argv(("mpi_vta.pipeline", *request.argv)),
        "time": _time_word(request),
        "device": request.device,
        "cluster": cluster.name,
        "seed": request.seed,
        "network": json.dumps(asdict(NetworkModel.of(cluster))),
        "network_power": json.dumps(asdict(cluster.power)),
        **({} if part is None else {"part": part}),
    }


def model_provenance(prepared: Prepared) -> dict[str, Any]:
    """Return where a model's results come from, as attributes of its group in the trace, JSON-able."""
    job, model = prepared.job, prepared.model
    programs = {stage: program.sha256 for (stage, _), program in sorted(job.programs.items(), reverse=True)}
    return {
        "name": prepared.label,
        "ranks": list(job.ranks),
        "model": model.name,
        "strategy": job.plan.strategy,
        "graph_sha256": model.graph.sha256,
        "program_sha256": [programs[stage] for stage in sorted(programs)],
        **prepared.remainder.provenance(),
    }


def _time_word(request: JobRequest) -> str:
    return MEASURED if request.clock == WALL else MODELLED


def answer_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return what the model said, as lines of text."""
    lines = [*resumed_line(summary), f"weights     {summary['weights']}"]
    return lines + lines_of_answers(summary)
