"""The table of ``explore --builds``: what can be built on a part, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from mpi_vta.gateware import require_amaranth
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.core_resources import estimate_core
from mpi_vta.hw.enumeration import (
    EnumeratedBuild,
    Judge,
    ShapeSummary,
    enumerated_builds,
    illegal_reasons,
    summarise_shapes,
)
from mpi_vta.hw.parts import Fpga
from mpi_vta.hw.resources import estimate
from mpi_vta.text_table import print_table

if TYPE_CHECKING:
    from mpi_vta.gateware.synthesis import Counts

JUDGES: Mapping[str, Judge] = {"hls": estimate, "own": estimate_core}
"""What a build takes of a part, by the core that it is: VTA's HLS source, or this project's own."""


def print_builds(part: Fpga, clock_mhz: float, file: TextIO, core: str = "hls", synthesized: bool = False) -> None:
    """Print every GEMM shape with its roomiest build that fits, or why none does (all of it modelled).

    Parameters
    ----------
    part : Fpga
        The FPGA.
    clock_mhz : float
        Clock that is wanted.
    file : file
        Where to.
    core : str
        One of `JUDGES`.
    synthesized : bool
        Whether yosys counts the roomiest builds; only of this project's own core.

    Raises
    ------
    InputError
        If they are to be counted, and yosys or Amaranth is missing.
    """
    builds = tuple(enumerated_builds(part, clock_mhz, JUDGES[core]))
    what = "this project's own core" if core == "own" else "VTA's HLS source"
    counts = "counted by yosys, before place and route (measured)" if synthesized else "modelled"
    title = f"VTA builds for {part.name} at {clock_mhz:g} MHz, {what}: resources are {counts}"
    heads = ("GEMM", "fit", "GOPS", "roomiest build that fits", "BRAM36", "URAM", "DSP", "LUT", "")
    summaries = summarise_shapes(builds, clock_mhz)
    taken = _counted(summaries, part) if synthesized else {}
    rows = [_cells(summary, taken) for summary in summaries]
    print_table(title, heads, rows, file, left=("GEMM", "roomiest build that fits", ""))
    _print_rest(part, builds, file)


def _counted(summaries: Sequence[ShapeSummary], part: Fpga) -> dict[VTAConfig, Counts]:
    require_amaranth()
    from mpi_vta.gateware.synthesis import synthesize_all, total

    roomiest = [summary.largest.config for summary in summaries if summary.largest is not None]
    return {config: total(parts) for config, parts in zip(roomiest, synthesize_all(roomiest, part), strict=True)}


def _cells(summary: ShapeSummary, counted: Mapping[VTAConfig, Counts]) -> Sequence[str]:
    shape = f"{summary.batch}x{summary.block}"
    if summary.largest is None or summary.largest.resources is None:
        return (shape, "0", f"{summary.peak_gops:.1f}", "", "", "", "", "", summary.reason)
    config, modelled = summary.largest.config, summary.largest.resources
    taken = counted.get(config, modelled)
    numbers = (f"{taken.bram36:g}", str(taken.uram), f"{taken.dsp:,}", f"{taken.lut:,}")
    doubt = f"in doubt: {modelled.doubt}" if modelled.doubt and not counted else ""
    return (shape, f"{summary.usable:,}", f"{summary.peak_gops:.1f}", config.name, *numbers, doubt)


def _print_rest(part: Fpga, builds: Sequence[EnumeratedBuild], file: TextIO) -> None:
    legal = [build for build in builds if build.legal]
    usable = sum(build.usable for build in legal)
    print(
        f"enumerated  {len(builds):,} combinations: {len(builds) - len(legal):,} illegal, "
        f"{len(legal) - usable:,} legal that do not fit, {usable:,} that fit",
        file=file,
    )
    for rule, count in illegal_reasons(builds).most_common():
        print(f"illegal     {count:,}: {rule}", file=file)
    for memory in ("bram36", "uram", "dsp", "lut", "ff"):
        print(f"{part.name:11} {getattr(part, memory):,} {memory}", file=file)
    print(f"{'source':11} {part.source}", file=file)
    for clock in part.clocks:
        print(f"{'clock':11} {clock.mhz:g} MHz: {clock.source}", file=file)
