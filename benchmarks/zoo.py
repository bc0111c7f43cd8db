"""The zoo at full size on every kind of board: ``python benchmarks/zoo.py``, or with ``--write`` into docs/zoo.md.

Each network has seeded weights and is compiled cold, in this run, for the configuration of each board; boards of
equal configurations share the program. Cycles and milliseconds are modelled (profile ``rtl``, one launch for the
whole network), seconds are measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.program import Program
from mpi_vta.codegen.report import ModelReport, model_report
from mpi_vta.frontend.zoo import BUILDERS
from mpi_vta.hw.board import Board
from mpi_vta.hw.config import VTAConfig
from mpi_vta.job.ready_model import ReadyModel, ready_model
from mpi_vta.schedule.cost import time_program
from mpi_vta.simulator.profile import RTL

BOARDS = ("pynq_z1", "ultra96", "zcu104")
ZOO = tuple(name for name in BUILDERS if name not in ("digits", "shapes", "residual", "depthwise"))
PAGE = Path(__file__).parents[1] / "docs" / "zoo.md"
HEAD = """# The zoo at full size

Made by `python benchmarks/zoo.py`. Seeded weights; one image; one board runs the whole network. Cycles and milliseconds
are modelled. Seconds of a cold compilation are measured on the machine that ran the command, with whatever else ran
there at the time. The bound is what no schedule can avoid ([methodology](methodology.md)). Memory is the program with
its weights and maps beside what the board leaves to VTA; a network that does not fit needs more boards.

| network | int8 weights, MB | board | cycles | % of bound | ms | memory, MiB of | compile, s |
|---|---|---|---|---|---|---|---|
"""


def boards() -> list[Board]:
    """Return the shipped boards, each with its own configuration."""
    return [Board.load(name) for name in BOARDS]


def rows(name: str) -> Iterator[str]:
    """Yield the lines of one network."""
    model = ready_model(name, seed=0, weights=None)
    made: dict[tuple[VTAConfig, int], tuple[Program, ModelReport, float]] = {}
    for board in boards():
        key = (replace(board.config, target=""), board.config.bus_bits)
        if key not in made:
            made[key] = compiled(model, board)
        yield row(model, board, *made[key])


def compiled(model: ReadyModel, board: Board) -> tuple[Program, ModelReport, float]:
    """Return the program of a network, its report and the seconds of its compilation."""
    started = time.perf_counter()
    program = compile_graph(model.graph, board.config)
    seconds = time.perf_counter() - started
    cycles = time_program(program).layer_cycles.tolist()
    return program, model_report(model.graph, program, cycles, RTL.name, board.clock_mhz), seconds


def row(model: ReadyModel, board: Board, program: Program, report: ModelReport, seconds: float) -> str:
    """Return one line of the table."""
    weights = sum(array.nbytes for array in model.graph.constants.values() if array.ndim == 4)
    memory = f"{program.dram_bytes / 2**20:.0f} of {board.memory_bytes / 2**20:.0f}"
    if program.dram_bytes > board.memory_bytes:
        memory = f"**{memory}: does not fit**"
    milliseconds = report.total_cycles / board.clock_mhz / 1000
    return (
        f"| {model.name} | {weights / 1e6:.1f} | {board.name} | {report.total_cycles:,} | "
        f"{100 * report.bound_fraction:.1f} | {milliseconds:.1f} | {memory} | {seconds:.1f} |"
    )


def main() -> None:
    """Compile the networks named, all by default, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=ZOO, help="names of the zoo")
    parser.add_argument("--write", action="store_true", help="write docs/zoo.md; only with all networks")
    options = parser.parse_args()
    if options.write and tuple(options.models) != ZOO:
        parser.error("--write needs all networks")
    lines = []
    if not options.write:
        print(HEAD, end="")
    for name in options.models:
        for line in rows(name):
            lines.append(line)
            print(line, file=sys.stderr if options.write else sys.stdout, flush=True)
    if options.write:
        PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
