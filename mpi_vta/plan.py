"""``python -m mpi_vta.plan``: how a model would be spread over a cluster, and what that would give."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mpi_vta.errors import InputError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.cluster import Cluster, select_cluster
from mpi_vta.job.chosen_weights import check_words, weights_file
from mpi_vta.job.command_line import (
    add_model_options,
    add_plan_options,
    check_share,
    load_named_config,
    plan_wishes,
    quantize_options,
    run_on_rank_0,
    started_ranks,
)
from mpi_vta.job.inputs import check_memory
from mpi_vta.job.pareto_report import pareto_summary, print_pareto
from mpi_vta.job.planning import Planned, open_costs, plan_model
from mpi_vta.job.ready_model import ready_model
from mpi_vta.job.several import check_wishes, labels_of, part_of, share_cluster
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.runtime.progress import Progress, shown_progress
from mpi_vta.runtime.report import print_plan
from mpi_vta.schedule.pareto import find_pareto
from mpi_vta.schedule.problem import Problem
from mpi_vta.text_table import print_lines

IMAGES_PER_BOARD = 8  # by default: enough to deal them evenly, and for filling and draining not to decide


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.plan", description=__doc__, allow_abbrev=False)
    add_model_options(parser, several=True)
    add_plan_options(parser)
    parser.add_argument(
        "--ranks", type=int, help="boards that there are (default: those of mpirun, or of the cluster, or 1)"
    )
    parser.add_argument("--images", type=int, help=f"images of the job (default: {IMAGES_PER_BOARD} a board)")
    parser.add_argument(
        "--pareto",
        action="store_true",
        help="the best plans in throughput, latency and energy over all strategies",
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON and nothing else")
    parser.add_argument("-o", "--output", type=Path, help="write the plan to this file, for pipeline's --plan")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on rank 0; return its exit status."""
    return run_on_rank_0(_run, argv)


def _run(arguments: Sequence[str]) -> int:
    options = build_parser().parse_args(arguments)
    cluster = _cluster(options)
    if options.images is None:
        options.images = IMAGES_PER_BOARD * len(cluster.boards)
    check_memory(options.images)
    check_share(options)
    check_words(options.models, options.weights)
    wishes, quantized = plan_wishes(options), quantize_options(options)
    check_wishes(wishes, options.models, weights=options.weights)
    _check_outcome(options)
    labels = labels_of(options.models)
    with shown_progress(quiet=options.json) as progress:
        graphs = []
        for name in options.models:
            weights = weights_file(name, options.weights, progress)
            progress.phase(f"importing and quantising {name}")
            graphs.append(ready_model(name, seed=options.seed, weights=weights, options=quantized).graph)
        if options.pareto:
            return _show_pareto(options, graphs[0], cluster, progress)
        costs = [open_costs(graph, progress, model=name) for name, graph in zip(options.models, graphs, strict=True)]
        division = share_cluster(costs, labels, cluster, options.share)
        parts = [part_of(cluster, ranks) for ranks in division]
        plans = [
            plan_model(wishes, graph, part, options.images, progress, name)
            for name, graph, part in zip(options.models, graphs, parts, strict=True)
        ]
    if options.output is not None:
        plans[0].plan.save(options.output)
    rows = list(zip(labels, division, plans, parts, strict=True))
    if options.json:
        models = [{"name": label, "on_ranks": ranks, **summary(plan, part)} for label, ranks, plan, part in rows]
        print(json.dumps({"cluster": cluster.name, "ranks": len(cluster.boards), "models": models}, indent=2))
        return 0
    for label, ranks, planned, part in rows:
        if len(rows) > 1:
            print_lines([f"{label}: on ranks {', '.join(map(str, ranks))} of the job"], sys.stdout)
        _print(planned, part, ranks)
    if options.output is not None:
        print(f"written     {options.output}")
    return 0


def _check_outcome(options: argparse.Namespace) -> None:
    """Refuse with `InputError` what can be had of one model only, if there are several."""
    given = ["--pareto"] * options.pareto + ["--output"] * (options.output is not None)
    if given and len(options.models) > 1:
        raise InputError("it is for one model", where=", ".join(given), remedy="plan one model")


def _print(planned: Planned, cluster: Cluster, ranks: Sequence[int]) -> None:
    print_plan(planned.plan, cluster, sys.stdout, ranks)
    compile_s = planned.costs.compile_seconds
    print(f"planner     {planned.planner_s:.3f} s, besides {compile_s:.3f} s of compiling or of reading the cache")


def _show_pareto(options: argparse.Namespace, graph: Graph, cluster: Cluster, progress: Progress) -> int:
    given = [
        name for name in ("strategy", "stages", "boards", "cut", "allocate", "plan", "output") if getattr(options, name)
    ]
    if given:
        raise InputError("it tries every strategy", where="--pareto", remedy=f"leave out --{given[0]}")
    costs = open_costs(graph, progress, model=options.models[0])
    found = find_pareto(Problem(graph, cluster, options.images, costs), lambda done, total: progress.step(done, total))
    if options.json:
        print(json.dumps({"model": graph.name, "cluster": cluster.name, **pareto_summary(found)}, indent=2))
    else:
        print_pareto(f"{graph.name} on {cluster.name}", pareto_summary(found), sys.stdout)
    return 0


def summary(planned: Planned, cluster: Cluster) -> dict[str, Any]:
    """Return a model's plan as ``--json`` prints it; all times are modelled but the two of the planner itself."""
    plan = planned.plan
    stages = [{**asdict(stage), "boards": [cluster.boards[rank].name for rank in stage.ranks]} for stage in plan.stages]
    return {
        "model": plan.model,
        "strategy": plan.strategy,
        "in_flight_groups": plan.in_flight_groups,
        "stages": stages,
        "edges": [asdict(edge) for edge in plan.edges],
        "predicted": dict(plan.predicted),
        "ideal_fraction": plan.predicted["ideal_fraction"],
        "planner_alternative": planned.alternative_figures,
        "planner_seconds": planned.planner_s,
        "compile_seconds": planned.costs.compile_seconds,
        "notes": [str(note) for note in plan.notes],
    }


def _cluster(options: argparse.Namespace) -> Cluster:
    ranks = options.ranks if options.ranks is not None else started_ranks()
    if ranks is None:
        ranks = 1 if options.cluster is None else len(Cluster.load(options.cluster).boards)
    return select_cluster(options.cluster, ranks, load_named_config(options.config))


if __name__ == "__main__":
    sys.exit(main())
