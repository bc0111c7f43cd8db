"""A long job: memory of every rank and the rate of rank 0 while it runs: ``python benchmarks/load.py``.

Runs resnet18 without data over all boards of a cluster under mpirun, each rank with a thread that reads its resident
memory, without pages of files: code is read in when it first runs. Everything is measured: growth is the memory when
the last image is done, less that when a tenth was done; the peak includes the end, when rank 0 brings all events
together. The rate is that of the processes of this machine in real time, not that of the boards.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

SAMPLE_S = 0.1
PARTS = 10
RANK = "--rank-of"
WARM = 1  # parts of the job after which memory is compared


def resident_bytes() -> int:
    """Return this process's resident memory without pages of files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))


def work(folder: Path, images: int, arguments: list[str]) -> int:
    """Take part in the job as one rank, and leave what was measured in `folder`."""
    from mpi_vta.pipeline import main
    from mpi_vta.runtime.endpoint import Endpoint

    finish, marks, memory = Endpoint.finish, [], []
    done = 0

    def marked(self: Endpoint, *what: Any) -> None:
        nonlocal done
        finish(self, *what)
        done += 1
        if done * PARTS // images > (done - 1) * PARTS // images:
            marks.append((time.monotonic(), done))

    def sample() -> None:
        while True:
            memory.append((time.monotonic(), resident_bytes()))
            time.sleep(SAMPLE_S)

    Endpoint.finish = marked  # type: ignore[method-assign]

    def begin() -> None:
        # not in the compiler's workers, which the rank forks later
        if not memory:
            threading.Thread(target=sample, daemon=True).start()

    # the rank goes on as a child of its guardian, and threads do not
    os.register_at_fork(after_in_child=begin)
    status = main(arguments)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"marks": marks, "memory": memory, "peak_bytes": peak_bytes}
    (folder / f"{os.environ['PMI_RANK']}.json").write_text(json.dumps(found))
    return status


def run(ranks: int, images: int, cluster: str, more: list[str]) -> dict[str, Any]:
    """Run the job; return memory by rank in bytes, and the rate of every part of the job in images per second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = ["--model", "resnet18", "--cluster", cluster, "--device", "timing", "--images", str(images), "--json"]
        asked += ["--output", str(folder / "out"), *more]
        launcher = [str(Path(sys.executable).parent / "mpirun"), "-n", str(ranks), sys.executable, __file__]
        command = [*launcher, RANK, name, str(images), *asked]
        environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environ, stdout=subprocess.DEVNULL)
        found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]
    marks = found[0]["marks"]
    warm_s, end_s = marks[WARM - 1][0], marks[-1][0]
    rows = []
    for rank, one in enumerate(found):
        warm = next(size for at, size in one["memory"] if at >= warm_s)
        end = [size for at, size in one["memory"] if at <= end_s][-1]
        rows.append({"rank": rank, "warm_bytes": warm, "end_bytes": end, "peak_bytes": one["peak_bytes"]})
    rates = [(count - before) / (at - since) for (since, before), (at, count) in pairwise(marks)]
    counted = marks[-1][1] - marks[WARM - 1][1]
    return {"images": images, "counted_images": counted, "ranks": rows, "rates_per_s": rates}


def main() -> int:
    """Measure and print; as a rank, take part."""
    if sys.argv[1:2] == [RANK]:
        return work(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--ranks", type=int, default=17)
    parser.add_argument("--cluster", default="mixed17")
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    options, more = parser.parse_known_args()
    found = run(options.ranks, options.images, options.cluster, more)
    if options.json:
        print(json.dumps(found))
        return 0
    print(f"resident memory, measured; growth over {found['counted_images']} images")
    for row in found["ranks"]:
        grown = row["end_bytes"] - row["warm_bytes"]
        end, each, peak = row["end_bytes"] / 1e6, grown / found["counted_images"], row["peak_bytes"] / 1e6
        print(f"rank {row['rank']:2}  {end:8.1f} MB at the last image, grown by {grown / 1e6:6.2f} MB, ", end="")
        print(f"{each:6.1f} bytes an image; peak of the process {peak:.1f} MB")
    rates = found["rates_per_s"]
    print(
        f"rate by tenths of the job, from the second, measured: {', '.join(f'{rate:.0f}' for rate in rates)} images/s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
