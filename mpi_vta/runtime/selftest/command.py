"""The selftest on every rank of a job, its table, and its report file."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mpi_vta import __version__
from mpi_vta.disk import write_atomically
from mpi_vta.errors import DeviceError, MpiVtaError
from mpi_vta.hw.board import Board
from mpi_vta.hw.paths import HW_ROOT
from mpi_vta.json_fields import from_json
from mpi_vta.runtime.devices.bitstream import identify
from mpi_vta.runtime.devices.protocol import Device, DeviceSetup
from mpi_vta.runtime.devices.registry import open_device
from mpi_vta.runtime.host_facts import image_name, memory_mib, package_version
from mpi_vta.runtime.selftest.result import FORMAT_VERSION, RIGHT, CaseResult, RankResult
from mpi_vta.runtime.selftest.runner import find_faults, measured_clock, run_cases
from mpi_vta.runtime.transport.protocol import Transport

DEFAULT_BOARD = "pynq_z1"
_REAL = "pynq"


@dataclass(frozen=True)
class SelftestOptions:
    """What to test.

    Attributes
    ----------
    device : str
        As given to ``--device``.
    bitstream : str
        File on the board; empty for the one that the board file names.
    board : str
        Board file, empty for the one that this board's image names.
    report : Path or None
        File for the report, written by rank 0.
    """

    device: str
    bitstream: str
    board: str
    report: Path | None


def choose_board(options: SelftestOptions) -> Board:
    """Return the board of this rank, carrying the build that its bitstream holds.

    Raises
    ------
    DeviceError
        If the image's name for this board is in no board file, or the bitstream is unknown.
    ConfigError
        If the board file is wrong, or the bitstream is for another family.
    """
    if options.device != _REAL:
        return Board.load(options.board or DEFAULT_BOARD)
    board = Board.load(options.board) if options.board else _board_by_image_name()
    named = options.bitstream or board.bitstream
    if not named:
        raise DeviceError("no bitstream named", where="--selftest", remedy="give --bitstream FILE")
    _, facts = identify(Path(named))
    return replace(board.with_config(facts.config), clock_mhz=facts.clock_mhz)


def _board_by_image_name() -> Board:
    found = image_name()
    boards = [Board.load(str(path)) for path in sorted((HW_ROOT / "boards").glob("*.toml"))]
    known = {board.image_name.lower(): board for board in boards if board.image_name}
    if found.lower() not in known:
        raise DeviceError(
            f"this image calls its board {found!r}, which is in no board file" if found else "no board's name is found",
            where="--selftest",
            remedy=f"name a board file with --board: {', '.join(board.name for board in boards)}",
        )
    return known[found.lower()]


def examine_rank(options: SelftestOptions, rank: int) -> RankResult:
    """Run the cases on this rank's device; a device that cannot be opened is a fault, not an exception."""
    name = options.board
    facts: dict[str, Any] = {}
    cases: tuple[CaseResult, ...] = ()
    try:
        board = choose_board(options)
        name = board.name
        setup = DeviceSetup(board, options.bitstream)
        facts = _facts(options, board)
        device: Device = open_device(options.device, setup)
        facts |= _design_facts(device)
        cases = run_cases(board.config, device, lambda: open_device(options.device, setup))
        faults = find_faults(cases, board.clock_mhz, timed=not device.simulated)
    except MpiVtaError as fault:
        # where names hosts and paths, which a report does not
        faults = ("; ".join(part for part in (fault.what, fault.allowed, fault.remedy) if part),)
    return RankResult(rank, options.device, name, facts, cases, measured_clock(cases), faults)


def _facts(options: SelftestOptions, board: Board) -> dict[str, Any]:
    memory = memory_mib(Path("/proc/meminfo"))
    return {
        "mpi_vta": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pynq": package_version("pynq") if options.device == _REAL else "",
        "machine": platform.machine(),
        "kernel": platform.release(),
        "image_name": image_name(),
        "config": board.config.to_dict(),
        "clock_mhz": board.clock_mhz,
        "cma_total_mib": memory.get("CmaTotal"),
        "cma_free_mib": memory.get("CmaFree"),
    }


def _design_facts(device: Device) -> dict[str, Any]:
    design = getattr(device, "design", None)
    if design is None:
        return {}
    return {
        "bitstream_sha256": design.sha256,
        "port": design.port,
        "registers": design.registers.source,
        "input_clock_mhz": getattr(device, "input_clock_mhz", None),
        "address_window_mib": design.address_window_bytes >> 20,
    }


def run_selftest(options: SelftestOptions, transport: Transport | None) -> int:
    """Test every rank's device; print and write at rank 0; return the exit status, 1 if something is wrong anywhere.

    Raises
    ------
    InputError
        If the report cannot be written.
    """
    rank = transport.rank if transport else 0
    own = examine_rank(options, rank)
    parts = (
        [json.dumps(asdict(own)).encode()] if transport is None else transport.gather(json.dumps(asdict(own)).encode())
    )
    if parts is None:
        return 0
    results = [from_json(RankResult, json.loads(part)) for part in parts]
    if options.report is not None:
        report = {"format": FORMAT_VERSION, "ranks": [asdict(result) for result in results]}
        write_atomically(options.report, (json.dumps(report, indent=1) + "\n").encode(), "the report")
    print_results(results, sys.stdout)
    return 1 if any(result.faults for result in results) else 0


def print_results(results: Sequence[RankResult], stream: TextIO) -> None:
    """Print the cases of every rank, then what is wrong."""
    for result in results:
        clock = f", clock {result.measured_clock_mhz:.4g} MHz measured" if result.measured_clock_mhz else ""
        right = sum(case.outcome == RIGHT for case in result.cases)
        where = f"rank {result.rank}: {result.board or 'no board'}, device {result.device}"
        print(f"{where}: {right} of {len(result.cases)} right{clock}", file=stream)
        for case in result.cases:
            measured = "" if case.measured_us is None else f"{case.measured_us:10.1f} us measured"
            print(
                f"  {case.name:18}{case.outcome:8}{case.modelled_cycles:8} cycles modelled{measured}  {case.shows}",
                file=stream,
            )
    for result in results:
        for fault in result.faults:
            print(f"wrong       rank {result.rank}: {fault}", file=stream)
    count = sum(len(result.faults) for result in results)
    print("the selftest passed" if not count else f"{count} fault{'s' if count > 1 else ''}", file=stream)
