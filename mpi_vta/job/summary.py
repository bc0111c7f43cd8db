"""``summary.json``: what is true of the whole job, and of every model a summary of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpi_vta.artifact import check_version
from mpi_vta.disk import read_text
from mpi_vta.errors import ArtifactError
from mpi_vta.trace.run import Run

FORMAT, VERSION = "mpi_vta summary", 2
_OF_RUN = ("images", "makespan_ms", "throughput_images_per_s", "latency_ms", "wall_s")


def job_summary(
    models: Sequence[Mapping[str, Any]], runs: Sequence[Run], *, time: str, device: str, wall_s: float | None
) -> dict[str, Any]:
    """Return the summary of a job, JSON-able.

    Parameters
    ----------
    models : sequence of mapping
        The summary of every model, in the order of the request.
    runs : sequence of Run
        Those that were run; none if every image had its outputs before.
    time : str
        ``modelled`` or ``measured``.
    device : str
        What every rank ran on.
    wall_s : float or None
        Real seconds of the run; None if nothing was run.
    """
    ranks = {rank for model in models for rank in model["on_ranks"]}
    head = {"format": FORMAT, "version": VERSION, "time": time, "device": device, "ranks": len(ranks)}
    images = sum(len(run.images) for run in runs)
    if not runs:
        return {**head, **dict.fromkeys(_OF_RUN), "images": 0, "models": list(models)}
    makespan_ns = max(int(run.images["end_ns"].max()) for run in runs) - min(run.begin_ns for run in runs)
    worst = {name: max(model["latency_ms"][name] for model in models if model["images"]) for name in ("p50", "p99")}
    figures = (images, makespan_ns / 1e6, images * 1e9 / makespan_ns, worst, wall_s)
    return {**head, **dict(zip(_OF_RUN, figures, strict=True)), "models": list(models)}


def read_summary(path: Path) -> dict[str, Any]:
    """Return what a ``summary.json`` says, an older one in today's form: what it does not say is None.

    Raises
    ------
    ArtifactError
        If it is not there, damaged, or of another version.
    """
    try:
        data = json.loads(read_text(path))
        if "format" not in data:
            return _from_version_1(data)
        found = (data["format"], data["version"])
    except FileNotFoundError as fault:
        raise ArtifactError("no such summary", where=str(path), allowed="a summary.json of the pipeline") from fault
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
        raise ArtifactError(
            f"not a readable summary ({type(fault).__name__})", where=str(path), remedy="run the job again"
        ) from fault
    check_version(found, FORMAT, VERSION, str(path))
    return dict(data)


def _from_version_1(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary from before there were versions: of one model its own, of several a list of them."""
    head = {"format": FORMAT, "version": VERSION, "time": data.get("time")}
    if "models" in data:
        # the figures of the whole job were not stated, and the models' do not add up to them
        models, figures = data["models"], dict.fromkeys(_OF_RUN)
    else:
        ranks = data.get("ranks", 0)
        models = [{"name": data["model"], "on_ranks": list(range(ranks)), **data}]
        figures = {name: data.get(name) for name in _OF_RUN}
        models[0].pop("wall_s", None)
    head |= {"device": models[0].get("device"), "ranks": data.get("ranks", 0)}
    figures["images"] = sum(model["images"] for model in models)
    return {
        **head,
        **figures,
        "models": [{name: value for name, value in model.items() if name not in head} for model in models],
    }
