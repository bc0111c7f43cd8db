"""``python -m mpi_vta.inspect``: replay, disassemble and export programs and test vectors."""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.codegen.stem import run_host_step
from mpi_vta.disk import open_regular, read_bytes
from mpi_vta.errors import InputError, MpiVtaError
from mpi_vta.graph.layout import pack_activation
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.assembly import disassemble
from mpi_vta.npy import read_npy
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.simulator.attribution import attribute
from mpi_vta.simulator.checks import check_program
from mpi_vta.simulator.replay import make_vector, replay
from mpi_vta.simulator.timeline import draw_timeline
from mpi_vta.simulator.timing import PROFILES, Timing, simulate
from mpi_vta.simulator.vectors import Extent, Vector
from mpi_vta.standard_output import reader_may_leave

MISMATCH_STATUS = 1
_PROGRAM_MEMBER = "__header__.npy"


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.inspect", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=OneLineParser)
    one = commands.add_parser("replay", help="run a test vector and compare, or time a compiled program")
    one.add_argument("file", type=Path, help="a vector (.npz) or a compiled program")
    one.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")
    one.add_argument("--check", action="store_true", help="check the portable subset and races first")
    one.add_argument("--timeline", type=Path, metavar="PNG", help="draw the units over cycles")
    one.add_argument("--profile", action="store_true", help="print where the compute unit's cycles go, per layer")
    one.add_argument("--timing", choices=sorted(PROFILES), default="rtl", help="timing model (default: %(default)s)")
    two = commands.add_parser("disassemble", help="print a program as assembly text")
    two.add_argument("file", type=Path, help="a vector (.npz) or a compiled program")
    three = commands.add_parser("export", help="write a compiled program with its DRAM and outputs as a vector")
    three.add_argument("program", type=Path, help="a compiled program")
    three.add_argument(
        "--input",
        type=Path,
        action="append",
        required=True,
        metavar="NPY",
        help="int8 array (n, C, H, W); once per input of the program, in its order",
    )
    three.add_argument("-o", "--output", type=Path, required=True, metavar="NPZ", help="the vector to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 if a replay does not match, 2 on an error."""
    try:
        options = build_parser().parse_args(argv)
        status = 0
        with reader_may_leave():
            status = _COMMANDS[options.command](options)
    except MpiVtaError as fault:
        print(f"mpi_vta.inspect: error: {fault}", file=sys.stderr)
        return fault.exit_status
    return status


def _is_program(path: Path) -> bool:
    """Tell compiled programs from vectors: both are npz files; anything else is left to the readers."""
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            return _PROGRAM_MEMBER in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _replay(options: argparse.Namespace) -> int:
    if _is_program(options.file):
        return _replay_program(options)
    vector = Vector.load(options.file)
    result = replay(vector, check=options.check, profile=PROFILES[options.timing])
    print(json.dumps(result.summary()))
    if not options.json:
        _explain(options, result.timing, "every expected byte came out" if result.match else "")
    if options.profile and not options.json:
        print("\n".join(attribute(vector.config, vector.insns, result.timing).lines()))
    _draw(options, vector.config, vector.insns, result.timing)
    return 0 if result.match else MISMATCH_STATUS


def _replay_program(options: argparse.Namespace) -> int:
    """A program has no expected bytes: it is checked and timed."""
    program = Program.load(options.file)
    insns = program.link(program.default_bases)
    if options.check:
        check_program(program.config, insns, program.dram_image())
    timing = simulate(program.config, insns, PROFILES[options.timing])
    nothing = {"match": None, "mismatched_bytes": None, "cycles": timing.cycles, "expected_cycles": -1}
    print(json.dumps(nothing))
    if not options.json:
        _explain(options, timing, "a compiled program expects no bytes; export it with an input to compare")
    if options.profile and not options.json:
        names = [layer.name for layer in program.layers]
        print("\n".join(attribute(program.config, insns, timing, program.insn_layer, names).lines()))
    _draw(options, program.config, insns, timing)
    return 0


def _explain(options: argparse.Namespace, timing: Timing, note: str) -> None:
    if note:
        print(note)
    if options.check:
        print("inside the portable subset, no race")
    print(f"cycles are modelled: profile {timing.profile.name}")


def _draw(options: argparse.Namespace, config: VTAConfig, insns: NDArray[np.uint64], timing: Timing) -> None:
    if options.timeline:
        draw_timeline(config, insns, timing, options.timeline, options.file.name)


def _disassemble(options: argparse.Namespace) -> int:
    source: Program | Vector = Program.load(options.file) if _is_program(options.file) else Vector.load(options.file)
    sys.stdout.write(f"# {options.file.name}: {source.config.name}\n")
    sys.stdout.write(disassemble(source.insns, source.config))
    return 0


def _export(options: argparse.Namespace) -> int:
    program = Program.load(options.program)
    initial = [Extent(program.default_bases[name], content) for name, content in program.data.items() if content.size]
    initial += _packed_inputs(program, options.input)
    outputs = [(program.default_bases[binding.segment], binding.size_bytes) for binding in program.outputs]
    vector = make_vector(program.config, program.link(program.default_bases), initial, outputs)
    vector.save(options.output)
    size = sum(extent.content.size for extent in vector.initial)
    print(f"{options.output}: {len(vector.insns)} instructions, {size} bytes of DRAM")
    return 0


def _packed_inputs(program: Program, paths: Sequence[Path]) -> list[Extent]:
    """Read the inputs, run the host's steps on them, and lay them out as the program wants them."""
    shape_of = {binding.value: binding.shape for binding in program.inputs}
    steps = {step.result: step for step in program.host_steps}
    wanted = [steps[name].source if name in steps else name for name in shape_of]
    if len(paths) != len(wanted):
        raise InputError(f"{len(paths)} inputs", where="--input", allowed=f"{len(wanted)}: {', '.join(wanted)}")
    extents = []
    for binding, path in zip(program.inputs, paths, strict=True):
        step = steps.get(binding.value)
        images = _read_images(path, step.source_shape if step else binding.shape, program.config.batch)
        content = pack_activation(run_host_step(step, images) if step else images, program.config)
        extents.append(Extent(program.default_bases[binding.segment], content))
    return extents


def _read_images(path: Path, shape: tuple[int, ...], batch: int) -> NDArray[np.int8]:
    where = str(path)
    try:
        images = read_npy(read_bytes(path), "the input", where)
    except OSError as fault:
        raise InputError(f"cannot read the input ({fault.strerror})", where=where) from fault
    fits = images.ndim == len(shape) and images.shape[1:] == shape[1:] and 1 <= images.shape[0] <= batch
    if images.dtype != np.int8 or not fits:
        raise InputError(
            f"{images.dtype} of shape {images.shape}",
            where=where,
            allowed=f"int8 of shape (1..{batch}, {', '.join(map(str, shape[1:]))})",
        )
    return images


_COMMANDS = {"replay": _replay, "disassemble": _disassemble, "export": _export}


if __name__ == "__main__":
    sys.exit(main())
