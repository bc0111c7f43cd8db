"""``python -m mpi_vta.trace``: what a trace says, in numbers, pictures, a page, or for Perfetto."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mpi_vta.command_end import status_of
from mpi_vta.disk import write_picture
from mpi_vta.errors import InputError, about
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.text_table import counted, print_lines
from mpi_vta.trace.figures import QUESTIONS, save_figures
from mpi_vta.trace.reader import read
from mpi_vta.trace.repair import repair
from mpi_vta.trace.run import Run
from mpi_vta.trace.summary import difference_lines, summary_lines, to_json


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.trace", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=OneLineParser)
    summary = commands.add_parser("summary", help="print the figures, the bottleneck, and what each rank waits for")
    summary.add_argument("file", type=Path, help="a run.h5")
    summary.add_argument("--json", action="store_true", help="print JSON")
    plot = commands.add_parser("plot", help="draw figures as PNG")
    plot.add_argument("file", type=Path, help="a run.h5")
    named = "; ".join(f"{name}: {question}" for name, question in QUESTIONS.items())
    plot.add_argument("--figure", action="append", metavar="NAME", help=f"which, all by default. {named}")
    plot.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="folder (default: figures beside the trace)")
    difference = commands.add_parser("diff", help="compare two runs")
    difference.add_argument("first", type=Path, help="a run.h5")
    difference.add_argument("second", type=Path, help="another")
    difference.add_argument("-o", "--output", type=Path, metavar="PNG", help="draw it as well")
    report = commands.add_parser("report", help="write one page of HTML with a zoomable time line")
    report.add_argument("file", type=Path, help="a run.h5")
    report.add_argument(
        "-o", "--output", type=Path, metavar="HTML", help="page (default: report.html beside the trace)"
    )
    export = commands.add_parser("export", help="write a Chrome trace, which Perfetto opens")
    export.add_argument("file", type=Path, help="a run.h5")
    export.add_argument("-o", "--output", type=Path, metavar="JSON", help="file (default: trace.json beside the trace)")
    for one in (summary, plot, report, export):
        one.add_argument("--model", type=int, default=0, metavar="N", help="which of the models (default: 0)")
    merge = commands.add_parser("merge", help="make a trace of the ranks' files of a run that ended early")
    merge.add_argument("folder", type=Path, help="output folder of the run")
    merge.add_argument("--without-missing", action="store_true", help="leave out ranks whose file is lost")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return status_of(lambda: _run(argv), "mpi_vta.trace")


def _run(argv: Sequence[str] | None) -> int:
    options = build_parser().parse_args(argv)
    try:
        _COMMANDS[options.command](options)
    except BrokenPipeError:
        raise
    except OSError as fault:
        raise InputError(fault.strerror or str(fault), where=str(fault.filename), remedy="check the path") from fault
    return 0


def _open(path: Path, model: int = 0) -> Run:
    return Run(read(path), model)


def _summary(options: argparse.Namespace) -> None:
    run = _open(options.file, options.model)
    if options.json:
        print(json.dumps(to_json(run)))
    else:
        print_lines(summary_lines(run), sys.stdout)


def _plot(options: argparse.Namespace) -> None:
    folder = options.output or options.file.parent / "figures"
    print("\n".join(save_figures(_open(options.file, options.model), options.figure or list(QUESTIONS), folder)))


def _difference(options: argparse.Namespace) -> None:
    first, second = _open(options.first), _open(options.second)
    print_lines(difference_lines(first, second), sys.stdout)
    if options.output:
        from mpi_vta.trace.figures.rates import draw_difference

        write_picture(draw_difference(first, second), options.output)
        print(f"written     {options.output}")


def _report(options: argparse.Namespace) -> None:
    from mpi_vta.trace.report import write_report

    path = options.output or options.file.with_name("report.html")
    write_report(_open(options.file, options.model), path)
    print(f"written     {path}")


def _export(options: argparse.Namespace) -> None:
    from mpi_vta.trace.chrome_trace import write_chrome_trace

    path = options.output or options.file.with_name("trace.json")
    write_chrome_trace(_open(options.file, options.model), path)
    print(f"written     {path}")


def _merge(options: argparse.Namespace) -> None:
    with about(options.folder):
        path, missing = repair(options.folder, without_missing=options.without_missing)
    if missing:
        print(f"left out    ranks {', '.join(map(str, missing))}")
    counts = [
        f"{counted(len(model.images), 'finished image')} of {model.attributes['name']}" for model in read(path).models
    ]
    print_lines([f"written     {path}: {', '.join(counts)}"], sys.stdout)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "summary": _summary,
    "plot": _plot,
    "diff": _difference,
    "merge": _merge,
    "export": _export,
    "report": _report,
}


if __name__ == "__main__":
    sys.exit(main())
