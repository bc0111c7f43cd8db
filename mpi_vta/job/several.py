"""Several models at the same time: boards shared out, one run, one trace, one summary."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpi_vta.disk import write_atomically
from mpi_vta.errors import InputError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.job.planning import PlanWishes, open_costs
from mpi_vta.job.prepare import Prepared, open_cluster, open_model, prepare_on
from mpi_vta.job.request import Request
from mpi_vta.job.results import provenance_of, summary_of
from mpi_vta.job.resumption import clear, forget_ranks
from mpi_vta.runtime.progress import Progress
from mpi_vta.runtime.report import output_sha256
from mpi_vta.runtime.session import RunResult
from mpi_vta.schedule.assembly import one_board_ns
from mpi_vta.schedule.cost import CompiledCosts
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.sharing import Demand, parse_shares, share_boards
from mpi_vta.trace.merge import merge
from mpi_vta.trace.reader import read
from mpi_vta.trace.repair import ModelOpening, Opening


def labels_of(models: Sequence[str]) -> tuple[str, ...]:
    """Return a name of its own for each model: file names without suffix, numbered where they are the same."""
    stems = [Path(model).stem for model in models]
    total, seen = Counter(stems), Counter[str]()
    labels = []
    for stem in stems:
        seen[stem] += 1
        labels.append(f"{stem}-{seen[stem]}" if total[stem] > 1 else stem)
    return tuple(labels)


def check_wishes(wishes: PlanWishes, *, weights: Path | None, resume: Path | None = None) -> None:
    """Refuse what cannot be said of several models at once.

    Raises
    ------
    InputError
        If an option is for one model only.
    """
    single = {
        "--stages": wishes.stages,
        "--boards": wishes.boards,
        "--cut": wishes.by_hand.cut,
        "--allocate": wishes.by_hand.allocate,
        "--plan": wishes.file,
        "--weights": weights,
        "--resume": resume,
    }
    given = [name for name, value in single.items() if value]
    if given:
        raise InputError("it is for one model", where=given[0], remedy="run one model, or leave it out")


def share_cluster(
    costs: Sequence[CompiledCosts], labels: Sequence[str], cluster: Cluster, share: str | None
) -> tuple[tuple[int, ...], ...]:
    """Return each model's ranks: equal throughput as far as boards allow, or the parts that `share` says.

    A model's throughput is taken to be the sum of what each of its boards would do alone with the whole model,
    by the models' `costs`.

    Raises
    ------
    PlanError
        If there are not enough boards, or `share` is wrong.
    """
    parts = None if share is None else parse_shares(share, labels)
    demands = []
    for cost, label in zip(costs, labels, strict=True):
        problem = Problem(cost.graph, cluster, 1, cost)
        rates = {
            board: problem.layout_config.batch * 1e9 / one_board_ns(problem, rank)
            for rank, board in enumerate(cluster.boards)
        }
        # with given parts, what counts is the part of the throughput that all boards would give the model
        everything = sum(rates[board] for board in cluster.boards)
        demands.append(Demand(label, rates, 1.0 if parts is None else parts[label] * everything))
    return share_boards(cluster, demands)


def part_of(cluster: Cluster, ranks: Sequence[int]) -> Cluster:
    """Return some boards of a cluster as a cluster of their own."""
    return replace(cluster, boards=tuple(cluster.boards[rank] for rank in ranks))


def prepare_several(request: Request, ranks: int, progress: Progress) -> tuple[Prepared, ...]:
    """Make every model of a request ready on boards of its own; see `mpi_vta.job.prepare.prepare`."""
    check_wishes(request.wishes, weights=request.weights, resume=request.resume)
    cluster = open_cluster(request, ranks)
    # all ranks leave their traces in the same folder
    requests = [replace(request, model=model, output=request.folder, models=()) for model in request.models]
    models = [open_model(single, progress) for single in requests]
    costs = [open_costs(model.graph, progress) for model in models]
    division = share_cluster(costs, labels_of(request.models), cluster, request.share)
    return tuple(
        prepare_on(single, model, part_of(cluster, mine), progress, mine, label)
        for single, model, mine, label in zip(requests, models, division, labels_of(request.models), strict=True)
    )


def open_several(request: Request, prepared: Sequence[Prepared]) -> None:
    """Leave beside the ranks' files what ``trace merge`` needs if the job ends early."""
    clear(request.folder, [single.remainder.outputs for single in prepared if single.remainder.outputs is not None])
    _opening(request, prepared).save(request.folder)


def _opening(request: Request, prepared: Sequence[Prepared]) -> Opening:
    labels = labels_of(request.models)
    models = tuple(
        ModelOpening(single.job.plan.to_json(), single.job.images, attributes_of(single, label))
        for label, single in zip(labels, prepared, strict=True)
    )
    ranks = sum(len(single.job.ranks) for single in prepared)
    provenance = {**provenance_of(prepared[0]), "models": list(labels)}
    return Opening(models[0].plan_json, ranks, models[0].images, provenance, models)


def attributes_of(prepared: Prepared, label: str) -> dict[str, Any]:
    """Return what a trace says of one of several models in the place of what it says of the first, JSON-able."""
    own = ("model", "strategy", "graph_sha256", "program_sha256")
    found = provenance_of(prepared)
    return {"name": label, "ranks": list(prepared.job.ranks), **{name: found[name] for name in own}}


def conclude_several(request: Request, prepared: Sequence[Prepared], results: Sequence[RunResult]) -> dict[str, Any]:
    """Write one ``run.h5``, ``summary.json`` and the pictures of all models, and return the summary."""
    folder, labels = request.folder, labels_of(request.models)
    hashes = [
        "" if result.outputs is None else output_sha256(result.outputs, single.model.graph.outputs)
        for single, result in zip(prepared, results, strict=True)
    ]
    files = {
        rank: data
        for single, result in zip(prepared, results, strict=True)
        for rank, data in zip(single.job.ranks, result.rank_files, strict=True)
    }
    opening = _opening(request, prepared)
    record = opening.record([result.times for result in results], [{"output_sha256": hashed} for hashed in hashes])
    merge(folder / "run.h5", [files[rank] for rank in sorted(files)], record)
    forget_ranks(folder)
    trace = read(folder / "run.h5")
    summaries = [
        {
            **summary_of(single, result, trace.of_model(number), folder / labels[number]),
            "name": labels[number],
            "on_ranks": list(single.job.ranks),
        }
        for number, (single, result) in enumerate(zip(prepared, results, strict=True))
    ]
    summary = {"ranks": len(files), "time": opening.provenance["time"], "models": summaries}
    write_atomically(folder / "summary.json", (json.dumps(summary, indent=2) + "\n").encode(), "the summary")
    return summary
