"""How good the compiled networks are: ``python benchmarks/compiler.py``.

For each network and configuration: modelled cycles against the bound, and the time of a cold compile. Then
ResNet-18's convolutions beside the best times that VTA's authors measured on real boards with tuned
schedules (TVM's tuning-log archive). Our figures are modelled (profile ``rtl``, memory latency 16); theirs
are measured on board.
"""

from __future__ import annotations

import argparse
import time

from mpi_vta.codegen.compiler import compile_graph
from mpi_vta.codegen.report import ModelReport, model_report
from mpi_vta.graph.ir import Graph
from mpi_vta.hw.config import VTAConfig
from mpi_vta.hw.paths import find
from mpi_vta.job.ready_model import ready_model
from mpi_vta.schedule.cost import time_program
from mpi_vta.simulator.profile import RTL

CONFIGS = ("pynq_1x16", "ultra96_1x16", "pynq_4x8", "pynq_1x32")
MODELS = ("resnet18", "yolo")

# (our layer, how often the shape is used, ms measured on a Pynq board at 100 MHz, on an Ultra96 at 333 MHz)
BOARD_TIMES_MS = (
    ("layer1.0.conv1", 4, 5.699, 3.287),
    ("layer2.0.conv1", 1, 2.966, 1.706),
    ("layer2.0.downsample.0", 1, 1.349, 1.174),
    ("layer2.1.conv1", 3, 5.183, 2.397),
    ("layer3.0.conv1", 1, 2.669, 1.213),
    ("layer3.0.downsample.0", 1, 1.029, 0.747),
    ("layer3.1.conv1", 3, 4.934, 1.943),
    ("layer4.0.conv1", 1, 3.994, 1.073),
    ("layer4.0.downsample.0", 1, 1.081, 0.634),
    ("layer4.1.conv1", 3, 7.348, 1.722),
)


def compiled(graph: Graph, config: VTAConfig) -> tuple[ModelReport, float]:
    """Return a model's report and the seconds that its compilation took."""
    started = time.perf_counter()
    program = compile_graph(graph, config)
    seconds = time.perf_counter() - started
    timing = time_program(program)
    return model_report(graph, program, timing.layer_cycles.tolist(), RTL.name, config.clock_mhz), seconds


def print_networks(reports: dict[tuple[str, str], tuple[ModelReport, float]]) -> None:
    """Print a line per network and configuration."""
    print("| network | configuration | images a launch | cycles (modelled) | ms (modelled) | bound, cycles "
          "| % of bound | worst layer above 1 % of the time | compile, s (measured) |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for (model, name), (report, seconds) in reports.items():
        images = VTAConfig.load(find("vta_configs", name, ".json")).batch
        heavy = [layer for layer in report.layers if layer.cycles > report.total_cycles / 100]
        worst = min(heavy, key=lambda layer: layer.bound_fraction)
        print(
            f"| {model} | {name} | {images} | {report.total_cycles:,} | {report.total_ms:.1f} "
            f"| {report.bound_cycles:,} | {100 * report.bound_fraction:.1f} "
            f"| {worst.name} {100 * worst.bound_fraction:.0f} % | {seconds:.1f} |"
        )


def print_board_comparison(pynq: ModelReport, ultra96: ModelReport) -> None:
    """Print ResNet-18's convolutions beside measured board times."""
    print("| layer | times used | Pynq measured, ms | ours modelled, ms | ratio "
          "| Ultra96 measured, ms | ours modelled, ms | ratio |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    layers = [{layer.name: layer for layer in report.layers} for report in (pynq, ultra96)]
    sums = [0.0] * 4
    for name, uses, *measured in BOARD_TIMES_MS:
        modelled = [
            layers[0][name].cycles / pynq.clock_mhz / 1000,
            layers[1][name].cycles / ultra96.clock_mhz / 1000,
        ]
        row = [measured[0], modelled[0], measured[1], modelled[1]]
        sums = [total + uses * value for total, value in zip(sums, row, strict=True)]
        print(_board_row(name, uses, row))
    print(_board_row("sum over uses", 19, sums))


def _board_row(name: str, uses: int, row: list[float]) -> str:
    pynq, ours, ultra96, ours_ultra96 = row
    return (
        f"| {name} | {uses} | {pynq:.3f} | {ours:.3f} | {pynq / ours:.2f} "
        f"| {ultra96:.3f} | {ours_ultra96:.3f} | {ultra96 / ours_ultra96:.2f} |"
    )


def main() -> None:
    """Compile everything and print both tables; the second is of resnet18 alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=MODELS, help="zoo models")
    models = parser.parse_args().model
    reports = {}
    for model in models:
        graph = ready_model(model, seed=0, weights=None).graph
        for name in CONFIGS:
            config = VTAConfig.load(find("vta_configs", name, ".json"))
            reports[model, name] = compiled(graph, config)
    print_networks(reports)
    if "resnet18" in models:
        print()
        print_board_comparison(reports["resnet18", "pynq_1x16"][0], reports["resnet18", "ultra96_1x16"][0])


if __name__ == "__main__":
    main()
