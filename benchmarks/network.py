"""Prediction and measurement over real TCP: network namespaces, calibrated links, `--clock wall`. Needs root.

    sudo .venv/bin/python benchmarks/network.py [--hosts 4] [--runs 5] [--model resnet18]

Every figure is of this run. The hosts' processes go before all others of the machine (real-time priority), so that
what else runs there is not measured. The traces stay in the output folder, measured beside modelled.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from cluster.namespaces import FakeCluster

from mpi_vta.trace.frames import events_frame
from mpi_vta.trace.reader import read
from mpi_vta.trace.run import Run

# on equal boards the best fused plan is scatter-gather's; with two stages it is one of its own
STRATEGIES = {"pipeline": (), "scatter-gather": (), "fused": ("--stages", "2")}
EVENT = ["kind", "rank", "stage", "image", "peer", "edge"]


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
    # the model is compiled before, at nobody's expense
    compiled = [sys.executable, "-m", "mpi_vta.plan", "--model", options.model, "--cluster", named(options)]
    for strategy, more in STRATEGIES.items():
        subprocess.run([*compiled, "--strategy", strategy, *more], check=True, stdout=subprocess.DEVNULL)
    with FakeCluster(options.hosts, folder, undisturbed=True) as cluster:
        arguments = ("--cluster", named(options), "--output", "calibrated.toml")
        print(checked(cluster.job("-m", "mpi_vta.calibrate", *arguments, folder=folder)))
        for strategy in STRATEGIES:
            compare(cluster, options, strategy, folder)


def named(options: argparse.Namespace) -> str:
    return "pynq12" if options.hosts > 4 else "pynq4"


def compare(cluster: FakeCluster, options: argparse.Namespace, strategy: str, folder: Path) -> None:
    modelled = run(cluster, options, strategy, folder, "virtual")
    measured = [run(cluster, options, strategy, folder, f"wall-{number}") for number in range(options.runs)]
    print(f"\n{strategy}: {', '.join(stage_text(stage) for stage in modelled['stages'])}")
    for name in ("throughput images/s", "latency mean ms", "latency p50 ms"):
        expected, found = modelled[name], [summary[name] for summary in measured]
        print(
            f"  {name:20} modelled {expected:9.3f}  measured {median(found):9.3f}  error of the median "
            f"{100 * abs(median(found) / expected - 1):5.2f} %, of the worst of {len(found)} runs "
            f"{100 * max(abs(value / expected - 1) for value in found):5.2f} %"
        )
    middle = sorted(measured, key=lambda summary: summary["latency mean ms"])[options.runs // 2]
    side_by_side(modelled["trace"], middle["trace"])


def stage_text(stage: dict[str, Any]) -> str:
    return f"stage {stage['stage']} on rank {stage['rank']}"


def run(cluster: FakeCluster, options: argparse.Namespace, strategy: str, folder: Path, name: str) -> dict[str, Any]:
    output = folder / f"{strategy}-{name}"
    ended = cluster.job(
        *("-m", "mpi_vta.pipeline", "--model", options.model, "--device", "timing", "--images", options.images),
        *("--cluster", folder / "calibrated.toml", "--strategy", strategy, *STRATEGIES[strategy]),
        *("--clock", name.split("-")[0], "--output", output, "--json"),
        folder=folder,
    )
    summary = json.loads(checked(ended))
    trace = Run(read(output / "run.h5"))
    return {
        "throughput images/s": summary["throughput_images_per_s"],
        "latency mean ms": float(trace.images["latency_ns"].mean()) / 1e6,
        "latency p50 ms": summary["latency_ms"]["p50"],
        "stages": summary["models"][0]["stages"],
        "trace": trace,
    }


def side_by_side(modelled: Run, measured: Run) -> None:
    """Print what events of each kind take, and how far apart the same event of both traces begins."""
    frames = []
    for trace in (modelled, measured):
        frame = events_frame(trace)
        frame["at_ms"] = (frame["start_ns"] - trace.images["start_ns"].min()) / 1e6
        frame["for_ms"] = (frame["end_ns"] - frame["start_ns"]) / 1e6
        frames.append(frame.drop_duplicates(EVENT)[[*EVENT, "at_ms", "for_ms"]])
    both = frames[0].merge(frames[1], on=EVENT, suffixes=("_a", "_b"))
    both["apart_ms"] = (both["at_ms_b"] - both["at_ms_a"]).abs()
    print("  event     number  takes ms modelled  measured  begins apart, ms: median  largest")
    for kind, rows in both.groupby("kind"):
        print(
            f"  {kind:9} {len(rows):6} {rows['for_ms_a'].median():18.3f} {rows['for_ms_b'].median():9.3f} "
            f"{rows['apart_ms'].median():25.3f} {rows['apart_ms'].max():8.3f}"
        )


def checked(ended: Any) -> str:
    if ended.status:
        sys.exit(f"the job failed with status {ended.status}:\n{ended.stderr}")
    return str(ended.stdout.rstrip())


if __name__ == "__main__":
    main()
