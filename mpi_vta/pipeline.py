"""``python -m mpi_vta.pipeline``: a model through import, quantisation, compilation and plan, run over all ranks."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpi_vta.errors import MpiVtaError
from mpi_vta.job.command_line import (
    add_model_options,
    add_plan_options,
    check_share,
    plan_wishes,
    quantize_options,
)
from mpi_vta.job.request import JobRequest
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.runtime.assignment import VIRTUAL, WALL
from mpi_vta.runtime.devices.registry import make_ready
from mpi_vta.runtime.faults.guardian import WATCHDOG_S
from mpi_vta.runtime.progress import Progress, shown_progress
from mpi_vta.runtime.report import print_plan, print_report
from mpi_vta.runtime.session import Leader, RunResult, take_part
from mpi_vta.schedule.figures import group_count
from mpi_vta.text_table import counted, print_lines

if TYPE_CHECKING:
    from mpi_vta.job.prepare import Opened, Prepared

PROG = "mpi_vta.pipeline"


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(PROG, description=__doc__, allow_abbrev=False)
    add_model_options(parser, several=True)
    parser.add_argument("--images", help="number of images, a picture, a folder of pictures, or an .npy file of inputs")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="DIR|CSV|JSON",
        help="what the pictures show: a folder per class, rows of file and class, or COCO's JSON",
    )
    parser.add_argument(
        "--save-preprocess", action="store_true", help="write how pictures become inputs beside the model, net.toml"
    )
    add_plan_options(parser)
    parser.add_argument(
        "--device",
        default="sim",
        help="sim, timing (cycles only), rtl (our own core, Verilated) or pynq (default: %(default)s)",
    )
    parser.add_argument(
        "--clock",
        choices=(VIRTUAL, WALL),
        default=VIRTUAL,
        help="virtual: modelled times; wall: measured ones, launches of simulated boards held for their modelled time",
    )
    parser.add_argument("--bitstream", default="", help="bitstream file on every board, for --device pynq")
    parser.add_argument("--output", type=Path, help="folder for run.h5, summary.json and pictures")
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="go on with the job that ended early in this output folder"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON and nothing else")
    parser.add_argument("--explain", action="store_true", help="list each node, VTA or host and why, and stop")
    parser.add_argument("--dry-run", action="store_true", help="plan, write the plan, and stop")
    parser.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        help="a checksum on every message between ranks (default: for --device sim)",
    )
    _add_watchdog_option(parser)
    return parser


def _add_watchdog_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watchdog-s",
        type=float,
        default=WATCHDOG_S,
        help="seconds within which a fault has ended the job, 0 to look for none (default: %(default)g)",
    )


def watchdog_s(argv: Sequence[str]) -> float:
    """Return what the options say of the watchdog, which every rank needs before rank 0 has read the others.

    What is wrong with it is for rank 0 to say: then the default holds.
    """
    parser = OneLineParser(PROG, add_help=False, allow_abbrev=False)
    _add_watchdog_option(parser)
    try:
        options, _ = parser.parse_known_args(argv)
    except MpiVtaError:
        return WATCHDOG_S
    limit_s: float = options.watchdog_s
    return limit_s if math.isfinite(limit_s) and limit_s >= 0 else WATCHDOG_S


def parse(argv: Sequence[str]) -> JobRequest:
    """Return the request that the options state; raises `InputError` for wrong ones."""
    options = build_parser().parse_args(argv)
    check_share(options)
    wanted = {name: value for name, value in vars(options).items() if name in JobRequest.__dataclass_fields__}
    wanted["models"] = tuple(options.models)
    return JobRequest(
        argv=tuple(argv), wishes=plan_wishes(options), quantize_options=quantize_options(options), **wanted
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this rank; return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    return take_part(lambda leader: _lead(leader, arguments), watchdog_s(arguments))


def _lead(leader: Leader, arguments: Sequence[str]) -> int:
    # only rank 0 prepares: the other ranks start faster, and a board need not have what this imports
    from mpi_vta.job.prepare import prepare, to_run
    from mpi_vta.job.results import conclude, open_run

    request = parse(arguments)
    if request.explain:
        return _explain(request)
    with shown_progress(quiet=request.json) as progress:
        models = prepare(request, leader.ranks, progress)
        running = to_run(models)
        if request.dry_run:
            for model in running:
                _show_plan(model)
            if not running and not request.json:
                print("nothing left to run")
            return 0
        results: Sequence[RunResult] = ()
        if running:
            builds = dict.fromkeys(config for model in running for config in model.job.cluster.configs)
            make_ready(request.device, tuple(builds), progress.phase)
            _show_start(running, leader.ranks, progress)
            open_run(request, running)
            results = leader.run([model.job for model in running], _count_groups(running, progress))
        summary = conclude(request, models, results)
    if request.json:
        print(json.dumps(summary))
    else:
        _show(summary, models, request)
    return 0


def _show_start(running: Sequence[Prepared], ranks: int, progress: Progress) -> None:
    for model in running:
        if model.model.warning:
            progress.phase(f"warning: {model.model.warning}")
        for work in model.host_work:
            progress.phase(f"on the host: {work.name} ({work.op})")
    images = running[0].job.images
    what = counted(images, "image") if len(running) == 1 else f"{len(running)} models"
    progress.phase(f"running {what} on {counted(ranks, 'rank')}")


def _count_groups(running: Sequence[Prepared], progress: Progress) -> Callable[[], None]:
    """Return what shows a model's headway; none for several, as rank 0 learns of one only."""
    if len(running) > 1:
        return lambda: None
    job = running[0].job
    groups, total = count(1), group_count(job.images, job.plan.group_images)
    return lambda: progress.step(next(groups), total)


def _show(summary: Mapping[str, Any], models: Sequence[Opened], request: JobRequest) -> None:
    from mpi_vta.job.prepare import to_run
    from mpi_vta.job.results import answer_lines, write_pages

    for model in summary["models"]:
        if len(models) > 1:
            ranks = ", ".join(map(str, model["on_ranks"]))
            print(f"{model['name']}: {f'on ranks {ranks} of the job' if ranks else 'without a board'}")
        if model["images"]:
            print_report(model, summary["time"], sys.stdout)
        else:
            print(f"nothing left to run; outputs sha256 {model['output_sha256']}")
        print_lines(answer_lines(model), sys.stdout)
    print(f"written     {request.folder}")
    if ran := to_run(models):
        for path in write_pages(request, ran):
            print(f"report      {path}")


def _explain(request: JobRequest) -> int:
    """List the nodes of every model."""
    from mpi_vta.job.explain import places_as_json, print_places
    from mpi_vta.job.prepare import open_model

    listed = []
    with shown_progress(quiet=request.json) as progress:
        for asked in request.models:
            model = open_model(request, asked, progress)
            listed.append((model.name, model.places))
    if request.json:
        print(json.dumps({"models": [places_as_json(*entry) for entry in listed]}))
        return 0
    for entry in listed:
        print_places(*entry, sys.stdout)
    return 0


def _show_plan(prepared: Prepared) -> None:
    plan, request = prepared.job.plan, prepared.request
    path = request.folder / ("plan.json" if len(request.models) == 1 else f"plan-{prepared.label}.json")
    plan.save(path)
    if request.json:
        print(plan.to_json(), end="")
    else:
        print_plan(plan, prepared.job.cluster, sys.stdout, prepared.job.ranks)
        print(f"written     {path}")


if __name__ == "__main__":
    sys.exit(main())
