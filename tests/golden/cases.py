"""What the compiler, the planner and the job gave when `golden.json` was written, as hashes and a few plain figures.

``make golden`` writes the file anew (minutes; ``make golden ONLY="plan chain"`` the cases of that name alone). Do that
only where a change is meant to change programs, plans or times, and say in the changelog which. Hashes
are of what counts (instructions and constants, stages and messages), not of how a file or a class spells it, so that a
change of names or formats leaves them as they are.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mpi.conftest import BIN, run_command
from schedule_cases import FakeCosts, chain, pooled
from summaries import only_model

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.graph.ir import Graph
from mpi_vta.graph.window import Window
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.job.planning import open_costs
from mpi_vta.job.ready_model import ready_model
from mpi_vta.plans.plan import Plan
from mpi_vta.runtime.progress import Silent
from mpi_vta.schedule.cache import ProgramCache
from mpi_vta.schedule.cost import Costs, time_program
from mpi_vta.schedule.problem import Problem
from mpi_vta.schedule.strategies import STRATEGIES, make_plan
from mpi_vta.trace.reader import read

FILE = Path(__file__).with_name("golden.json")
Facts = dict[str, object]
Case = Callable[[], Facts]

CONFIGS = ("pynq_1x16", "ultra96_1x16", "pynq_4x8", "pynq_1x32", "pynq_2x16")
DEFAULT_NETS = {"digits": CONFIGS, "residual": CONFIGS[:1]}
SLOW_NETS = {
    "residual": CONFIGS[1:],
    **dict.fromkeys(("shapes", "depthwise"), CONFIGS),
    **dict.fromkeys(("resnet18", "yolo"), CONFIGS[:2]),  # minutes each
}
CLUSTERS = ["pynq1", "pynq4", "pynq12", "zynq12", "zynq12_100mbit", "zynq12_256mib", "ultrascale5", "mixed4", "mixed17"]
RUNS = {
    "digits": ("--cluster", "mixed4", "--strategy", "pipeline", "--images", "40"),
    "residual": ("--cluster", "pynq4", "--strategy", "core-assignment", "--images", "8"),
}


def default_cases() -> dict[str, Case]:
    """Return the quick cases: small nets on every configuration, and every cluster and strategy on given costs."""
    cases = _programs(DEFAULT_NETS)
    for cluster in CLUSTERS:
        for strategy in STRATEGIES:
            cases[f"plan chain {cluster} {strategy}"] = _plan_on_given_costs(_chain(), cluster, strategy)
        cases[f"plan pooled {cluster} auto"] = _plan_on_given_costs(pooled(6), cluster, "auto")
    for strategy in STRATEGIES:
        cases[f"plan digits mixed4 {strategy}"] = _plan_compiled("digits", "mixed4", strategy)
    return cases


def run_cases() -> dict[str, Case]:
    """Return the jobs under mpirun."""
    return {f"run {net}": _run(net, options) for net, options in RUNS.items()}


def slow_cases() -> dict[str, Case]:
    """Return nets and configurations that take longer."""
    return _programs(SLOW_NETS)


def recorded() -> dict[str, Facts]:
    """Return what the file holds."""
    found: dict[str, Facts] = json.loads(FILE.read_text())
    return found


def _graph(net: str) -> Graph:
    return ready_model(net, seed=0, weights=None).graph


def _chain() -> Graph:
    return chain(12, {4: 1, 7: 5, 11: 8})


def _programs(nets: Mapping[str, Sequence[str]]) -> dict[str, Case]:
    return {f"program {net} {config}": _program(net, config) for net, configs in nets.items() for config in configs}


def _program(net: str, config: str) -> Case:
    def facts() -> Facts:
        build = VTAConfig.load(find("vta_configs", config, ".json"))
        program = ProgramCache(compile_graph, time_program).program(_graph(net), build)
        digest = hashlib.sha256(program.link(program.default_bases).tobytes())
        digest.update(program.dram_image().tobytes())
        return {"cycles": time_program(program).cycles, "sha256": digest.hexdigest()}

    return facts


def _plan_on_given_costs(graph: Graph, cluster: str, strategy: str) -> Case:
    def facts() -> Facts:
        # from 0.1 to 6 ms a layer at 100 MHz; boards with a wide bus are a little quicker
        cycles = {node.name: 10_000 + 53_000 * (7 * i % 11) for i, node in enumerate(graph.nodes)}
        costs = FakeCosts(graph, cycles, start_cycles=1500, gathered_bytes=3000, memory_bytes=1 << 20)
        return _plan_facts(graph, cluster, strategy, costs)

    return facts


def _plan_compiled(net: str, cluster: str, strategy: str) -> Case:
    def facts() -> Facts:
        graph = _graph(net)
        return _plan_facts(graph, cluster, strategy, open_costs(graph, Silent()))

    return facts


def _plan_facts(graph: Graph, cluster: str, strategy: str, costs: Costs) -> Facts:
    boards = Cluster.load(cluster)
    plan = make_plan(strategy, Problem(graph, boards, 40, costs))
    return {
        "stages": len(plan.stages),
        "boards": len(plan.ranks),
        "throughput_images_per_s": plan.predicted["throughput_images_per_s"],
        "latency_ms": plan.predicted["latency_ms"],
        "sha256": hashlib.sha256(json.dumps(_plan_content(plan)).encode()).hexdigest(),
    }


def _plan_content(plan: Plan) -> list[object]:
    stages = [
        [
            [stage.nodes, stage.ranks, stage.cycles, stage.compute_ns, stage.host_ns, stage.turns, stage.assemble_ns],
            None if stage.part is None else _window(stage.part.share),
            [] if stage.part is None else sorted((value, _window(held)) for value, held in stage.part.holds.items()),
        ]
        for stage in plan.stages
    ]
    edges = [[e.value, e.producer, e.consumer, e.size_bytes, _window(e.window)] for e in plan.edges]
    return [plan.group_images, plan.in_flight_groups, stages, edges]


def _window(window: Window | None) -> list[object] | None:
    return None if window is None else list(astuple(window))


def _run(net: str, options: tuple[str, ...]) -> Case:
    def facts() -> Facts:
        ranks = len(Cluster.load(options[1]).boards)
        with TemporaryDirectory() as name:
            folder = Path(name)
            command = [str(BIN / "mpirun"), "-n", str(ranks), sys.executable, "-m", "mpi_vta.pipeline", "--model", net]
            ended = run_command([*command, *options, "--json", "--output", "out"], 120, {}, folder)
            assert ended.status == 0, ended.stderr
            records = read(folder / "out" / "run.h5").ranks
        times = [np.stack([records[rank].events[name] for name in ("start_ns", "end_ns")]) for rank in sorted(records)]
        return {
            "events": sum(array.shape[1] for array in times),
            "end_ns": max(int(array.max(initial=0)) for array in times),
            "times_sha256": hashlib.sha256(b"".join(array.tobytes() for array in times)).hexdigest(),
            "output_sha256": only_model(ended.stdout)["output_sha256"],
        }

    return facts


def write(only: str) -> None:
    """Compute the cases whose name holds a text, and those that the file lacks, and write the file."""
    cases = {**default_cases(), **run_cases(), **slow_cases()}
    kept = recorded() if FILE.exists() else {}
    wanted = [name for name in cases if only in name or name not in kept]
    for done, name in enumerate(wanted, 1):
        print(f"{done} of {len(wanted)}: {name}", file=sys.stderr, flush=True)
        kept[name] = cases[name]()
        lines = [f"{json.dumps(each)}: {json.dumps(kept[each])}" for each in cases if each in kept]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    write(" ".join(sys.argv[1:]))
