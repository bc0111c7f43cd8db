"""The roofline picture of a compiled model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpi_vta.codegen.report import LayerReport, ModelReport
from mpi_vta.disk import write_picture
from mpi_vta.hw.config import VTAConfig
from mpi_vta.printable import picture_text

NAME_LETTERS = 22
COLOURS = {"compute": "#56b4e9", "read": "#e69f00", "write": "#009e73"}  # told apart by all eyes


def draw_roofline(report: ModelReport, config: VTAConfig, path: Path) -> None:
    """Draw attained against attainable GEMM throughput over operational intensity.

    Parameters
    ----------
    report : ModelReport
        The layers; those without GEMM work are left out.
    config : VTAConfig
        Gives the two roofs.
    path : Path
        Picture file to write; the suffix chooses the format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layers = [layer for layer in report.layers if layer.gemm_uops and layer.cycles]
    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes, key = figure.subplots(1, 2, width_ratios=[3, 1])
    intensities = [_intensity(layer, config) for layer in layers]
    _draw_roofs(axes, report, config, min(intensities), max(intensities))
    for kind, colour in COLOURS.items():
        chosen = [i for i, layer in enumerate(layers) if layer.bound_by == kind]
        axes.scatter(
            [intensities[i] for i in chosen],
            [_attained_gops(layers[i], report, config) for i in chosen],
            s=[90 + 1500 * layers[i].cycles / report.total_cycles for i in chosen],
            color=colour,
            alpha=0.75,
            edgecolor="black",
            linewidth=0.6,
            label=f"bound by {kind}",
        )
    for index, layer in enumerate(layers):
        where = (intensities[index], _attained_gops(layer, report, config))
        axes.annotate(str(index + 1), where, ha="center", va="center", fontsize=7)
    axes.set_xlabel("operational intensity, operations per byte of DRAM traffic")
    axes.set_ylabel("attained GEMM throughput, GOPS (modelled)")
    axes.set_title(
        f"{picture_text(report.model)} on {report.config}\n"
        f"{report.total_ms:.1f} ms a launch at {report.clock_mhz:g} MHz "
        f"(modelled, profile {report.profile}), {report.bound_fraction:.0%} of the bound"
    )
    # dots of one size in the legend, whatever the layers' shares
    for handle in axes.legend(loc="lower right").legend_handles:
        handle.set_sizes([80])
    _write_key(key, layers, report)
    write_picture(figure, path)


def _intensity(layer: LayerReport, config: VTAConfig) -> float:
    return layer.gemm_uops * _operations(config) / max(1, layer.bytes_in + layer.bytes_out)


def _attained_gops(layer: LayerReport, report: ModelReport, config: VTAConfig) -> float:
    return layer.gemm_uops * _operations(config) * report.clock_mhz / 1000 / layer.cycles


def _operations(config: VTAConfig) -> int:
    """Return multiplications and additions per GEMM micro-op."""
    return 2 * config.batch * config.block * config.block


def _draw_roofs(axes: Any, report: ModelReport, config: VTAConfig, least: float, most: float) -> None:
    peak = _operations(config) * report.clock_mhz / 1000
    bandwidth = config.bus_bits / 8 * report.clock_mhz / 1000
    ridge = peak / bandwidth
    low, high = min(least, ridge) / 2, max(most * 2, 4 * ridge)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.plot([low, ridge, high], [low * bandwidth, peak, peak], color="black", linewidth=1.5)
    axes.annotate(f"GEMM core, {peak:.1f} GOPS", (high, peak), (0, 4), textcoords="offset points", ha="right")
    axes.annotate(f"memory bus, {bandwidth:.2f} GB/s", (low, low * bandwidth), (14, 2), textcoords="offset points")
    axes.grid(visible=True, which="major", alpha=0.3)


def _write_key(axes: Any, layers: list[LayerReport], report: ModelReport) -> None:
    """List the numbered layers with their share of the time and of their bound."""
    axes.set_axis_off()
    axes.set_title("layer: time, % of bound", fontsize=9, loc="left")
    for index, layer in enumerate(layers):
        text = (
            f"{index + 1:2d} {picture_text(layer.name, NAME_LETTERS):{NAME_LETTERS}s} "
            f"{layer.cycles / report.total_cycles:5.1%} "
            f"{min(layer.bound_fraction, 1):4.0%}"
        )
        axes.text(0, 1 - (index + 1) / (len(layers) + 1), text, fontsize=7.5, family="monospace")
