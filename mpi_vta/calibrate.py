"""``python -m mpi_vta.calibrate``: measure the links of this MPI job, and write them into a cluster file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mpi_vta.disk import write_atomically
from mpi_vta.errors import InputError, LaunchError, MpiVtaError
from mpi_vta.hw.cluster import Cluster
from mpi_vta.hw.link_text import with_link
from mpi_vta.hw.paths import find
from mpi_vta.one_line_parser import OneLineParser
from mpi_vta.runtime.faults.failure import abort_all_on_uncaught
from mpi_vta.runtime.faults.guardian import begin_mpi
from mpi_vta.runtime.faults.pairing import check_pairing, find_launcher
from mpi_vta.runtime.introduction import RankStatement, introduce
from mpi_vta.runtime.link_probe import fit_link, median_link, probe_links
from mpi_vta.text_table import counted


def build_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = OneLineParser(prog="mpi_vta.calibrate", description=__doc__, allow_abbrev=False)
    parser.add_argument("--cluster", required=True, help="the cluster whose boards are kept: a name or a TOML file")
    parser.add_argument("--output", type=Path, required=True, help="cluster file to write")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions, of which the median counts")
    parser.add_argument("--json", action="store_true", help="print the link as JSON and nothing else")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this rank; return its exit status."""
    launcher = find_launcher(os.environ)
    try:
        options = build_parser().parse_args(sys.argv[1:] if argv is None else argv)
        if options.rounds < 1:
            raise InputError(counted(options.rounds, "round"), where="--rounds", allowed="1 or more")
        return _measure(options)
    except MpiVtaError as fault:
        # every rank finds the same fault before anything is measured; the first one says so
        if launcher is None or launcher.rank == 0:
            print(f"mpi_vta: error: {fault}", file=sys.stderr, flush=True)
        return fault.exit_status


def _measure(options: argparse.Namespace) -> int:
    transport, _ = begin_mpi()
    check_pairing(os.environ, transport.size)
    if transport.size < 2:
        raise LaunchError("one rank has no link", where="MPI", remedy="start with mpirun -n 2 or more")
    abort_all_on_uncaught(transport)
    introduce(transport, RankStatement.own())
    source = find("clusters", options.cluster, ".toml")
    rounds = [probe_links(transport) for _ in range(options.rounds)]
    if transport.rank != 0:
        return 0
    peers = [median_link([fit_link(times[peer]) for times in rounds]) for peer in range(transport.size - 1)]
    link = median_link(peers)
    text = with_link(source.read_text(encoding="utf-8"), link, str(source))
    write_atomically(options.output, text.encode())
    Cluster.load(str(options.output))
    if options.json:
        print(json.dumps({"link": asdict(link), "peers": [asdict(peer) for peer in peers]}))
        return 0
    print("measured    peer  MB/s    latency us  per message us  per byte ns")
    for rank, peer in enumerate(peers, 1):
        print(
            f"            {rank:4}  {peer.bandwidth_mb_s:6.1f}  {peer.latency_ns / 1000:10.1f}  "
            f"{peer.per_message_ns / 1000:14.1f}  {peer.per_byte_ns:11.3f}"
        )
    links, rounds_made = counted(transport.size - 1, "link"), counted(options.rounds, "round")
    print(f"written     {options.output}: the median of {links} and {rounds_made}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
