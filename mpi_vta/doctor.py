"""``python -m mpi_vta.doctor``: whether every rank of a job can work, and what to do where it cannot."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from mpi_vta.errors import MpiVtaError
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.runtime.diagnosis import EVERYWHERE, Fault, diagnose, guarded_network
from mpi_vta.runtime.faults.guardian import begin_mpi
from mpi_vta.runtime.faults.leftovers import leave_nothing_behind, sweep
from mpi_vta.runtime.faults.pairing import find_launcher
from mpi_vta.runtime.host_facts import HostFacts, collect, ipv4_addresses
from mpi_vta.runtime.introduction import IntroductionError, RankStatement, introduce
from mpi_vta.standard_output import reader_may_leave

WRONG_STATUS = 1


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.doctor", description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="sim", help="pynq: every rank must be a board (default: %(default)s)")
    parser.add_argument("--bitstream", default="", help="bitstream file that every board should have")
    parser.add_argument("--selftest", action="store_true", help="run twenty small programs on every rank's device")
    parser.add_argument("--board", default="", help="board file for --selftest (default: the image's name says it)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what --selftest found as JSON")
    parser.add_argument("--json", action="store_true", help="print facts and faults as JSON and nothing else")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this rank; return its exit status, 1 if something is wrong anywhere."""
    launcher = find_launcher(os.environ)
    try:
        options = build_parser().parse_args(sys.argv[1:] if argv is None else argv)
    except MpiVtaError as fault:
        if launcher is None or launcher.rank == 0:
            print(f"mpi_vta: error: {fault}", file=sys.stderr)
        return fault.exit_status
    launched = launcher.size if launcher else 1
    rank = launcher.rank if launcher else 0
    if options.selftest:
        return _selftest(options, rank)
    try:
        if find_spec("mpi4py") is None:
            facts: list[HostFacts] | None = [_own(options, rank, launched, 1, "")]
        else:
            facts = _gather(options, rank, launched)
    except IntroductionError as fault:
        if rank == 0:
            _print([], [Fault(EVERYWHERE, fault.what, fault.remedy)], as_json=options.json)
        if not fault.is_mutual:
            # a rank that has said nothing would be waited for at the end as well
            os._exit(WRONG_STATUS)
        return WRONG_STATUS
    if facts is None or (rank != 0 and len(facts) < launched):
        # not rank 0, or one of many that all believe to be alone: the first of them speaks
        return 0
    faults = diagnose(facts, needs_board=options.device == "pynq")
    sweep()
    _print(facts, faults, as_json=options.json)
    return WRONG_STATUS if faults else 0


def _print(facts: Sequence[HostFacts], faults: Sequence[Fault], *, as_json: bool) -> None:
    with reader_may_leave():
        if as_json:
            print(json.dumps({"ranks": [asdict(f) for f in facts], "faults": [asdict(fault) for fault in faults]}))
        else:
            print_table(facts, faults, sys.stdout)


def _selftest(options: argparse.Namespace, rank: int) -> int:
    from mpi_vta.runtime.selftest.command import SelftestOptions, run_selftest

    transport = None
    if find_spec("mpi4py") is not None:
        os.environ.update(guarded_network(ipv4_addresses(), os.environ))
        transport, _ = begin_mpi()
        leave_nothing_behind(os.environ)
    try:
        with reader_may_leave():
            chosen = SelftestOptions(options.device, options.bitstream, options.board, options.report)
            return run_selftest(chosen, transport)
    except MpiVtaError as fault:
        if rank == 0:
            print(f"mpi_vta: error: {fault}", file=sys.stderr)
        return fault.exit_status


def _own(
    options: argparse.Namespace, rank: int, launched: int, world: int, mpi: str, environ: Mapping[str, str] = os.environ
) -> HostFacts:
    return collect(rank=rank, launched=launched, world=world, mpi=mpi, environ=environ, bitstream=options.bitstream)


def _gather(options: argparse.Namespace, rank: int, launched: int) -> list[HostFacts] | None:
    """Bring every rank's facts to rank 0; the others get None."""
    environ = dict(os.environ)
    # with addresses that every board has MPI may not even start, and nobody would hear why
    os.environ.update(guarded_network(ipv4_addresses(), environ))
    try:
        transport, _ = begin_mpi()
        from mpi_vta.runtime.transport.mpi import library_version
    except (ImportError, RuntimeError):
        # mpi4py without a library that it can load
        return [_own(options, rank, launched, 1, "")]
    # ranks of different releases cannot even tell each other their facts
    introduce(transport, RankStatement.own())
    leave_nothing_behind(os.environ)
    own = _own(options, rank, launched, transport.size, library_version(), environ)
    parts = transport.gather(json.dumps(asdict(own)).encode())
    return None if parts is None else [HostFacts(**json.loads(part)) for part in parts]


def print_table(facts: Sequence[HostFacts], faults: Sequence[Fault], stream: TextIO) -> None:
    """Print one line per rank and one per fault; needs nothing but the standard library."""
    rows: list[tuple[str, ...]] = [
        (
            "rank",
            "host",
            "MPI",
            "interface",
            "python",
            "numpy",
            "mpi4py",
            "h5py",
            "pynq",
            "board",
            "MHz",
            "MiB",
            "sensor",
        )
    ]
    rows += [_row(entry) for entry in facts]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip(), file=stream)
    hashed = sorted({entry.bitstream for entry in facts if entry.bitstream})
    for text in hashed:
        print(f"bitstream   {text}", file=stream)
    for fault in faults:
        where = "all ranks" if fault.rank == EVERYWHERE else f"rank {fault.rank}"
        print(f"wrong       {where}: {fault.what}\n            remedy: {fault.remedy}", file=stream)
    if facts:
        print(f"sources     {facts[0].sources}", file=stream)
    print(
        "everything is in order" if not faults else f"{len(faults)} fault{'s' if len(faults) > 1 else ''}", file=stream
    )


def _row(facts: HostFacts) -> tuple[str, ...]:
    shown = [f"{name} {address}" for name, address in facts.addresses.items()]
    return (
        str(facts.rank),
        facts.host,
        f"{facts.mpi or 'none'}, {facts.world} of {facts.launched}",
        facts.interface or (shown[0] + (f" +{len(shown) - 1}" if len(shown) > 1 else "") if shown else "none"),
        facts.versions["python"],
        *(facts.versions[name] or "none" for name in ("numpy", "mpi4py", "h5py", "pynq")),
        facts.board or ("FPGA" if facts.fpga else "none"),
        "" if facts.clock_mhz is None else f"{facts.clock_mhz:g}",
        "" if facts.free_mib is None else str(facts.free_mib),
        facts.sensor or "none",
    )


if __name__ == "__main__":
    sys.exit(main())
