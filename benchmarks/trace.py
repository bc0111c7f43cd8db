"""What tracing costs: ``python benchmarks/trace.py``. Prints each figure against its target.

Records events into a rank's file as fast as it goes, and merges them: rates are per second of processor time, so
that a busy machine does not matter. Then runs resnet18 bit-exactly on one rank with events recorded and with
recording switched off, alternately, and compares the fastest of each, beside what the number of events and the cost
of one give; the spread of the runs says how far the comparison can be trusted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mpi_vta.trace.merge import RunRecord, merge
from mpi_vta.trace.reader import read
from mpi_vta.trace.schema import EventKind, RankInfo
from mpi_vta.trace.writer import RankTrace

REPEATS = 3
OVERHEAD_TARGET = 0.01
RATE_TARGET_PER_S = 1e6
RUN = """
import sys
from mpi_vta.pipeline import main
from mpi_vta.trace.writer import RankTrace
if sys.argv.pop(1) == "off":
    RankTrace.record = lambda *arguments, **named: None
sys.exit(main(sys.argv[1:]))
"""
INFO = RankInfo(0, "here", "a board", "a build", "sim", 1.0, 2.0, "none", 100.0, 0, 512, 8)


def run_s(folder: Path, recording: str, *options: str) -> float:
    """Return the wall time of the run itself, start and planning left out, with recording ``on`` or ``off``."""
    command = [sys.executable, "-c", RUN, recording, "--json", "--output", str(folder), *options]
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, env=environ, capture_output=True, text=True)
    wall_s: float = json.loads(done.stdout)["wall_s"]
    return wall_s


def alternate(folder: Path, *options: str) -> dict[str, list[float]]:
    """Return the times of some runs with recording on and off, in turns."""
    times: dict[str, list[float]] = {"on": [], "off": []}
    for _ in range(REPEATS):
        for recording, found in times.items():
            found.append(run_s(folder / recording, recording, *options))
    return times


def record_rate(folder: Path, events: int) -> tuple[float, float]:
    """Return events per second from `RankTrace.record` to the file, and of the merge."""
    trace = RankTrace(folder / "rank.h5", INFO)
    started = time.process_time()
    for number in range(events):
        trace.record(EventKind.LAUNCH, number, number + 1, stage=0, image=number)
    data = trace.close()
    recorded = time.process_time()
    merge(folder / "run.h5", [data], RunRecord({}, ()))
    return events / (recorded - started), events / (time.process_time() - recorded)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--model", default="resnet18")
    options = parser.parse_args()
    count = options.events
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates = [record_rate(folder, count) for _ in range(REPEATS)]
        rate, merged = max(rate for rate, _ in rates), max(merged for _, merged in rates)
        print(f"events to disk, one rank   {rate / 1e6:6.2f} M/s, target {RATE_TARGET_PER_S / 1e6:.0f} M/s")
        print(f"events merged, compressed  {merged / 1e6:6.2f} M/s")
        times = alternate(folder, "--model", options.model, "--images", "4")
        on_s, off_s = min(times["on"]), min(times["off"])
        events = sum(len(record.events) for record in read(folder / "on" / "run.h5").ranks.values())
        target = f"target < {100 * OVERHEAD_TARGET:.0f} %"
        print(f"cost of {events} events        {100 * events / rate / off_s:6.3f} % of {off_s:.2f} s, {target}")
        spread = 100 * (max(times["off"]) / off_s - 1)
        print(f"run with against without   {100 * (on_s / off_s - 1):+6.2f} %; runs without differ by {spread:.1f} %")


if __name__ == "__main__":
    main()
