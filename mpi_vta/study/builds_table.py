"""The table of ``explore --builds``: what can be built on a part, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from mpi_vta.hw.enumeration import EnumeratedBuild, ShapeSummary, enumerated_builds, illegal_reasons, summarise_shapes
from mpi_vta.hw.parts import Fpga
from mpi_vta.hw.resources import estimate
from mpi_vta.text_table import print_table


def print_builds(part: Fpga, clock_mhz: float, file: TextIO) -> None:
    """Print every GEMM shape with its roomiest build that fits, or why none does (all of it modelled).

    Parameters
    ----------
    part : Fpga
        The FPGA.
    clock_mhz : float
        Clock that is wanted.
    file : file
        Where to.
    """
    builds = tuple(enumerated_builds(part, clock_mhz))
    title = f"VTA builds for {part.name} at {clock_mhz:g} MHz: resources are modelled"
    heads = ("GEMM", "fit", "GOPS", "roomiest build that fits", "BRAM36", "URAM", "DSP", "LUT", "")
    rows = [_cells(summary, part, clock_mhz) for summary in summarise_shapes(builds, clock_mhz)]
    print_table(title, heads, rows, file, left=("GEMM", "roomiest build that fits", ""))
    _print_rest(part, builds, file)


def _cells(summary: ShapeSummary, part: Fpga, clock_mhz: float) -> Sequence[str]:
    shape = f"{summary.batch}x{summary.block}"
    if summary.largest is None:
        return (shape, "0", f"{summary.peak_gops:.1f}", "", "", "", "", "", summary.reason)
    taken = estimate(summary.largest.config, part, clock_mhz)
    numbers = (f"{taken.bram36:g}", str(taken.uram), f"{taken.dsp:,}", f"{taken.lut:,}")
    doubt = f"in doubt: {taken.doubt}" if taken.doubt else ""
    return (shape, f"{summary.usable:,}", f"{summary.peak_gops:.1f}", summary.largest.config.name, *numbers, doubt)


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
