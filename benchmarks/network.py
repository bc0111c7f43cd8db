"""Prediction and measurement over real TCP: network namespaces, calibrated links, `--clock wall`. Needs root.

    sudo .venv/bin/python benchmarks/network.py [--hosts 4] [--runs 5] [--model resnet18]

Every figure is of this run. The traces stay in the output folder, measured beside modelled.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from cluster.namespaces import FakeCluster

STRATEGIES = ("pipeline", "scatter-gather", "fused")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path("out/cluster"))
    options = parser.parse_args()
    folder = options.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with FakeCluster(options.hosts, folder) as cluster:
        calibrated = folder / "calibrated.toml"
        named = "pynq12" if options.hosts > 4 else "pynq4"
        print(
            checked(cluster.job("-m", "mpi_vta.calibrate", "--cluster", named, "--output", calibrated, folder=folder))
        )
        for strategy in STRATEGIES:
            compare(cluster, options, strategy, calibrated, folder)


def compare(cluster, options, strategy, calibrated, folder):
    modelled = run(cluster, options, strategy, calibrated, folder, "virtual")
    measured = [run(cluster, options, strategy, calibrated, folder, "wall") for _ in range(options.runs)]
    for name, figure in (
        ("throughput images/s", lambda summary: summary["throughput_images_per_s"]),
        ("latency p50 ms", lambda summary: summary["latency_ms"]["p50"]),
    ):
        expected, found = figure(modelled), [figure(summary) for summary in measured]
        errors = [abs(value / expected - 1) for value in found]
        print(
            f"{strategy:15} {name:20} modelled {expected:9.3f}  measured {median(found):9.3f}  "
            f"error median {100 * median(errors):5.2f} %  largest {100 * max(errors):5.2f} %  over {len(found)} runs"
        )


def run(cluster, options, strategy, calibrated, folder, clock):
    arguments = ("--model", options.model, "--device", "timing", "--images", str(options.images), "--json")
    places = ("--cluster", calibrated, "--strategy", strategy, "--output", folder / f"{strategy}-{clock}")
    return json.loads(
        checked(cluster.job("-m", "mpi_vta.pipeline", *arguments, *places, "--clock", clock, folder=folder))
    )


def checked(ended):
    if ended.status:
        sys.exit(f"the job failed with status {ended.status}:\n{ended.stderr}")
    return ended.stdout.rstrip()


if __name__ == "__main__":
    main()
