"""``python -m mpi_vta.inspect``: replay, disassemble and export programs and test vectors."""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mpi_vta.codegen.program import Program
from mpi_vta.codegen.stem import run_host_step
from mpi_vta.command_end import status_of
from mpi_vta.disk import open_regular, read_bytes
from mpi_vta.errors import InputError, about
from mpi_vta.graph.layout import pack_activation
from mpi_vta.hw.config import VTAConfig
from mpi_vta.isa.assembly import disassemble
from mpi_vta.npy import read_npy
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.simulator.attribution import attribute
from mpi_vta.simulator.checks import check_program
from mpi_vta.simulator.replay import CHISEL_MICRO_OPS, Replay, make_vector, most_micro_ops, record, replay
from mpi_vta.simulator.timeline import draw_timeline
from mpi_vta.simulator.timing import PROFILES, Timing, simulate
from mpi_vta.simulator.vectors import Extent, Vector
from mpi_vta.text_table import counted, print_lines

MISMATCH_STATUS = 1
MOST_SEED_DIGITS = 18
_RANDOM = "random:"
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
    one.add_argument("--record", metavar="ORACLE", help="write into the vector what another model of VTA made of it")
    one.add_argument("--cycles", type=int, metavar="N", help="with --record: cycles that it took")
    one.add_argument(
        "--dram", type=Path, metavar="FILE", help="with --record: the raw DRAM that it left, from byte 0 on"
    )
    two = commands.add_parser("disassemble", help="print a program as assembly text")
    two.add_argument("file", type=Path, help="a vector (.npz) or a compiled program")
    three = commands.add_parser("export", help="write a compiled program with its DRAM and outputs as a vector")
    three.add_argument("file", type=Path, metavar="program", help="a compiled program")
    three.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="NPY",
        help="int8 array (n, C, H, W), or random:SEED; once per input of the program, in its order",
    )
    three.add_argument("--all", action="store_true", help="expect every byte that changes, not the outputs alone")
    three.add_argument("-o", "--output", type=Path, required=True, metavar="NPZ", help="the vector to write")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 if a replay does not match, 2 on an error."""
    return status_of(lambda: _run(argv), "mpi_vta.inspect")


def _run(argv: Sequence[str] | None) -> int:
    options = build_parser().parse_args(argv)
    with about(options.file):
        return _COMMANDS[options.command](options)


def is_program(path: Path) -> bool:
    """Tell compiled programs from vectors: both are npz files; anything else is left to the readers."""
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            return _PROGRAM_MEMBER in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _replay(options: argparse.Namespace) -> int:
    if is_program(options.file):
        return _replay_program(options)
    vector = Vector.load(options.file)
    if options.record is None and (options.cycles is not None or options.dram is not None):
        raise InputError("they are for --record", where="--cycles, --dram")
    result = replay(vector, check=options.check, profile=PROFILES[options.timing])
    if options.json:
        print(json.dumps(result.summary()))
    else:
        _explain(options, result.timing, _outcome(result))
    if options.profile and not options.json:
        print_lines(attribute(vector.config, vector.insns, result.timing).lines(), sys.stdout)
    _draw(options, vector.config, vector.insns, result.timing)
    if options.record is not None:
        _record(options, vector, result)
    return 0 if result.match else MISMATCH_STATUS


def _record(options: argparse.Namespace, vector: Vector, ours: Replay) -> None:
    if not options.record.isidentifier():
        raise InputError(
            f"{options.record!r}", where="--record", allowed="a name of letters, digits and _, such as tsim"
        )
    if options.cycles is None and options.dram is None:
        raise InputError("nothing to record", where="--record", remedy="give --cycles, --dram or both")
    if options.cycles is not None and options.cycles < 1:
        raise InputError(str(options.cycles), where="--cycles", allowed="1 or more")
    if not ours.match:
        raise InputError("the replay itself does not match; nothing was recorded", where=str(options.file))
    dram = None
    if options.dram is not None:
        try:
            dram = np.frombuffer(read_bytes(options.dram), dtype=np.uint8)
        except OSError as fault:
            raise InputError(
                f"cannot read the DRAM ({fault.strerror})", where=str(options.dram), allowed="a file that can be read"
            ) from fault
    found = record(vector, options.record, options.cycles, dram)
    found = replace(found, modelled_cycles=simulate(vector.config, vector.insns).cycles)
    found.save(options.file)
    if not options.json:
        cycles = f"cycles {found.rtl_cycles} measured, {found.modelled_cycles} modelled"
        print(f"recorded    bytes agreed by {found.agreed or 'none'}; {cycles}")


def _replay_program(options: argparse.Namespace) -> int:
    """A program has no expected bytes: it is checked and timed."""
    program = Program.load(options.file)
    insns = program.link(program.default_bases)
    if options.check:
        check_program(program.config, insns, program.dram_image())
    timing = simulate(program.config, insns, PROFILES[options.timing])
    nothing = {"match": None, "mismatched_bytes": None, "cycles": timing.cycles, "expected_cycles": -1}
    if options.json:
        print(json.dumps(nothing))
    else:
        _explain(
            options, timing, ["bytes       none expected of a compiled program; export it with an input to compare"]
        )
    if options.profile and not options.json:
        names = [layer.name for layer in program.layers]
        print_lines(attribute(program.config, insns, timing, program.insn_layer, names).lines(), sys.stdout)
    _draw(options, program.config, insns, timing)
    if not options.json:
        print(_rtl_note(program.config, insns), end="")
    return 0


def _rtl_note(config: VTAConfig, insns: NDArray[np.uint64]) -> str:
    """Return what to know before a program is run on VTA's Chisel source: a line, or nothing."""
    used = most_micro_ops(config, insns)
    if used <= CHISEL_MICRO_OPS:
        return ""
    return (
        f"note        it fills {used} micro-ops: VTA's Chisel source holds {CHISEL_MICRO_OPS} unless built with more, "
        "and computes wrong bits beyond\n"
    )


def _outcome(result: Replay) -> list[str]:
    wrong = "every expected one came out" if result.match else f"{result.mismatched_bytes:,} not as expected"
    recorded = ["recorded    no cycles in the vector"]
    if result.expected_cycles >= 0:
        recorded = [
            f"recorded    {result.expected_cycles:,} cycles, {result.timing.cycles - result.expected_cycles:+,}"
        ]
    return [f"bytes       {wrong}", *recorded]


def _explain(options: argparse.Namespace, timing: Timing, outcome: Sequence[str]) -> None:
    checked = ["checked     inside the portable subset, no race"] if options.check else []
    cycles = f"cycles      {timing.cycles:,} (modelled, profile {timing.profile.name})"
    print_lines([*checked, cycles, *outcome], sys.stdout)


def _draw(options: argparse.Namespace, config: VTAConfig, insns: NDArray[np.uint64], timing: Timing) -> None:
    if options.timeline:
        draw_timeline(config, insns, timing, options.timeline, options.file.name)


def _disassemble(options: argparse.Namespace) -> int:
    source: Program | Vector = Program.load(options.file) if is_program(options.file) else Vector.load(options.file)
    sys.stdout.write(f"# {options.file.name}: {source.config.name}\n")
    sys.stdout.write(disassemble(source.insns, source.config))
    return 0


def _export(options: argparse.Namespace) -> int:
    program = Program.load(options.file)
    initial = [Extent(program.default_bases[name], content) for name, content in program.data.items() if content.size]
    initial += _packed_inputs(program, options.input)
    outputs = [(program.default_bases[binding.segment], binding.size_bytes) for binding in program.outputs]
    insns = program.link(program.default_bases)
    vector = make_vector(program.config, insns, initial, None if options.all else outputs)
    vector.save(options.output)
    size, compared = (sum(extent.content.size for extent in some) for some in (vector.initial, vector.expected))
    print(
        f"{options.output}: {len(vector.insns)} instructions, {size} bytes of DRAM, {compared} expected; "
        f"{vector.modelled_cycles} cycles (modelled)"
    )
    print(_rtl_note(program.config, insns), end="")
    return 0


def _packed_inputs(program: Program, paths: Sequence[str]) -> list[Extent]:
    """Read the inputs, run the host's steps on them, and lay them out as the program wants them."""
    shape_of = {binding.value: binding.shape for binding in program.inputs}
    steps = {step.result: step for step in program.host_steps}
    wanted = [steps[name].source if name in steps else name for name in shape_of]
    if len(paths) != len(wanted):
        raise InputError(counted(len(paths), "input"), where="--input", allowed=f"{len(wanted)}: {', '.join(wanted)}")
    extents = []
    for binding, path in zip(program.inputs, paths, strict=True):
        step = steps.get(binding.value)
        shape = step.source_shape if step else binding.shape
        seed = path.removeprefix(_RANDOM)
        images = (
            _read_images(Path(path), shape, program.config.batch)
            if seed == path
            else _random_images(seed, (program.config.batch, *shape[1:]))
        )
        content = pack_activation(run_host_step(step, images) if step else images, program.config)
        extents.append(Extent(program.default_bases[binding.segment], content))
    return extents


def _random_images(seed: str, shape: tuple[int, ...]) -> NDArray[np.int8]:
    if not (seed.isascii() and seed.isdigit() and len(seed) <= MOST_SEED_DIGITS):
        raise InputError(f"random:{seed}", where="--input", allowed="random: and a whole number, such as random:0")
    return np.random.default_rng(int(seed)).integers(-128, 128, shape, dtype=np.int8)


def _read_images(path: Path, shape: tuple[int, ...], batch: int) -> NDArray[np.int8]:
    where = str(path)
    try:
        images = read_npy(read_bytes(path), "the input", where)
    except OSError as fault:
        raise InputError(
            f"cannot read the input ({fault.strerror})", where=where, allowed="a file that can be read"
        ) from fault
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
