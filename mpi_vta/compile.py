"""``python -m mpi_vta.compile``: a model compiled for one VTA configuration, layer by layer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mpi_vta.codegen.program import Program
from mpi_vta.codegen.report import ModelReport, model_report
from mpi_vta.codegen.roofline import draw_roofline
from mpi_vta.hw.board import Board
from mpi_vta.hw.cluster import Cluster
from mpi_vta.job.chosen_weights import check_words, weights_file
from mpi_vta.job.command_line import (
    add_model_options,
    load_named_config,
    quantize_options,
    run_on_rank_0,
)
from mpi_vta.job.explain import places_as_json, print_places
from mpi_vta.job.planning import open_costs
from mpi_vta.job.ready_model import ReadyModel, ready_model
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.runtime.progress import shown_progress
from mpi_vta.simulator.checks import check_program
from mpi_vta.simulator.profile import RTL
from mpi_vta.text_table import counted, print_lines, print_table


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.compile", description=__doc__, allow_abbrev=False)
    add_model_options(parser)
    parser.add_argument("--explain", action="store_true", help="list each node, VTA or host and why, and stop")
    parser.add_argument("--json", action="store_true", help="print the layers as JSON and nothing else")
    parser.add_argument("--check", action="store_true", help="check the portable subset and look for races")
    parser.add_argument("--plot", type=Path, help="draw the roofline to this picture file")
    parser.add_argument("-o", "--output", type=Path, help="write the program to this file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on rank 0; return its exit status."""
    return run_on_rank_0(_run, argv)


def _run(arguments: Sequence[str]) -> int:
    options = build_parser().parse_args(arguments)
    board = Cluster.default(1, load_named_config(options.config)).boards[0]
    with shown_progress(quiet=options.json) as progress:
        check_words([options.model], options.weights)
        weights = weights_file(options.model, options.weights, progress)
        progress.phase(f"importing and quantising {options.model}")
        model = ready_model(options.model, seed=options.seed, weights=weights, options=quantize_options(options))
        if options.explain:
            return _explain(model, as_json=options.json)
        costs = open_costs(model.graph, progress, model=options.model)
        nodes = tuple(node.name for node in model.graph.nodes)
        (program,) = costs.checked_programs([(nodes, board.config, None)])
        timing = costs.timing(program)
    if options.output is not None:
        program.save(options.output)
    if options.check:
        check_program(program.config, program.link(program.default_bases), program.dram_image())
    report = model_report(model.graph, program, timing.layer_cycles.tolist(), RTL.name, board.clock_mhz)
    if options.plot is not None:
        draw_roofline(report, program.config, options.plot)
    shown = summary(report, program, board)
    if options.json:
        print(json.dumps(shown, indent=2))
        return 0
    _print_table(shown)
    print(f"compiled    in {costs.compile_seconds:.3f} s, cache included")
    if options.check:
        print("checked     portable subset kept, no race, no deadlock, nothing read that was never written")
    for path in (options.output, options.plot):
        if path is not None:
            print(f"written     {path}")
    return 0


def _explain(model: ReadyModel, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(places_as_json(model.name, model.places), indent=2))
    else:
        print_places(model.name, model.places, sys.stdout)
    return 0


def summary(report: ModelReport, program: Program, board: Board) -> dict[str, Any]:
    """Return what ``--json`` prints; cycles and milliseconds are modelled, for one launch."""
    return {
        **report.to_dict(),
        "sha256": program.sha256,
        "instructions": len(program.insns),
        "dram_bytes": program.dram_bytes,
        "host_steps": [f"{step.source} to {step.result}" for step in program.host_steps],
        "images_per_launch": program.config.batch,
        "board": board.name,
    }


def _print_table(shown: dict[str, Any]) -> None:
    heads = ("layer", "op", "schedule", "GEMM uops", "ALU uops", "bytes in", "bytes out", "cycles", "% of bound")
    columns = ("gemm_uops", "alu_uops", "bytes_in", "bytes_out", "cycles")
    rows = [
        (
            layer["name"],
            layer["op"],
            layer["schedule"].split(" slots")[0],
            *(f"{layer[key]:,}" for key in columns),
            f"{100 * layer['bound_fraction']:.1f}",
        )
        for layer in shown["layers"]
    ]
    totals = [sum(layer[key] for layer in shown["layers"]) for key in columns]
    total = ("total", "", "", *(f"{count:,}" for count in totals), f"{100 * shown['bound_fraction']:.1f}")
    title = f"{shown['model']} for {shown['config']}: cycles are modelled"
    print_table(title, heads, rows, sys.stdout, left=heads[:3], total=total)
    images = shown["images_per_launch"]
    lines = [
        f"one launch  {shown['total_cycles']:,} cycles, {shown['total_ms']:.3f} ms at {shown['clock_mhz']:g} MHz on "
        f"{shown['board']} for {counted(images, 'image')} (modelled)",
        *(f"on the host {step} (gathered before each launch)" for step in shown["host_steps"]),
    ]
    print_lines(lines, sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
