"""``python -m mpi_vta.hardware``: the core for a configuration: its Verilog, yosys' counts, a run, a vendor project."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.disk import write_atomically
from mpi_vta.errors import ConfigError, DeviceError, MpiVtaError
from mpi_vta.gateware import require_amaranth
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.core_resources import estimate_core
from mpi_vta.hw.multipliers import multipliers_for
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import find
from mpi_vta.hw.targets import FASTEST_MHZ, load_target
from mpi_vta.inspect import is_program
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.simulator.functional import Executable
from mpi_vta.simulator.profile import OWN
from mpi_vta.simulator.timing import simulate
from mpi_vta.simulator.vectors import Extent, Vector
from mpi_vta.standard_output import reader_may_leave

MISMATCH_STATUS = 1
PARTS = {"pynq": "XC7Z020", "ultra96": "ZU3EG", "zcu104": "ZU7EV", "kv260": "XCK26"}
"""The part that a TARGET stands for, where --part says no other."""


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.hardware", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=OneLineParser)
    one = commands.add_parser("verilog", help="write the core as Verilog")
    two = commands.add_parser("synthesize", help="count what yosys makes of the core, beside the estimate")
    four = commands.add_parser("project", help="write a project for a board (not built here)")
    for command in (one, two, four):
        command.add_argument("config", help="a shipped VTA configuration, or a file")
    for command in (one, two):
        command.add_argument("--part", help="FPGA whose DSP slices the multipliers may take (default: the target's)")
    one.add_argument("-o", "--output", type=Path, help="file to write (default: standard output)")
    two.add_argument("--json", action="store_true", help="print the counts as JSON and nothing else")
    three = commands.add_parser("replay", help="run a test vector, or a compiled program, on the compiled core")
    three.add_argument("file", type=Path, help="a vector (.npz) or a compiled program")
    three.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")
    three.add_argument("--latency", type=int, default=16, metavar="CYCLES", help="of the memory (default: %(default)s)")
    four.add_argument("--board", required=True, help="the board")
    four.add_argument("--flow", choices=("vivado", "open"), default="vivado", help="open: yosys and nextpnr-xilinx")
    four.add_argument("--clock-mhz", type=float, help="clock to ask for (default: the target's)")
    four.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write")
    five = commands.add_parser("diagram", help="print the block diagram of a core as Mermaid text")
    five.add_argument("config", help="a shipped VTA configuration, or a file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 if a replay does not match, 2 on an error."""
    try:
        options = build_parser().parse_args(argv)
        require_amaranth()
        status = 0
        with reader_may_leave():
            status = _COMMANDS[options.command](options)
    except MpiVtaError as fault:
        print(f"mpi_vta.hardware: error: {fault}", file=sys.stderr)
        return fault.exit_status
    return status


def _config(name: str) -> VTAConfig:
    return VTAConfig.load(find("vta_configs", name, ".json"))


def _part(options: argparse.Namespace, config: VTAConfig) -> Any:
    name = options.part or PARTS.get(config.target)
    if name is None:
        raise ConfigError(f"TARGET {config.target} has no FPGA", where=config.name, remedy="name one with --part")
    part = load_part(name)
    if load_target(part.target).bus_bits != config.bus_bits:
        allowed = f"{load_target(part.target).bus_bits} bits, as {part.name} has"
        raise ConfigError(f"a memory bus of {config.bus_bits} bits", where=config.name, allowed=allowed)
    return part


def _verilog(options: argparse.Namespace) -> int:
    from mpi_vta.gateware.core import Core
    from mpi_vta.gateware.verilog import core_verilog

    config = _config(options.config)
    part = _part(options, config)
    text = core_verilog(Core(config, None, multipliers_for(config, part.dsp)))
    if options.output is None:
        sys.stdout.write(text)
        return 0
    write_atomically(options.output, text.encode(), "the Verilog")
    print(f"{options.output}: {config.name}, {text.count(chr(10)):,} lines")
    return 0


def _synthesize(options: argparse.Namespace) -> int:
    from mpi_vta.gateware.synthesis import synthesize, total

    config = _config(options.config)
    part = _part(options, config)
    parts = synthesize(config, part)
    counts = total(parts)
    modelled = estimate_core(config, part, part.default_clock_mhz)
    if options.json:
        print(json.dumps({"config": config.name, "part": part.name, **asdict(counts)}))
        return 0
    print(f"{config.name} on {part.name}: yosys before place and route (measured)")
    print("every part synthesised once and by itself: what could be saved across their borders is not")
    print(f"{'part':16}{'number':>7}{'DSP':>7}{'BRAM36':>8}{'URAM':>6}{'LUT':>8}{'FF':>8}")
    for one in parts:
        values = one.counts
        print(
            f"{one.name:16}{one.number:>7}{values.dsp:>7}{values.bram36:>8g}{values.uram:>6}{values.lut:>8}{values.ff:>8}"
        )
    print("\nall of them, beside the estimate (modelled)")
    print(f"{'':8}{'yosys':>10}{'estimate':>10}{'part has':>10}")
    for label, name in (("DSP", "dsp"), ("BRAM36", "bram36"), ("URAM", "uram"), ("LUT", "lut"), ("FF", "ff")):
        print(f"{label:8}{getattr(counts, name):>10g}{getattr(modelled, name):>10g}{getattr(part, name):>10g}")
    return 0


def _replay(options: argparse.Namespace) -> int:
    from mpi_vta.gateware.model import Memory, VerilatedCore

    if options.latency < 1:
        raise ConfigError(f"is {options.latency}", where="--latency", allowed="1 and up")
    vector = _program_vector(options.file) if is_program(options.file) else Vector.load(options.file)
    image = vector.image()
    run = VerilatedCore(vector.config).run(vector.insns, image, Memory(latency_cycles=options.latency))
    if run.fault:
        raise DeviceError(f"the core refuses instruction {run.fault_index}: {run.fault.name}", where=str(options.file))
    wrong = vector.mismatched_bytes(image)
    modelled = _modelled_cycles(vector, options.latency)
    summary = {"match": wrong == 0, "mismatched_bytes": wrong, "cycles": run.cycles, "expected_cycles": modelled}
    print(json.dumps(summary))
    if not options.json:
        if not wrong:
            print("every expected byte came out")
        print(f"cycles are the compiled core's, with a memory of {options.latency} cycles; expected: profile own")
    return 0 if wrong == 0 else MISMATCH_STATUS


def _modelled_cycles(vector: Vector, latency_cycles: int) -> int:
    profile = replace(OWN, memory_latency_cycles=latency_cycles)
    return simulate(vector.config, vector.insns, profile).cycles


def _program_vector(path: Path) -> Vector:
    """Return a compiled program as a vector whose expected bytes are what the simulator leaves of all its memory."""
    program = Program.load(path)
    insns = program.link(program.default_bases)
    before: NDArray[np.uint8] = program.dram_image()
    after = before.copy()
    Executable(program.config, insns, after).run(after)
    return Vector(program.config, insns, (Extent(0, before),), (Extent(0, after),))


def _project(options: argparse.Namespace) -> int:
    from mpi_vta.gateware.open_flow import open_project
    from mpi_vta.gateware.project import NOT_BUILT, write_project

    config = _config(options.config)
    clock_mhz = config.clock_mhz if options.clock_mhz is None else options.clock_mhz
    if not 1 <= clock_mhz <= FASTEST_MHZ:
        raise ConfigError(f"is {clock_mhz:g}", where="--clock-mhz", allowed=f"a number 1..{FASTEST_MHZ}")
    is_open = options.flow == "open"
    files = open_project if is_open else None
    for path in write_project(config, options.board, clock_mhz, options.output, files):
        print(path)
    command = "sh build.sh" if is_open else "vivado -mode batch -source build.tcl"
    print(f"{NOT_BUILT}: {command}, in {options.output}")
    return 0


def _diagram(options: argparse.Namespace) -> int:
    from mpi_vta.gateware.core import Core
    from mpi_vta.gateware.diagram import mermaid

    print(mermaid(Core(_config(options.config))))
    return 0


_COMMANDS = {
    "verilog": _verilog,
    "synthesize": _synthesize,
    "replay": _replay,
    "project": _project,
    "diagram": _diagram,
}


if __name__ == "__main__":
    sys.exit(main())
