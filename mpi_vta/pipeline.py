"""``python -m mpi_vta.pipeline``: a model through import, quantisation, compilation and plan, run over all ranks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from mpi_vta.job.command_line import (
    add_model_options,
    add_plan_options,
    check_share,
    plan_wishes,
    quantize_options,
)
from mpi_vta.job.request import Request
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.runtime.assignment import VIRTUAL, WALL
from mpi_vta.runtime.progress import shown_progress
from mpi_vta.runtime.report import print_plan, print_report
from mpi_vta.runtime.session import Leader, take_part
from mpi_vta.schedule.figures import group_count

if TYPE_CHECKING:
    from mpi_vta.job.prepare import Prepared

DEFAULT_WATCHDOG_S = 10.0


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.pipeline", description=__doc__, allow_abbrev=False)
    add_model_options(parser, several=True)
    parser.add_argument("--images", help="number of images, a picture, or a folder of pictures")
    add_plan_options(parser)
    parser.add_argument("--device", default="sim", help="sim, timing (cycles only) or pynq (default: %(default)s)")
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
    parser.add_argument("--verify", action="store_true", help="a checksum on every message between ranks")
    parser.add_argument(
        "--watchdog-s",
        type=float,
        default=DEFAULT_WATCHDOG_S,
        help="seconds within which a fault has ended the job, 0 to look for none (default: %(default)g)",
    )
    return parser


def parse(argv: Sequence[str]) -> Request:
    """Return the request that the options state; raises `InputError` for wrong ones."""
    options = build_parser().parse_args(argv)
    check_share(options)
    wanted = {name: value for name, value in vars(options).items() if name in Request.__dataclass_fields__}
    first, *others = options.model
    wanted |= {"model": first, "models": (first, *others) if others else ()}
    return Request(argv=tuple(argv), wishes=plan_wishes(options), quantize_options=quantize_options(options), **wanted)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this rank; return its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    return take_part(lambda leader: _lead(leader, arguments))


def _lead(leader: Leader, arguments: Sequence[str]) -> int:
    # only rank 0 prepares: the other ranks start faster, and a board need not have what this imports
    from mpi_vta.job.prepare import prepare
    from mpi_vta.job.results import answer_lines, conclude, open_run, write_page

    request = parse(arguments)
    if request.explain:
        return _explain(request)
    if request.models:
        return _lead_several(leader, request)
    with shown_progress(quiet=request.json) as progress:
        prepared = prepare(request, leader.ranks, progress)
        if request.dry_run:
            return _show_plan(prepared)
        if prepared.remainder.is_nothing:
            return _show_outputs(prepared)
        job = prepared.job
        for work in prepared.host_work:
            progress.phase(f"on the host: {work.name} ({work.op})")
        groups = count(1)
        total = group_count(job.images, job.plan.group_images)
        progress.phase(
            f"running {job.images} image{'s' * (job.images > 1)} on {leader.ranks} rank{'s' * (leader.ranks > 1)}"
        )
        open_run(prepared)
        result = leader.run(job, lambda: progress.step(next(groups), total))
        summary = conclude(prepared, result)
    if request.json:
        print(json.dumps(summary))
    else:
        print_report(summary, sys.stdout)
        print("\n".join([*answer_lines(summary), f"written     {request.folder}"]))
        print(f"report      {write_page(request.folder)}")
    return 0


def _show_outputs(prepared: Prepared) -> int:
    from mpi_vta.job.results import answer_lines, conclude_without_run

    summary = conclude_without_run(prepared)
    if prepared.request.json:
        print(json.dumps(summary))
    else:
        print(f"nothing left to run; outputs sha256 {summary['output_sha256']}")
        print("\n".join([*answer_lines(summary), f"written     {prepared.request.folder}"]))
    return 0


def _lead_several(leader: Leader, request: Request) -> int:
    from mpi_vta.job.results import answer_lines
    from mpi_vta.job.several import conclude_several, labels_of, open_several, prepare_several

    with shown_progress(quiet=request.json) as progress:
        prepared = prepare_several(request, leader.ranks, progress)
        if request.dry_run:
            for label, single in zip(labels_of(request.models), prepared, strict=True):
                _show_plan(single, f"plan-{label}.json")
            return 0
        progress.phase(f"running {len(prepared)} models on {leader.ranks} ranks")
        open_several(request, prepared)
        results = leader.run_all([single.job for single in prepared])
        summary = conclude_several(request, prepared, results)
    if request.json:
        print(json.dumps(summary))
        return 0
    for single_summary in summary["models"]:
        print(f"{single_summary['name']}: on ranks {', '.join(map(str, single_summary['on_ranks']))} of the job")
        print_report(single_summary, sys.stdout)
        print("\n".join(answer_lines(single_summary)))
    print(f"written     {request.folder}")
    return 0


def _explain(request: Request) -> int:
    """List the nodes of every model."""
    from mpi_vta.job.explain import places_as_json, print_places
    from mpi_vta.job.prepare import open_model

    listed = []
    with shown_progress(quiet=request.json) as progress:
        for name in request.models or (request.model,):
            model = open_model(replace(request, model=name), progress)
            listed.append((model.name, model.places))
    if request.json:
        print(
            json.dumps([places_as_json(*entry) for entry in listed] if request.models else places_as_json(*listed[0]))
        )
        return 0
    for entry in listed:
        print_places(*entry, sys.stdout)
    return 0


def _show_plan(prepared: Prepared, name: str = "plan.json") -> int:
    plan, folder = prepared.job.plan, prepared.request.folder
    plan.save(folder / name)
    if prepared.request.json:
        print(plan.to_json(), end="")
    else:
        print_plan(plan, prepared.job.cluster, sys.stdout)
        print(f"written     {folder / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
