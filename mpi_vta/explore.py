"""``python -m mpi_vta.explore``: many jobs planned and predicted over all ranks, into one file that can be resumed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpi_vta.errors import ConfigError, InputError
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.targets import FASTEST_MHZ
from mpi_vta.job.provenance import versions_and_argv
from mpi_vta.job.ready_model import ready_model
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.runtime.progress import Progress, shown_progress
from mpi_vta.standard_output import reader_may_leave
from mpi_vta.study.builds import builds_of
from mpi_vta.study.builds_table import JUDGES, print_builds
from mpi_vta.study.experiment import Experiment
from mpi_vta.study.page import write_page
from mpi_vta.study.points import Point, points_of
from mpi_vta.study.results import Results
from mpi_vta.study.sweep import Sweep, over_all_ranks
from mpi_vta.study.table import print_study
from mpi_vta.text_table import counted
from mpi_vta.trace.study_file import Study, read_study
from mpi_vta.trace.study_rows import PointRow

# In a log, a line about the progress at most so often
_LINE_INTERVAL_S = 30.0


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.explore", description=__doc__, allow_abbrev=False)
    parser.add_argument("experiment", type=Path, nargs="?", help="experiment file (TOML), see docs/experiments.md")
    parser.add_argument("-o", "--output", type=Path, help="result file (default: out/study-NAME.h5)")
    parser.add_argument("--fresh", action="store_true", help="compute every point anew, whatever the result file holds")
    parser.add_argument("--list", action="store_true", help="print the points and stop")
    parser.add_argument("--print", action="store_true", help="print the tables of the result file and stop")
    parser.add_argument("--json", action="store_true", help="print a summary as JSON and nothing else")
    parser.add_argument("--builds", metavar="PART", help="print which VTA builds fit an FPGA, and why others do not")
    parser.add_argument(
        "--report",
        nargs="+",
        type=Path,
        metavar=("PAGE", "RESULT"),
        help="write a Markdown page, with pictures, about complete result files",
    )
    parser.add_argument(
        "--core", choices=tuple(JUDGES), help="for --builds: VTA's HLS source or this project's own core (default: hls)"
    )
    parser.add_argument("--synthesize", action="store_true", help="with --core own: yosys counts the roomiest builds")
    parser.add_argument("--clock-mhz", type=float, help="clock for --builds (default: the published bitstreams')")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this rank; return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    return over_all_ranks(lambda sweep: _explore(sweep, arguments))


def _explore(sweep: Sweep, arguments: Sequence[str]) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    if [options.experiment, options.builds, options.report].count(None) != 2:
        parser.error("give an experiment file, or --builds PART, or --report PAGE RESULT")
    if options.clock_mhz is not None and options.builds is None:
        parser.error("--clock-mhz goes with --builds")
    if options.core is not None and options.builds is None:
        parser.error("--core goes with --builds")
    if options.synthesize and options.core != "own":
        parser.error("--synthesize goes with --builds PART --core own")
    if options.builds is not None:
        _print_builds(options)
    elif options.report is not None:
        _report(*options.report)
    else:
        _study(sweep, options)
    return 0


def _study(sweep: Sweep, options: argparse.Namespace) -> None:
    experiment = Experiment.load(options.experiment)
    path: Path = options.output or Path("out") / f"study-{experiment.name}.h5"
    if options.print:
        study = read_study(path)
    else:
        with shown_progress(quiet=options.json, interval_s=_LINE_INTERVAL_S) as progress:
            # a list of points needs the models only if builds have to be screened for them
            graphs = {} if options.list and experiment.search is None else _graphs(experiment, progress)
            points = points_of(experiment, builds_of(experiment, graphs, progress))
            if options.list:
                _list(points)
                return
            study = _sweep(sweep, options, experiment, graphs, points, path, progress)
    with reader_may_leave():
        if options.json:
            print(json.dumps(_summary(study, path)))
        else:
            print_study(study, sys.stdout)
            print(f"{'read' if options.print else 'written':12}{path}")


def _print_builds(options: argparse.Namespace) -> None:
    part, clock_mhz = load_part(options.builds), options.clock_mhz
    if clock_mhz is None:
        clock_mhz = part.default_clock_mhz
    elif not 1 <= clock_mhz <= FASTEST_MHZ:
        raise ConfigError(f"is {clock_mhz:g}", where="--clock-mhz", allowed=f"a number 1..{FASTEST_MHZ}")
    with reader_may_leave():
        print_builds(part, clock_mhz, sys.stdout, options.core or "hls", options.synthesize)


def _report(page: Path, *results: Path) -> None:
    if not results:
        raise InputError("no result file", where="--report", allowed="a page to write, and one or more results")
    with reader_may_leave():
        for path in write_page(page, results):
            print(f"written     {path}")


def _graphs(experiment: Experiment, progress: Progress) -> dict[str, Graph]:
    graphs: dict[str, Graph] = {}
    for model in dict.fromkeys(model for mix in experiment.models for model in mix):
        progress.phase(f"importing and quantising {model}")
        graphs[model] = ready_model(model, seed=experiment.seed, weights=None).graph
    return graphs


def _sweep(
    sweep: Sweep,
    options: argparse.Namespace,
    experiment: Experiment,
    graphs: dict[str, Graph],
    points: Sequence[Point],
    path: Path,
    progress: Progress,
) -> Study:
    hashes = {model: graph.sha256 for model, graph in graphs.items()}
    attributes = _provenance(options, experiment, hashes)
    results = Results(path, attributes, [point.key(hashes) for point in points])
    if not options.fresh and (dropped := results.resume()):
        progress.phase(f"{counted(dropped, 'row')} of {path} are of other points, or of another version: dropped")
    # a file that cannot be written is found now, not after hours
    results.save()
    missing = results.missing
    have = len(points) - len(missing)
    known = f", {have} of them done before" if have else ""
    progress.phase(f"{experiment.name}: {counted(len(points), 'point')}{known}, on {counted(sweep.ranks, 'rank')}")

    def keep(index: int, row: PointRow) -> None:
        results.add(index, row)
        progress.step(len(points) - len(results.missing), len(points))

    sweep.run(points, missing, graphs, keep)
    return results.save()


def _provenance(options: argparse.Namespace, experiment: Experiment, hashes: dict[str, str]) -> dict[str, Any]:
    """Return where the result comes from; nothing of the machine, so that every run gives the same file."""
    output = () if options.output is None else ("--output", str(options.output))
    return {
        **versions_and_argv(("python", "-m", "mpi_vta.explore", str(options.experiment), *output)),
        "name": experiment.name,
        "experiment": options.experiment.read_text(encoding="utf-8"),
        "seed": experiment.seed,
        "graph_sha256": json.dumps(hashes),
    }


def _list(points: Sequence[Point]) -> None:
    impossible = 0
    with reader_may_leave():
        for point in points:
            try:
                point.built_cluster()
            except ConfigError as fault:
                impossible += 1
                print(f"{point.index:6}  {point.title} (not valid: {fault})")
            else:
                print(f"{point.index:6}  {point.title}")
        print(f"{counted(len(points), 'point')}, {impossible} of them known not to be valid before planning")


def _summary(study: Study, path: Path) -> dict[str, Any]:
    return {
        "name": study.attributes["name"],
        "file": str(path),
        "complete": study.complete,
        "points": len(study.points),
        "valid": sum(row.valid for row in study.points),
        "time": "modelled",
    }


if __name__ == "__main__":
    sys.exit(main())
