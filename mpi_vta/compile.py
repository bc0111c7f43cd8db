"""``python -m mpi_vta.compile``: a model compiled for one VTA configuration, layer by layer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mpi_vta.codegen.program import Program
from mpi_vta.errors import InputError
from mpi_vta.hw.board import Board
from mpi_vta.hw.cluster import Cluster
from mpi_vta.job.command_line import OneLineParser, add_model_options, load_named_config, run_on_rank_0
from mpi_vta.job.prepare import open_costs
from mpi_vta.job.ready_model import ready_model
from mpi_vta.runtime.progress import shown_progress
from mpi_vta.runtime.report import REPORT_COLUMNS
from mpi_vta.schedule.cache import ProgramTiming


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.compile", description=__doc__, allow_abbrev=False)
    add_model_options(parser)
    parser.add_argument("--json", action="store_true", help="print the layers as JSON and nothing else")
    parser.add_argument("-o", "--output", type=Path, help="write the program to this file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on rank 0; return its exit status."""
    return run_on_rank_0(_run, argv)


def _run(arguments: Sequence[str]) -> int:
    options = build_parser().parse_args(arguments)
    board = Cluster.default(1, load_named_config(options.config)).boards[0]
    with shown_progress(quiet=options.json) as progress:
        progress.phase(f"importing and quantising {options.model}")
        model = ready_model(options.model, seed=options.seed, weights=options.weights)
        costs = open_costs(model.graph, progress)
        program, timing = costs.timed_program(tuple(node.name for node in model.graph.nodes), board.config)
    if options.output is not None:
        _save(program, options.output)
    shown = summary(program, timing, board)
    if options.json:
        print(json.dumps(shown, indent=2))
        return 0
    _print_table(shown)
    print(f"compiled    in {costs.compile_seconds:.3f} s, cache included")
    if options.output is not None:
        print(f"written     {options.output}")
    return 0


def summary(program: Program, timing: ProgramTiming, board: Board) -> dict[str, Any]:
    """Return what ``--json`` prints; cycles and milliseconds are modelled, for one launch."""
    layers = [
        {**asdict(layer), "cycles": cycles}
        for layer, cycles in zip(program.layers, timing.layer_cycles.tolist(), strict=True)
    ]
    return {
        "model": program.name,
        "config": program.config.name,
        "sha256": program.sha256,
        "instructions": len(program.insns),
        "dram_bytes": program.dram_bytes,
        "host_steps": [f"{step.source} to {step.result}" for step in program.host_steps],
        "layers": layers,
        "cycles": timing.cycles,
        "images_per_launch": program.config.batch,
        "board": board.name,
        "clock_mhz": board.clock_mhz,
        "vta_ms": timing.cycles / board.clock_mhz / 1e3,
    }


def _save(program: Program, path: Path) -> None:
    try:
        program.save(path)
    except OSError as fault:
        raise InputError(f"cannot write the program ({fault.strerror})", where=str(path)) from fault


def _print_table(shown: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{shown['model']} for {shown['config']}: cycles are modelled")
    for name in ("layer", "op", "schedule", "GEMM uops", "ALU uops", "bytes in", "bytes out", "cycles"):
        table.add_column(name, justify="left" if name in ("layer", "op", "schedule") else "right")
    columns = ("gemm_uops", "alu_uops", "load_bytes", "store_bytes", "cycles")
    for layer in shown["layers"]:
        table.add_row(layer["name"], layer["op"], layer["schedule"], *(f"{layer[key]:,}" for key in columns))
    totals = [sum(layer[key] for layer in shown["layers"]) for key in columns]
    table.add_row("total", "", "", *(f"{total:,}" for total in totals), style="bold")
    Console(width=None if sys.stdout.isatty() else REPORT_COLUMNS, highlight=False).print(table)
    print(
        f"one launch  {shown['cycles']:,} cycles, {shown['vta_ms']:.3f} ms at {shown['clock_mhz']:g} MHz on "
        f"{shown['board']} for {shown['images_per_launch']} image(s) (modelled)"
    )
    for step in shown["host_steps"]:
        print(f"on the host {step} (gathered before each launch)")


if __name__ == "__main__":
    sys.exit(main())
