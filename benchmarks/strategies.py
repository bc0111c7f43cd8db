"""Every strategy on 1 to 12 boards: throughput, latency and share of the ideal, all modelled.

    python benchmarks/strategies.py [--model resnet18] [--cluster zynq12] [--images 96] [--json]
    python benchmarks/strategies.py --objective latency --images 1

Nothing is measured here but the planner's own time: the figures are predictions, which a run in
virtual time repeats exactly. Stages are compiled for each number of boards, so a first start takes
minutes; a second one reads the program cache.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time

from rich.console import Console
from rich.table import Table

from mpi_vta.hw.cluster import Cluster
from mpi_vta.job.planning import open_costs
from mpi_vta.job.ready_model import ready_model
from mpi_vta.runtime.progress import shown_progress
from mpi_vta.schedule.problem import OBJECTIVES, Problem
from mpi_vta.schedule.strategies import AUTO, STRATEGIES, make_plan


def measure(model_name: str, cluster: Cluster, images: int, most: int, objective: str, quiet: bool) -> list[dict]:
    """Return one row per number of boards and strategy."""
    rows = []
    with shown_progress(quiet=quiet) as progress:
        model = ready_model(model_name, seed=0, weights=None)
        costs = open_costs(model.graph, progress)
        for ranks in range(1, most + 1):
            for strategy in (*STRATEGIES, AUTO):
                begun_s, compiled_s = time.perf_counter(), costs.compile_seconds
                plan = make_plan(
                    strategy, Problem(model.graph, cluster.first(ranks), images, costs, objective=objective)
                )
                planner_s = time.perf_counter() - begun_s - (costs.compile_seconds - compiled_s)
                rows.append(
                    {
                        "boards": ranks,
                        "strategy": strategy,
                        "boards_used": len({rank for stage in plan.stages for rank in stage.ranks}),
                        "stages": len(plan.stages),
                        "planner_seconds": planner_s,
                        **plan.predicted,
                    }
                )
    return rows


def check_auto(rows: list[dict], objective: str) -> bool:
    """Return whether auto is never worse than the best strategy."""
    key, sign = OBJECTIVES[objective]
    best: dict[int, float] = {}
    auto: dict[int, float] = {}
    for row in rows:
        found = auto if row["strategy"] == AUTO else best
        found[row["boards"]] = max(found.get(row["boards"], -math.inf), sign * row[key])
    return all(auto[boards] >= best[boards] for boards in best)


def print_table(title: str, rows: list[dict]) -> None:
    table = Table(title=title)
    for name in (
        "boards",
        "strategy",
        "used",
        "stages",
        "images/s",
        "steady",
        "p50 ms",
        "p99 ms",
        "speed-up",
        "ideal %",
    ):
        table.add_column(name, justify="left" if name == "strategy" else "right")
    for row in rows:
        table.add_row(
            str(row["boards"]),
            row["strategy"],
            str(row["boards_used"]),
            str(row["stages"]),
            f"{row['throughput_images_per_s']:.2f}",
            f"{row['steady_images_per_s']:.2f}" if "steady_images_per_s" in row else "-",
            f"{row['latency_ms']:.2f}",
            f"{row['latency_p99_ms']:.2f}",
            f"{row['speedup']:.2f}",
            f"{100 * row['ideal_fraction']:.1f}",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--cluster", default="zynq12")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--boards", type=int, help="up to so many (default: the cluster's, at most 12)")
    parser.add_argument("--objective", default="throughput", choices=OBJECTIVES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cluster = Cluster.load(options.cluster)
    most = options.boards or min(len(cluster.boards), 12)
    rows = measure(options.model, cluster, options.images, most, options.objective, options.json)
    never_below = check_auto(rows, options.objective)
    if options.json:
        print(
            json.dumps({"model": options.model, "cluster": cluster.name, "rows": rows, "auto_never_below": never_below})
        )
    else:
        title = f"{options.model} on {cluster.name}, {options.images} images, for {options.objective}: all modelled"
        print_table(title, rows)
        print(f"slowest planning {max(row['planner_seconds'] for row in rows):.3f} s (measured, without compiling)")
        print(f"auto never below the best strategy: {'yes' if never_below else 'NO'}")
    return 0 if never_below else 1


if __name__ == "__main__":
    sys.exit(main())
