"""``python -m mpi_vta.list``: the names that other commands take, and what each stands for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from mpi_vta.errors import InputError, unknown_name
from mpi_vta.hw.board import Board
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.parts import load_part
from mpi_vta.hw.paths import find, shipped_names
from mpi_vta.job.command_line import run_on_rank_0
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.text_table import print_table

Rows = list[tuple[str, ...]]


def _models() -> tuple[tuple[str, ...], Rows]:
    from mpi_vta.frontend.zoo import BUILDERS

    return ("model", "network"), [(name, _network(build)) for name, build in BUILDERS.items()]


def _boards() -> tuple[tuple[str, ...], Rows]:
    boards = [(name, Board.load(name)) for name in shipped_names("boards")]
    heads = ("board", "FPGA", "VTA configuration", "clock, MHz", "memory, MiB")
    return heads, [(name, b.part, b.config.name, f"{b.clock_mhz:g}", str(b.memory_bytes >> 20)) for name, b in boards]


def _clusters() -> tuple[tuple[str, ...], Rows]:
    clusters = [(name, Cluster.load(name)) for name in shipped_names("clusters")]
    heads = ("cluster", "boards", "link, MB/s")
    return heads, [(name, str(len(c.boards)), f"{c.link.bandwidth_mb_s:g}") for name, c in clusters]


def _configurations() -> tuple[tuple[str, ...], Rows]:
    configs = [(name, VTAConfig.load(find("vta_configs", name, ".json"))) for name in shipped_names("vta_configs")]
    heads = ("configuration", "target", "ISA version", "GEMM batch", "GEMM block")
    return heads, [(name, c.target, c.hw_ver, str(c.batch), str(c.block)) for name, c in configs]


def _parts() -> tuple[tuple[str, ...], Rows]:
    parts = [load_part(name) for name in shipped_names("parts")]
    heads = ("FPGA", "target", "DSP", "BRAM36", "LUT")
    return heads, [(p.name, p.target, f"{p.dsp:,}", f"{p.bram36:,}", f"{p.lut:,}") for p in parts]


def _strategies() -> tuple[tuple[str, ...], Rows]:
    from mpi_vta.schedule.strategies import AUTO, STRATEGIES

    def yes(flag: bool) -> str:
        return "yes" if flag else "-"

    heads = ("strategy", "cuts the model", "boards take turns at a stage", "splits layers")
    rows: Rows = [(s.name, yes(s.cuts), yes(s.replicates), yes(s.splits)) for s in STRATEGIES.values()]
    return heads, [*rows, (AUTO, "as", "the best", "of them")]


def _objectives() -> tuple[tuple[str, ...], Rows]:
    from mpi_vta.plans.figures import HEADINGS, OBJECTIVES

    return ("objective", "figure"), [(name, HEADINGS[figure]) for name, (figure, _) in OBJECTIVES.items()]


def _devices() -> tuple[tuple[str, ...], Rows]:
    from mpi_vta.runtime.devices.registry import described_devices

    return ("device", "what it is"), list(described_devices())


KINDS: Mapping[str, Callable[[], tuple[tuple[str, ...], Rows]]] = {
    "models": _models,
    "boards": _boards,
    "clusters": _clusters,
    "configs": _configurations,
    "parts": _parts,
    "strategies": _strategies,
    "objectives": _objectives,
    "devices": _devices,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on rank 0; return its exit status."""
    return run_on_rank_0(_run, argv)


def _run(arguments: Sequence[str]) -> int:
    parser = OneLineParser(prog="mpi_vta.list", description=__doc__, allow_abbrev=False)
    parser.add_argument("kind", help=", ".join(KINDS))
    parser.add_argument("--names", action="store_true", help="print the names alone, a line each")
    options = parser.parse_args(arguments)
    if options.kind not in KINDS:
        what = f"there is no list of {options.kind!r}"
        raise unknown_name(InputError, what, where="command line", name=options.kind, known=KINDS)
    heads, rows = KINDS[options.kind]()
    if options.names:
        print("\n".join(row[0] for row in rows))
    else:
        numbers = [head for head, cell in zip(heads, rows[0], strict=True) if cell.replace(",", "").isdecimal()]
        print_table("", heads, rows, sys.stdout, left=[head for head in heads if head not in numbers])
    return 0


def _network(build: Callable[..., object]) -> str:
    """Return what a builder says that it returns."""
    line = (build.__doc__ or "").split("\n")[0].rstrip(".")
    return line.removeprefix("Return ").partition(" as an ``")[0].partition("; its output")[0]


if __name__ == "__main__":
    sys.exit(main())
